"""Encoder of the packets that a server sends.

`level` is that of the connection's CONNECT: 3 is MQTT 3.1, 4 is MQTT 3.1.1, 5 is MQTT 5.
MQTT 5 packets carry no properties, as upstream's carry none.
"""

from collections.abc import Sequence

from bench.mqtt.codec import remaining_length

PINGRESP = b"\xd0\x00"


def connack(code: int, *, session_present: bool = False, level: int = 4) -> bytes:
    """Return a CONNACK (3.2).

    Args:
        code: A `ReturnCode`, with MQTT 5 a `ReasonCode`; 0 accepts the connection.
        session_present: The server has a session of this client (3.2.2.2).
        level: The connection's level.
    """
    if level == 5:
        return bytes((0x20, 3, session_present, code, 0))
    return bytes((0x20, 2, session_present, code))


def puback(packet_id: int, reason: int = 0, *, level: int = 4) -> bytes:
    """Return a PUBACK (3.4).

    Args:
        packet_id: The packet id of the PUBLISH.
        reason: A `ReasonCode`, for MQTT 5 only, where 0 is left out (MQTT 5, 3.4.2.1).
        level: The connection's level.
    """
    if level == 5 and reason:
        return b"\x40\x04" + packet_id.to_bytes(2, "big") + bytes((reason, 0))
    return b"\x40\x02" + packet_id.to_bytes(2, "big")


def suback(packet_id: int, codes: Sequence[int], *, level: int = 4) -> bytes:
    """Return a SUBACK (3.9).

    Args:
        packet_id: The packet id of the SUBSCRIBE.
        codes: For each filter the granted QoS, or a refusal: 0x80, in MQTT 5 a `ReasonCode`.
        level: The connection's level.
    """
    body = packet_id.to_bytes(2, "big") + (b"\0" if level == 5 else b"") + bytes(codes)
    return b"\x90" + remaining_length.encode(len(body)) + body


def unsuback(packet_id: int, codes: Sequence[int] = (), *, level: int = 4) -> bytes:
    """Return an UNSUBACK (3.11).

    Args:
        packet_id: The packet id of the UNSUBSCRIBE.
        codes: A `ReasonCode` for each filter, for MQTT 5 only.
        level: The connection's level.
    """
    if level == 5:
        body = packet_id.to_bytes(2, "big") + b"\0" + bytes(codes)
        return b"\xb0" + remaining_length.encode(len(body)) + body
    return b"\xb0\x02" + packet_id.to_bytes(2, "big")


def publish(topic: str, payload: bytes, *, qos: int = 0, packet_id: int = 0, level: int = 4) -> bytes:
    """Return a PUBLISH (3.3), retain 0.

    Args:
        topic: The topic name.
        payload: The message.
        qos: The quality of service, from 0 to 2.
        packet_id: The packet id, from 1; left out with QoS 0.
        level: The connection's level.
    """
    head = _string(topic) + packet_id.to_bytes(2, "big") if qos else _string(topic)
    body = head + b"\0" + payload if level == 5 else head + payload
    return bytes((0x30 | qos << 1,)) + remaining_length.encode(len(body)) + body


def disconnect(reason: int) -> bytes:
    """Return a DISCONNECT from the server, of MQTT 5 only; reason 0 is left out (MQTT 5, 3.14.2.1)."""
    return bytes((0xE0, 2, reason, 0)) if reason else b"\xe0\x00"


def _string(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data
