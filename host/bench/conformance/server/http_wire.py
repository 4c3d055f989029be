"""HTTP as a device speaks it: one request a connection."""

import httpx

from bench.conformance.check import Broken
from bench.conformance.server.reach import Reach
from bench.errors import BenchError

_TOO_MANY = 429


def request(
    reach: Reach, method: str, path: str, content: bytes = b"", *, content_type: str | None = "application/json"
) -> httpx.Response:
    """What the server answers, whatever it is. Over TLS if that is all there is. Raises Broken, BenchError."""
    where = reach.at("http", "https")
    reach.expect_there(where)
    headers = {"Content-Type": content_type} if content_type else {}
    # Not by way of the environment's proxy: devices know of none.
    with httpx.Client(verify=reach.trust, timeout=reach.patience_s, trust_env=False) as client:
        try:
            answer = client.request(method, f"{where}{path}", content=content, headers=headers)
        except httpx.ConnectTimeout as error:
            raise reach.lost(where, TimeoutError()) from error
        except httpx.ConnectError as error:
            raise reach.lost(where, _root(error)) from error
        except httpx.TimeoutException:
            raise Broken(f"no answer came within {reach.patience_s:g} s") from None
        except httpx.TransportError as error:
            raise Broken(f"no answer came: {error}") from error
    if answer.status_code == _TOO_MANY:
        raise BenchError("429: the server wants no more for now" + _when(answer))
    return answer


def _root(error: BaseException) -> Exception:
    """What httpx wrapped."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    assert isinstance(error, Exception)
    return error


def _when(answer: httpx.Response) -> str:
    seconds = answer.headers.get("Retry-After", "")
    return f" (Retry-After {seconds} s)" if seconds else ""
