"""ThingsBoard's second form of a provisioning exchange, as far as it is spoken here.

There a request that is not JSON is read as protobuf. Of that only the empty request is read here.
"""

from bench.contract.credentials import CredentialsType
from bench.registry.provisioning import ProvisionOutcome, Status

EMPTY_REQUEST = b""
# In protobuf nothing is required: what is missing is empty.
AS_JSON = b'{"provisionDeviceKey":"","provisionDeviceSecret":""}'

_STATUSES = {Status.SUCCESS: 1, Status.NOT_FOUND: 2, Status.FAILURE: 3}
_TYPES = (
    CredentialsType.ACCESS_TOKEN,
    CredentialsType.X509_CERTIFICATE,
    CredentialsType.MQTT_BASIC,
    CredentialsType.LWM2M_CREDENTIALS,
)


def write_answer(outcome: ProvisionOutcome) -> bytes:
    """Return the answer to a provisioning request: ProvisionDeviceResponseMsg, fields of no value left out."""
    answer = bytes([1 << 3, _STATUSES.get(outcome.status, 0)])
    if (own := outcome.credentials) is not None:
        if kind := _TYPES.index(own.type):
            answer += bytes([2 << 3, kind])
        value = own.answer.encode()
        answer += bytes([3 << 3 | 2]) + _varint(len(value)) + value
    return answer


def _varint(number: int) -> bytes:
    digits = b""
    while number > 0x7F:
        digits += bytes([number & 0x7F | 0x80])
        number >>= 7
    return digits + bytes([number])
