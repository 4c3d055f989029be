"""The provisioning exchange over HTTP: `POST /api/v1/provision`."""

import json

from firstboot import http, memory
from firstboot.errors import NetworkError
from firstboot.settings import Settings
from firstboot.stream import server_stream

_REQUEST = "POST /api/v1/provision"
# too many requests; service unavailable
_LATER = (429, 503)


def exchange(settings: Settings, name: str, request: str) -> memoryview:  # noqa: ARG001 - the name is in the request
    """Send the request, and return the answer's body: the outcome is there, never in the HTTP status.

    Raises:
        NetworkError: a status of 429 or 503, or an error without such a body; with `retry_ms`.
    """
    stream = server_stream(settings)
    status, headers, body = http.request(settings, stream, settings.provision_port(), _REQUEST, request)
    if status in _LATER or (status >= 400 and not _has_status(body)):
        error = NetworkError("the server answered with HTTP status %d" % status)
        error.retry_ms = http.retry_ms(headers)
        raise error
    return body


def _has_status(body: memoryview) -> bool:
    if not memory.is_affordable(body):
        return False
    try:
        answer = json.loads(body)  # type: ignore[type-var]
    except (ValueError, UnicodeError):
        return False
    return isinstance(answer, dict) and isinstance(answer.get("status"), str)
