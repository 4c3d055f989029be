"""Bodies that are bounded, and errors in ThingsBoard's shape."""

import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bench.registry.model import now_ms
from bench.server.limits import Limited

BODY_LIMIT = 65536

# ThingsboardErrorCode
GENERAL = 2
BAD_REQUEST = 31
TOO_MANY = 33


class TooLarge(Exception):
    """A body beyond the limit."""


async def body_of(request: Request) -> bytes:
    """The body, bounded whether or not its length was announced. Raises TooLarge."""
    if int(request.headers.get("content-length", 0)) > BODY_LIMIT:
        raise TooLarge
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise TooLarge
    return body


def error(status: int, message: str, code: int, headers: dict[str, str] | None = None) -> Response:
    """ThingsBoard's error shape."""
    content = {"status": status, "message": message, "errorCode": code, "timestamp": now_ms()}
    return JSONResponse(content, status_code=status, headers=headers)


async def too_large(_request: Request, _error: Exception) -> Response:
    """The connection stays until its deadline: a client that is still sending hears this only afterwards."""
    text = json.dumps(f"Payload size exceeds the limit of {BODY_LIMIT} bytes")
    return Response(text, status_code=413, media_type="application/json")


async def limited(_request: Request, refused: Exception) -> Response:
    """Too many failures, and when to try again."""
    assert isinstance(refused, Limited)
    return error(429, "Too many requests!", TOO_MANY, {"Retry-After": str(refused.retry_after_s)})


async def gone(_request: Request, _error: Exception) -> Response:
    """The client left before its request was whole: nobody reads this."""
    return Response(status_code=400)
