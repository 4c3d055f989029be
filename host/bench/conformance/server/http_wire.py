"""HTTP as a device speaks it: one request a connection."""

import time
from dataclasses import dataclass

import httpx

from bench.conformance.check import Broken
from bench.conformance.server.reach import Reach
from bench.errors import BenchError

_TOO_MANY = 429
# No answer of the API is longer by far.
_LONGEST = 1 << 20


@dataclass(frozen=True)
class Reply:
    """What the server answered."""

    code: int
    body: bytes


def request(
    reach: Reach, method: str, path: str, content: bytes = b"", *, content_type: str | None = "application/json"
) -> Reply:
    """What the server answers, whatever it is. Over TLS if that is all there is. Raises Broken, BenchError."""
    where = reach.at("http", "https")
    reach.expect_there(where)
    headers = {"Content-Type": content_type} if content_type else {}
    # Not by way of the environment's proxy: devices know of none.
    with httpx.Client(verify=reach.trust, timeout=reach.patience_s, trust_env=False) as client:
        try:
            with client.stream(method, f"{where}{path}", content=content, headers=headers) as response:
                answer = Reply(response.status_code, _body(response, time.monotonic() + reach.patience_s))
        except httpx.ConnectTimeout as error:
            raise reach.lost(where, TimeoutError()) from error
        except httpx.ConnectError as error:
            raise reach.lost(where, _root(error)) from error
        except httpx.TimeoutException:
            raise Broken(f"no answer came within {reach.patience_s:g} s") from None
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise Broken(f"no answer came: {error}") from error
    if answer.code == _TOO_MANY:
        raise BenchError("429: the server wants no more for now")
    return answer


def _body(response: httpx.Response, deadline: float) -> bytes:
    """A whole body, which a server may make as long, and as slow, as it likes."""
    body = b""
    for piece in response.iter_bytes():
        body += piece
        if len(body) > _LONGEST or time.monotonic() > deadline:
            raise Broken(f"the answer has no end: {len(body)} bytes so far")
    return body


def _root(error: BaseException) -> Exception:
    """What httpx wrapped."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    assert isinstance(error, Exception)
    return error
