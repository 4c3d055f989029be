"""The part of ThingsBoard's HTTP API that Tomcat and Spring do, before and after ThingsBoard itself."""

import codecs
import re
from urllib.parse import quote_plus

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench.server.http.error_responses import BAD_REQUEST, GENERAL

_FORM = "application/x-www-form-urlencoded"
_CHARSET = re.compile(r'charset\s*=\s*"?([^\s";]+)', re.IGNORECASE)
_ANY_OR_JSON = {"", "*/*", "application/*", "application/json"}


class ContentTypeRefused(Exception):
    """A request whose Content-Type is refused, whatever is in its body."""

    def __init__(self, status: int, message: str, code: int) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def body_as_read(content_type: str, body: bytes) -> bytes:
    """Return a body as ThingsBoard gets it: one of a form is made anew from the form's fields, and cannot be JSON then.

    Raises:
        ContentTypeRefused: It does not get to ThingsBoard.
    """
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    if kind.startswith("multipart/"):
        raise ContentTypeRefused(400, "Failed to parse multipart servlet request", BAD_REQUEST)
    if "*" in kind:
        raise ContentTypeRefused(500, "'Content-Type' cannot contain wildcard type '*'", GENERAL)
    if (charset := _CHARSET.search(parameters)) and not _is_charset(charset[1]):
        raise ContentTypeRefused(415, "The charset in 'Content-Type' is not supported", GENERAL)
    return f"{quote_plus(body)}=".encode() if kind == _FORM and body else body


def _is_charset(name: str) -> bool:
    try:
        codecs.lookup(name)
    except (LookupError, ValueError):
        return False
    return True


def accepts_json(accept: str) -> bool:
    """Return whether a header Accept has room for JSON."""
    return not _ANY_OR_JSON.isdisjoint(part.partition(";")[0].strip().lower() for part in accept.split(","))


class PathCheck:
    """Middleware that refuses a line feed in a path, as Spring does before it looks for the route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "\n" in scope["path"]:
            await Response(status_code=400)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class ChunkedErrors:
    """Middleware that sends errors in chunks, as Tomcat does: a client has to be able to read them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_chunks(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                headers = message.get("headers", ())
                message["headers"] = [each for each in headers if each[0] != b"content-length" or each[1] == b"0"]
            await send(message)

        # before HTTP/1.1 there are none
        in_chunks = scope.get("http_version") == "1.1" and scope.get("method") != "HEAD"
        await self._app(scope, receive, send_in_chunks if in_chunks else send)
