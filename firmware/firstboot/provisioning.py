"""The provisioning exchange's two messages (ThingsBoard's device provisioning, JSON form)."""

import json

from firstboot import credentials
from firstboot.errors import ProtocolError

SUCCESS = "SUCCESS"
NOT_FOUND = "NOT_FOUND"
FAILURE = "FAILURE"


def request(settings, name, credential=None):
    """The request as JSON text. With `credential` the device brings its own secret."""
    fields = {
        "deviceName": name,
        "provisionDeviceKey": settings["provision.key"],
        "provisionDeviceSecret": settings["provision.secret"],
    }
    if credential:
        fields.update(credentials.request_fields(credential))
    return json.dumps(fields)


def read_answer(payload):
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
        return status, credentials.from_answer(answer)
    if status in (NOT_FOUND, FAILURE):
        return status, None
    raise ProtocolError("the answer has no status that we know")
