"""Fetches a file over HTTP, the whole of it or nothing."""

from collections.abc import Callable

import httpx

from bench.errors import BenchError

Progress = Callable[[int, int], None]
"""Told the bytes that are here, and those that there are (0 if nobody said)."""

_LIMIT = 16 << 20
_STALL_S = 30.0
_PLAIN = {"accept-encoding": "identity"}  # so that the length that is announced is the one that comes


class NotFetched(BenchError):
    """The file is not to be had from there, or not now: says why."""


def fetch(url: str, on_progress: Progress) -> bytes:
    """The bytes behind a URL, 16 MB at most. Raises NotFetched."""
    found = bytearray()
    try:
        with httpx.stream("GET", url, headers=_PLAIN, follow_redirects=True, timeout=_STALL_S) as answer:
            answer.raise_for_status()
            total = int(answer.headers.get("content-length", 0))
            on_progress(0, total)
            for chunk in answer.iter_bytes():
                found += chunk
                if len(found) > _LIMIT:
                    raise NotFetched(f"{url} is larger than {_LIMIT >> 20} MB, which no image is")
                on_progress(len(found), total)
    except httpx.HTTPStatusError as error:
        raise NotFetched(f"{url} answers {error.response.status_code}") from None
    except httpx.TimeoutException:
        raise NotFetched(f"{url} is silent for {_STALL_S:g} seconds") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotFetched(f"{url}: {error or type(error).__name__}") from None
    return bytes(found)
