"""Bounded bodies, and errors in ThingsBoard's shape."""

import json

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bench.registry.clock import now_ms
from bench.server.limits import Limited

# Bytes. Upstream accepts 50 MiB; here what is in memory at once is bounded.
BODY_LIMIT = 1 << 20

# ThingsboardErrorCode
GENERAL = 2
AUTHENTICATION = 10
TOKEN_EXPIRED = 11
PERMISSION_DENIED = 20
BAD_REQUEST = 31
NOT_FOUND = 32
TOO_MANY = 33
CONFLICT = 35
DATABASE = 46


class TooLarge(Exception):
    """A body beyond the limit, which is in bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"Payload size exceeds the limit of {limit} bytes")


async def body_of(request: Request, limit: int = BODY_LIMIT) -> bytes:
    """Return the body of a request, bounded whether or not its length was announced. Raises TooLarge."""
    if int(request.headers.get("content-length", 0)) > limit:
        raise TooLarge(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge(limit)
    return bytes(body)


def error(status: int, message: str, code: int, headers: dict[str, str] | None = None) -> Response:
    """Return an error in ThingsBoard's shape.

    Args:
        status: The HTTP status.
        message: For people.
        code: A ThingsboardErrorCode.
        headers: Of the answer.
    """
    content = {"status": status, "message": message, "errorCode": code, "timestamp": now_ms()}
    return JSONResponse(content, status_code=status, headers=headers)


async def too_large(_request: Request, refused: Exception) -> Response:
    """Answer 413. The connection stays until its deadline: a client that is still sending reads it only afterwards."""
    return Response(json.dumps(str(refused)), status_code=413, media_type="application/json")


async def limited(_request: Request, refused: Exception) -> Response:
    """Answer 429, with the time of the next try."""
    assert isinstance(refused, Limited)
    return error(429, "Too many requests!", TOO_MANY, {"Retry-After": str(refused.retry_after_s)})


async def gone(_request: Request, _error: Exception) -> Response:
    """Answer a client that left before its request was complete: no one reads this."""
    return Response(status_code=400)


async def invalid(_request: Request, refused: Exception) -> Response:
    """Answer a request that does not have the right form: with the place, and never a quote.

    ThingsBoard fails at a body that it cannot read (500), and refuses one in which something is missing (400).
    """
    assert isinstance(refused, RequestValidationError)
    first = refused.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    why = first.get("ctx", {}).get("error") if first["type"] == "json_invalid" else None
    unreadable = first["loc"][0] == "body" and first["type"] != "missing"
    status, code = (500, GENERAL) if unreadable else (400, BAD_REQUEST)
    return error(status, f"Invalid request: {place}: {why or first['msg']}", code)


async def http_error(_request: Request, refused: Exception) -> Response:
    """Answer what the framework refuses by itself: no such path, no such method."""
    assert isinstance(refused, HTTPException)
    code = NOT_FOUND if refused.status_code == 404 else BAD_REQUEST
    return error(refused.status_code, refused.detail, code, dict(refused.headers or {}))
