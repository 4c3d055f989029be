"""HTTP as devices use it: one request a connection."""

import asyncio
import os
import socket
import ssl
from dataclasses import dataclass

import httpx

from bench.conformance.check import Broken
from bench.conformance.server.addresses import CheckedAddresses
from bench.errors import BenchError

_NOT_NOW = {
    429: "the server wants no more for now",
    502: "there is a gateway, and no server behind it",
    503: "the server is not available now",
    504: "there is a gateway, and no server behind it",
}
# No answer of the API is longer by far.
_LONGEST = 1 << 20
# Times the patience for one step: to connect, to send, to receive.
_WHOLE = 3


@dataclass(frozen=True)
class HttpAnswer:
    """An answer: status code and body."""

    code: int
    body: bytes


def request(
    addresses: CheckedAddresses,
    method: str,
    path: str,
    content: bytes = b"",
    *,
    content_type: str | None = "application/json",
) -> HttpAnswer:
    """Send a request, and return the answer; over TLS if there is no plain address.

    Args:
        addresses: The server.
        method: The method.
        path: The path, with a leading slash.
        content: The body.
        content_type: The Content-Type; None: the header is left out.

    Returns:
        The answer, of any status but 429, 502, 503 and 504.

    Raises:
        Broken: No answer came, or one without an end.
        BenchError: The server is not reached, or not available now (one of these statuses).
        NotHere: There is no address for HTTP.
    """
    where = addresses.at("http", "https")
    addresses.expect_reachable(where)
    headers = {"Content-Type": content_type} if content_type else {}
    try:
        answer = asyncio.run(_request(addresses, method, f"{where}{path}", content, headers))
    except httpx.ConnectTimeout as error:
        raise addresses.unreachable(where, TimeoutError()) from error
    except httpx.ConnectError as error:
        raise addresses.unreachable(where, _root(error)) from error
    except httpx.TimeoutException:
        raise Broken(f"no answer came within {addresses.patience_s:g} s") from None
    except TimeoutError:
        raise Broken("the answer has no end: it comes drop by drop") from None
    except (httpx.HTTPError, httpx.StreamError) as error:
        raise Broken(f"no answer came: {error}") from error
    except httpx.InvalidURL as error:
        raise BenchError(f"{where} cannot be asked: {error}") from error
    if answer.code in _NOT_NOW:
        raise BenchError(f"{answer.code}: {_NOT_NOW[answer.code]}")
    return answer


async def _request(
    addresses: CheckedAddresses, method: str, url: str, content: bytes, headers: dict[str, str]
) -> HttpAnswer:
    """Return the answer. Raises TimeoutError if it takes too long as a whole, and httpx's errors."""
    async with (
        asyncio.timeout(_WHOLE * addresses.patience_s),
        # Not by way of the environment's proxy: devices know of none.
        httpx.AsyncClient(verify=addresses.trust, timeout=addresses.patience_s, trust_env=False) as client,
        client.stream(method, url, content=content, headers=headers) as response,
    ):
        body = b""
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > _LONGEST:
                raise Broken(f"the answer has no end: {len(body)} bytes so far")
        return HttpAnswer(response.status_code, body)


def _root(error: BaseException) -> Exception:
    """Return the innermost error that httpx wrapped."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    if isinstance(error, BaseExceptionGroup):  # one error for each address of a host
        error = error.exceptions[-1]
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError | socket.gaierror):
        return OSError(error.errno, os.strerror(error.errno))  # asyncio puts other texts into its errors
    assert isinstance(error, Exception)
    return error
