"""MQTT 3.1 and 3.1.1 packets from and to bytes (OASIS MQTT 3.1.1; section numbers are its own).

Reading is strict: whatever the standard calls a protocol violation raises MalformedPacket, and
the connection it came on is closed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

# The remaining length of a packet, as ThingsBoard's transport limits it.
PACKET_LIMIT = 65536

_LEVELS = {"MQIsdp": 3, "MQTT": 4}
_OLD_CLIENT_ID_LIMIT = 23


class Kind(IntEnum):
    """Packet types (2.2.1)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


class Refusal(IntEnum):
    """CONNACK return codes (3.2.2.3)."""

    BAD_PROTOCOL_LEVEL = 1
    BAD_CLIENT_ID = 2
    UNAVAILABLE = 3
    NOT_AUTHORISED = 5


class MalformedPacket(Exception):
    """Bytes that are no packet. The message names the rule, never the bytes."""


class UnacceptableLevel(MalformedPacket):
    """MQTT, but of a level we do not speak: answered with CONNACK 1 (3.1.2.2)."""


@dataclass(frozen=True, kw_only=True)
class Connect:
    """CONNECT. A will is read over: upstream takes it and never sends it."""

    level: int
    clean: bool
    keep_alive_s: int
    client_id: str
    username: str | None
    password: bytes | None = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Publish:
    """PUBLISH; `packet_id` is 0 for QoS 0."""

    topic: str
    payload: bytes = field(repr=False)
    qos: int
    packet_id: int


