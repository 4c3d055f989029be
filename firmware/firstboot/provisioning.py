"""The provisioning exchange's two messages (ThingsBoard's device provisioning, JSON form)."""

import json

from firstboot import credentials
from firstboot.errors import ProtocolError
from firstboot.settings import Settings

SUCCESS = "SUCCESS"
NOT_FOUND = "NOT_FOUND"
FAILURE = "FAILURE"


def request(settings: Settings, name: str, credential: dict[str, str] | None = None) -> str:
    """The request as JSON text. With `credential` the device brings its own secret."""
    fields = {
        "deviceName": name,
        "provisionDeviceKey": settings.text("provision.key"),
        "provisionDeviceSecret": settings.text("provision.secret"),
    }
    if credential:
        fields.update(credentials.request_fields(credential))
    return json.dumps(fields)


def read_answer(payload: bytes) -> tuple[str, dict[str, str] | None]:
    """`(status, credential or None)` of an answer.

    Raises ProtocolError for anything that is not one of the three answers. The message never
    quotes the payload: it may hold a secret.
    """
    try:
        answer = json.loads(payload)
    except (ValueError, UnicodeError):
        raise ProtocolError("the answer is not JSON (%d bytes)" % len(payload))
    if not isinstance(answer, dict):
        raise ProtocolError("the answer is not a JSON object")
    status = answer.get("status")
    if status == SUCCESS:
        return SUCCESS, credentials.from_answer(answer)
    if status in (NOT_FOUND, FAILURE):
        return str(status), None
    raise ProtocolError("the answer has no status that we know")
