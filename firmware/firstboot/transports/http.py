"""The provisioning exchange over HTTP: `POST /api/v1/provision`."""

import json

from firstboot import http
from firstboot.errors import NetworkError
from firstboot.settings import Settings
from firstboot.stream import server_stream

_REQUEST = "POST /api/v1/provision"
# Too many requests; not now.
_LATER = (429, 503)


def exchange(settings: Settings, name: str, request: str) -> bytes:  # noqa: ARG001 - the name is in the request
    """Ask, and return the body: what became of the request is said there, never by the HTTP status.

    A server that asks for patience (429, 503), or fails without such a body, is a NetworkError with
    `retry_ms`.
    """
    stream = server_stream(settings)
    status, headers, body = http.request(settings, stream, settings.provision_port(), _REQUEST, request)
    if status in _LATER or (status >= 400 and not _says_status(body)):
        error = NetworkError("the server answered with HTTP status %d" % status)
        error.retry_ms = http.retry_ms(headers)
        raise error
    return body


def _says_status(body: bytes) -> bool:
    try:
        answer = json.loads(body)
    except (ValueError, UnicodeError):
        return False
    return isinstance(answer, dict) and isinstance(answer.get("status"), str)
