"""Answers of an unavailable server, in each protocol."""

from bench.faults.network.framing import Protocol
from bench.mqtt import codec
from bench.mqtt.codec import PacketType, ReasonCode, ReturnCode

_MQTT_5 = 5
_COAP_CONFIRMABLE, _COAP_ACK, _COAP_NON = 0, 2, 1
_SERVICE_UNAVAILABLE = 5 << 5 | 3
_MAX_AGE = 14
_COAP_HEADER = 4


def answer(protocol: Protocol, request: bytes, *, retry_after_s: int) -> bytes | None:
    """Return the answer to a request.

    Args:
        protocol: The protocol of the request.
        request: The first message of a connection, or a datagram.
        retry_after_s: Seconds to stay away; 0 leaves it out. MQTT 3.1.1 has no room for it, and MQTT 5 no field.

    Returns:
        The answer; None if there is none, as under TLS, whose keys are the server's.
    """
    match protocol:
        case Protocol.MQTT:
            return _connack(request)
        case Protocol.HTTP:
            wait = f"Retry-After: {retry_after_s}\r\n" if retry_after_s else ""
            return f"HTTP/1.1 503 Service Unavailable\r\n{wait}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
        case Protocol.COAP:
            return _coap(request, retry_after_s)
        case _:
            return None


def _connack(request: bytes) -> bytes | None:
    """Return CONNACK for server unavailable: 3 (MQTT 3.1.1, 3.2.2.3), 0x88 (MQTT 5, 3.2.2.2)."""
    name = request.find(b"MQTT")
    if request[:1] != bytes([PacketType.CONNECT << 4]):
        return None
    if name > 0 and request[name + 4 : name + 5] == bytes([_MQTT_5]):
        return codec.connack(ReasonCode.SERVER_UNAVAILABLE, level=_MQTT_5)
    return codec.connack(ReturnCode.UNAVAILABLE)


def _coap(request: bytes, retry_after_s: int) -> bytes | None:
    """Return 5.03, with the time in Max-Age (RFC 7252, section 5.9.3.4)."""
    if len(request) < _COAP_HEADER or not 0 < request[1] < 1 << 5:
        return None
    kind = request[0] >> 4 & 3
    if kind not in (_COAP_CONFIRMABLE, _COAP_NON):
        return None
    token_length = request[0] & 0x0F
    answer_kind = _COAP_ACK if kind == _COAP_CONFIRMABLE else _COAP_NON
    value = retry_after_s.to_bytes(4).lstrip(b"\0")
    # an option's number above 12 has one more byte, which holds the number less 13 (RFC 7252, section 3.1)
    option = bytes([13 << 4 | len(value), _MAX_AGE - 13]) + value if retry_after_s else b""
    head = bytes([1 << 6 | answer_kind << 4 | token_length, _SERVICE_UNAVAILABLE])
    return head + request[2 : _COAP_HEADER + token_length] + option