@dataclass(frozen=True, kw_only=True)
class Subscribe:
    """SUBSCRIBE: filters with the QoS asked for."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class Unsubscribe:
    """UNSUBSCRIBE."""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Simple:
    """A packet of which only the type matters here: PINGREQ, DISCONNECT, and acknowledgements."""

    kind: Kind


Packet = Connect | Publish | Subscribe | Unsubscribe | Simple


class _Body:
    """A packet's variable header and payload, read from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise MalformedPacket("a field is longer than its packet")
        piece = self._data[self._at : self._at + size]
        self._at += size
        return piece

    def byte(self) -> int:
        return self.take(1)[0]

    def word(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def binary(self) -> bytes:
        return self.take(self.word())

    def text(self) -> str:
        try:
            text = self.binary().decode()
        except UnicodeDecodeError:
            raise MalformedPacket("a text is not UTF-8 (1.5.3)") from None
        if "\0" in text:
            raise MalformedPacket("a text contains U+0000 (1.5.3)")
        return text

    def packet_id(self) -> int:
        packet_id = self.word()
        if packet_id == 0:
            raise MalformedPacket("packet id 0 (2.3.1)")
        return packet_id

    def end(self) -> None:
        if self.left:
            raise MalformedPacket("bytes behind the last field")


class Decoder:
    """Cuts a stream of bytes into packets.

    Keeps at most one packet's bytes: the length is checked as soon as it is known.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Packet]:
        """The packets completed by `data`, one by one.

        Raises MalformedPacket where one is malformed, after those in front of it; from then on the
        decoder is of no more use.
        """
        self._buffer += data
        while (found := self._header()) is not None:
            first, start, length = found
            if len(self._buffer) < start + length:
                break
            body = bytes(self._buffer[start : start + length])
            del self._buffer[: start + length]
            yield _decode(first >> 4, first & 0x0F, _Body(body))

    def _header(self) -> tuple[int, int, int] | None:
        """First byte, where the body starts, and its length; None if more bytes are needed (2.2.3)."""
        length = 0
        for index in range(1, len(self._buffer)):
            if index > 4:
                raise MalformedPacket("the remaining length has more than four bytes (2.2.3)")
            byte = self._buffer[index]
            length |= (byte & 0x7F) << 7 * (index - 1)
            if not byte & 0x80:
                if length > PACKET_LIMIT:
                    raise MalformedPacket(f"a packet of more than {PACKET_LIMIT} bytes")
                return self._buffer[0], index + 1, length
        return None


def _decode(kind: int, flags: int, body: _Body) -> Packet:
    if kind == Kind.PUBLISH:
        return _publish(flags, body)
    # 2.2.2: these three carry the flags 0010, all others 0000
    wanted = 0x02 if kind in (Kind.PUBREL, Kind.SUBSCRIBE, Kind.UNSUBSCRIBE) else 0x00
    if flags != wanted:
        raise MalformedPacket("reserved flags are set (2.2.2)")
    match kind:
        case Kind.CONNECT:
            return _connect(body)
        case Kind.SUBSCRIBE:
            return _subscribe(body)
        case Kind.UNSUBSCRIBE:
            return _unsubscribe(body)
        case Kind.PUBACK | Kind.PUBREC | Kind.PUBREL | Kind.PUBCOMP:
            body.packet_id()
        case Kind.PINGREQ | Kind.DISCONNECT:
            pass
        case _:
            raise MalformedPacket("a packet that only a server sends, or none at all")
    body.end()
    return Simple(kind=Kind(kind))


def _connect(body: _Body) -> Connect:
    name = body.text()
    if name not in _LEVELS:
        raise MalformedPacket("the protocol is not MQTT (3.1.2.1)")
    level = body.byte()
    if level != _LEVELS[name]:
        raise UnacceptableLevel(f"MQTT level {level} is not spoken here (3.1.2.2)")
    flags = body.byte()
    if flags & 0x01:
        raise MalformedPacket("the reserved connect flag is set (3.1.2.3)")
    will, will_qos = flags & 0x04, flags >> 3 & 0x03
    if will_qos == 3 or (not will and flags & 0x38):
        raise MalformedPacket("will flags that do not fit together (3.1.2.6)")
    keep_alive_s = body.word()
    client_id = body.text()
    if level == 3 and not 1 <= len(client_id) <= _OLD_CLIENT_ID_LIMIT:
        raise MalformedPacket("a client id of MQTT 3.1 has 1 to 23 characters")
    if will:
        body.text()
        body.binary()
    username = body.text() if flags & 0x80 else None
    password = body.binary() if flags & 0x40 else None
    body.end()
    return Connect(
        level=level,
        clean=bool(flags & 0x02),
        keep_alive_s=keep_alive_s,
        client_id=client_id,
        username=username,
        password=password,
    )


def _publish(flags: int, body: _Body) -> Publish:
    qos = flags >> 1 & 0x03
    if qos == 3 or (qos == 0 and flags & 0x08):
        raise MalformedPacket("QoS 3, or a duplicate of a QoS 0 message (3.3.1)")
    topic = body.text()
    if not topic or "+" in topic or "#" in topic:
        raise MalformedPacket("an empty topic, or wildcards in it (3.3.2.1)")
    packet_id = body.packet_id() if qos else 0
    return Publish(topic=topic, payload=body.take(body.left), qos=qos, packet_id=packet_id)


def _subscribe(body: _Body) -> Subscribe:
    packet_id = body.packet_id()
    filters = []
    while body.left:
        topic, qos = body.text(), body.byte()
        if not topic or qos > 2:
            raise MalformedPacket("an empty filter, or QoS above 2 (3.8.3)")
        filters.append((topic, qos))
    if not filters:
        raise MalformedPacket("a SUBSCRIBE without filters (3.8.3)")
    return Subscribe(packet_id=packet_id, filters=tuple(filters))


def _unsubscribe(body: _Body) -> Unsubscribe:
    packet_id = body.packet_id()
    filters = []
    while body.left:
        filters.append(body.text())
    if not filters or not all(filters):
        raise MalformedPacket("an UNSUBSCRIBE without filters (3.10.3)")
    return Unsubscribe(packet_id=packet_id, filters=tuple(filters))


PINGRESP = b"\xd0\x00"


def connack(code: int, *, session_present: bool = False) -> bytes:
    """CONNACK (3.2)."""
    return bytes((0x20, 2, session_present, code))


def puback(packet_id: int) -> bytes:
    """PUBACK (3.4)."""
    return b"\x40\x02" + packet_id.to_bytes(2, "big")


def suback(packet_id: int, codes: list[int]) -> bytes:
    """SUBACK (3.9): the granted QoS of each filter, or 0x80."""
    return b"\x90" + _length(2 + len(codes)) + packet_id.to_bytes(2, "big") + bytes(codes)


def unsuback(packet_id: int) -> bytes:
    """UNSUBACK (3.11)."""
    return b"\xb0\x02" + packet_id.to_bytes(2, "big")


def publish(topic: str, payload: bytes, *, qos: int = 0, packet_id: int = 0) -> bytes:
    """PUBLISH (3.3), retain 0."""
    body = _string(topic) + (packet_id.to_bytes(2, "big") if qos else b"") + payload
    return bytes((0x30 | qos << 1,)) + _length(len(body)) + body


def _string(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


def _length(length: int) -> bytes:
    """The remaining length (2.2.3): seven bits a byte, least significant first."""
    encoded = bytearray()
    while True:
        length, digit = length >> 7, length & 0x7F
        if not length:
            return bytes((*encoded, digit))
        encoded.append(digit | 0x80)
