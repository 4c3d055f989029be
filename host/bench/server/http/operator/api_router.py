"""Routers of the operators' API: below /api, with the errors that any of its routes may answer.

All that is common to them is said when they are made. FastAPI would analyze each route once more, for 0.3 s at the
first request, for what is said when an application includes them.
"""

from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute


def json_content(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a body of JSON with this schema."""
    return {"application/json": {"schema": schema}}


ERROR = json_content({"$ref": "#/components/schemas/ErrorAnswer"})
# Of the routes of telemetry, attributes and calls.
_PLAIN = {"text/plain": {"schema": {"type": "string"}}}
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"content": {**ERROR, **_PLAIN}, "description": "The request is invalid."},
    401: {"content": ERROR, "description": "Not logged in."},
    403: {"content": {**ERROR, **_PLAIN}, "description": "Not allowed."},
    404: {"content": {**ERROR, **_PLAIN}, "description": "Not found."},
    409: {"content": ERROR, "description": "Somebody else was faster."},
    413: {"content": json_content({"type": "string"}), "description": "The body is too large."},
    500: {"content": ERROR, "description": "The body cannot be read, or nothing is sorted by that."},
    429: {"content": ERROR, "description": "Too many failures: try again after Retry-After seconds."},
}


class ApiRouter(APIRouter):
    """A router for paths below /api.

    Args:
        route_class: Who may call, and how errors are answered.
        tag: The section of the description.
        prefix: What the paths begin with after /api.
    """

    def __init__(self, route_class: type[APIRoute], tag: str, prefix: str = "") -> None:
        """Make a router without routes."""
        super().__init__(route_class=route_class, prefix=f"/api{prefix}", tags=[tag], responses=ERRORS)
