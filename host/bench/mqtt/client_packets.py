"""Encoder of the packets that a client sends (MQTT 3.1.1 and 5).

Levels are those of CONNECT: 4 is MQTT 3.1.1, 5 is MQTT 5.
"""

from bench.mqtt.codec import remaining_length

PING, DISCONNECT = b"\xc0\x00", b"\xe0\x00"
# The server's answers in MQTT 3.1.1: login accepted, and those to packets with the id 1.
ACCEPTED = b"\x20\x02\x00\x00"
GRANTED = b"\x90\x03\x00\x01\x00"
ACKNOWLEDGED = b"\x40\x02\x00\x01"
PONG = b"\xd0\x00"


def text(value: str) -> bytes:
    """Return a UTF-8 string with its length (3.1.1, 1.5.3)."""
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


def packet(first: int, body: bytes) -> bytes:
    """Return a packet: its first byte, its remaining length (2.2.3), its body.

    Args:
        first: Type and flags (2.2).
        body: Variable header and payload.
    """
    return bytes((first,)) + remaining_length.encode(len(body)) + body


def connect(
    client_id: str = "",
    username: str | None = None,
    password: str | None = None,
    *,
    keep_alive_s: int = 0,
    level: int = 4,
) -> bytes:
    """Return a CONNECT of a clean session (3.1).

    Args:
        client_id: The client id; empty has the server choose one.
        username: The user name, e.g. an access token; None for none.
        password: The password; None for none.
        keep_alive_s: Seconds; 0 for no keep-alive.
        level: 4 for MQTT 3.1.1, 5 for MQTT 5.
    """
    flags = 0x02 | 0x80 * (username is not None) | 0x40 * (password is not None)
    header = text("MQTT") + bytes((level, flags)) + keep_alive_s.to_bytes(2, "big") + _properties(level)
    return packet(0x10, header + b"".join(text(each) for each in (client_id, username, password) if each is not None))


def publish(topic: str, payload: bytes, *, qos: int = 1, packet_id: int = 1, level: int = 4) -> bytes:
    """Return a PUBLISH (3.3), neither retained nor a duplicate.

    Args:
        topic: The topic name.
        payload: The message.
        qos: The quality of service, from 0 to 2.
        packet_id: The packet id, from 1; left out with QoS 0.
        level: 4 for MQTT 3.1.1, 5 for MQTT 5.
    """
    ident = packet_id.to_bytes(2, "big") if qos else b""
    return packet(0x30 | qos << 1, text(topic) + ident + _properties(level) + payload)


def subscribe(packet_id: int, *filters: tuple[str, int], level: int = 4) -> bytes:
    """Return a SUBSCRIBE (3.8).

    Args:
        packet_id: The packet id, from 1.
        *filters: Topic filters, each with the QoS requested.
        level: 4 for MQTT 3.1.1, 5 for MQTT 5.
    """
    wanted = b"".join(text(topic) + bytes((qos,)) for topic, qos in filters)
    return packet(0x82, packet_id.to_bytes(2, "big") + _properties(level) + wanted)


def _properties(level: int) -> bytes:
    """Return the empty properties of a packet of MQTT 5."""
    return b"\0" if level == 5 else b""
