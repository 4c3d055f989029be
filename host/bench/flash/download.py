"""Downloads of files over HTTP, whole or not at all."""

from collections.abc import Callable

import httpx

from bench import proxies
from bench.errors import BenchError

OnBytes = Callable[[int, int], None]
"""Called with the bytes received so far, and their total (0 if unknown)."""

_LIMIT = 16 << 20
_STALL_S = 30.0
_PLAIN = {"accept-encoding": "identity"}  # so that the announced length is that of the bytes received


class DownloadFailed(BenchError):
    """A file that cannot be downloaded, or not now; the message has the URL and the reason."""


def fetch(url: str, on_progress: OnBytes) -> bytes:
    """Download a file.

    Args:
        url: HTTP or HTTPS. Redirects are followed.
        on_progress: Called before the first bytes, and after each piece.

    Returns:
        The content of the file.

    Raises:
        BenchError: A proxy of the environment cannot be used.
        DownloadFailed: The server refuses, is silent for 30 s, or the file is larger than 16 MB.
    """
    proxies.check()
    found = bytearray()
    try:
        with httpx.stream("GET", url, headers=_PLAIN, follow_redirects=True, timeout=_STALL_S) as answer:
            answer.raise_for_status()
            total = int(answer.headers.get("content-length", 0))
            on_progress(0, total)
            for chunk in answer.iter_bytes():
                found += chunk
                if len(found) > _LIMIT:
                    raise DownloadFailed(f"{url} is larger than {_LIMIT >> 20} MB, too large for an image")
                on_progress(len(found), total)
    except httpx.HTTPStatusError as error:
        raise DownloadFailed(f"{url}{proxies.way(url)} answers {error.response.status_code}") from None
    except httpx.TimeoutException:
        raise DownloadFailed(f"{url}{proxies.way(url)} sent nothing for {_STALL_S:g} seconds") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DownloadFailed(f"{url}{proxies.way(url)}: {error or type(error).__name__}") from None
    return bytes(found)
