"""MQTT 3.1.1 as a device speaks it: the packets it sends, and what they are answered with.

Imports nothing but the standard library.
"""

CONNACK = b"\x20\x02\x00\x00"
SUBACK = b"\x90\x03\x00\x01\x00"
PUBACK = b"\x40\x02\x00\x01"
PING, PONG = b"\xc0\x00", b"\xd0\x00"
DISCONNECT = b"\xe0\x00"
# One packet of a kind is under way at a time: all have this id.
_PACKET_ID = b"\x00\x01"


def string(text: bytes) -> bytes:
    """A text as MQTT has it (3.1.1, 1.5.3)."""
    return len(text).to_bytes(2, "big") + text


def packet(first: int, body: bytes) -> bytes:
    """An MQTT packet: its first byte, its remaining length (2.2.3), its body."""
    length, rest = bytearray(), len(body)
    while rest > 0x7F:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes((first, *length, rest)) + body


def connect(client_id: bytes, username: bytes, *, keep_alive_s: int = 60) -> bytes:
    """CONNECT of a clean session, with a user name and no password."""
    header = string(b"MQTT") + b"\x04\x82" + keep_alive_s.to_bytes(2, "big")
    return packet(0x10, header + string(client_id) + string(username))


def subscribe(topic: bytes) -> bytes:
    """SUBSCRIBE with QoS 0; SUBACK is the answer."""
    return packet(0x82, _PACKET_ID + string(topic) + b"\x00")


def publish(topic: bytes, payload: bytes) -> bytes:
    """PUBLISH with QoS 0."""
    return packet(0x30, string(topic) + payload)


def publish_acknowledged(topic: bytes, payload: bytes) -> bytes:
    """PUBLISH with QoS 1; PUBACK is the answer."""
    return packet(0x32, string(topic) + _PACKET_ID + payload)


def message(body: bytes) -> tuple[bytes, bytes]:
    """Topic and payload of a PUBLISH with QoS 0, without its fixed header. Raises ValueError if it is none."""
    end = 2 + int.from_bytes(body[:2], "big")
    if len(body) < max(end, 2):
        raise ValueError("the server sent half a message")
    return body[2:end], body[end:]
