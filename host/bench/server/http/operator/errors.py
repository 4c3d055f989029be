"""Errors of operators' requests, and their answers."""

from collections.abc import Callable, Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from bench.errors import NotFound, Refused, UnknownId
from bench.registry.batching import Conflict, Outdated
from bench.server.http import error_responses
from bench.server.http.error_responses import error


class Unauthorized(Exception):
    """Not logged in.

    Attributes:
        expired: Its client is told to renew the token.
        genuine: The token was valid once.
    """

    def __init__(self, message: str = "Authentication failed", *, expired: bool = False, genuine: bool = False) -> None:
        super().__init__(message)
        self.expired = expired
        self.genuine = genuine


class Forbidden(Exception):
    """This user must not do that."""


class Failed(Exception):
    """A request that ThingsBoard fails at, with 500: it does so here, too, and changes nothing."""

    def __init__(self, message: str, code: int = error_responses.GENERAL) -> None:
        super().__init__(message)
        self.code = code


class Malformed(Refused):
    """A refusal with ThingsBoard's JSON on routes whose other errors are text."""


class MalformedId(Malformed):
    """An id that is not a UUID."""


class MalformedCall(Malformed):
    """A call that is not JSON."""


class Unreadable(ValueError):
    """A request with something invalid in it. The message never quotes it."""


async def not_found(_request: Request, reason: Exception) -> Response:
    """Answer for an entity that does not exist."""
    message = str(reason) if isinstance(reason, UnknownId) else "Requested item wasn't found!"
    return error(404, message, error_responses.NOT_FOUND)


async def failed(_request: Request, reason: Exception) -> Response:
    """Answer for what ThingsBoard fails at."""
    assert isinstance(reason, Failed)
    return error(500, str(reason), reason.code)


async def refused(_request: Request, reason: Exception) -> Response:
    """Answer for an entity that cannot be stored."""
    return error(400, str(reason), error_responses.BAD_REQUEST)


async def conflict(_request: Request, reason: Exception) -> Response:
    """Answer for an entity that was stored, changed or deleted meanwhile."""
    message = str(reason) if isinstance(reason, Outdated) else "Somebody else changed this at the same time: try again!"
    return error(409, message, error_responses.CONFLICT)


async def unauthorized(_request: Request, refused: Exception) -> Response:
    """Answer a sender who is not known."""
    assert isinstance(refused, Unauthorized)
    return error(
        401, str(refused), error_responses.TOKEN_EXPIRED if refused.expired else error_responses.AUTHENTICATION
    )


async def forbidden(_request: Request, _error: Exception) -> Response:
    """Answer a user who must not do this."""
    return error(403, "You don't have permission to perform this operation!", error_responses.PERMISSION_DENIED)


async def unreadable(_request: Request, reason: Exception) -> Response:
    """Answer for what cannot be stored at all."""
    return error(400, f"Invalid request: {reason}", error_responses.BAD_REQUEST)


HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    Unauthorized: unauthorized,
    Forbidden: forbidden,
    Failed: failed,
    Unreadable: unreadable,
    NotFound: not_found,
    Refused: refused,
    Conflict: conflict,
}
