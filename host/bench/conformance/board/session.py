"""What was said on one connection of a board, as it was heard on the wire."""

import time
from dataclasses import dataclass, field

from bench.mqtt import codec
from bench.mqtt.codec import Connect, Decoder, MalformedPacket, Packet, PacketType, Publish, Subscribe

PROVISION = "provision"
"""The user name, or client id, of a connection that asks for credentials."""

_ACCEPTED = 0
# What is kept of a connection's bytes.
_KEPT = 1 << 20
_DUP = 0x08
_MQTT_5 = 5


@dataclass(frozen=True, kw_only=True)
class Said:
    """A packet and when it passed, in seconds. `packet` is None for the server's, and for what is none: see `fault`."""

    at: float
    raw: bytes = field(repr=False)
    packet: Packet | None = None
    fault: str = ""

    @property
    def kind(self) -> int:
        """The packet's type (MQTT 3.1.1, 2.2.1)."""
        return self.raw[0] >> 4

    @property
    def dup(self) -> bool:
        """Whether a PUBLISH says that it is sent again (3.3.1.1)."""
        return bool(self.raw[0] & _DUP)


@dataclass(frozen=True)
class Login:
    """What a board logs in with."""

    client_id: str
    username: str | None
    password: bytes | None = field(repr=False)


class Session:
    """One connection. `opened` and `closed` are in seconds of the monotonic clock."""

    def __init__(self, number: int, *, tls: bool) -> None:
        self.number = number
        self.tls = tls
        """Whether it came to the port for TLS; see `in_clear`."""
        self.opened = time.monotonic()
        self.closed: float | None = None
        self.left = False
        """Whether it was the board that ended it."""
        self.dead = False
        """Nothing passes any more, either way, and nobody says so."""
        self.in_clear = not tls
        self.bytes = bytearray()
        """What the board said, TLS taken off; the begin of it if that is much."""
        self.heard: list[Said] = []
        self.told: list[Said] = []
        """What the board was told."""
        self._decoder = Decoder()

    def hear(self, raw: bytes) -> None:
        """The board said a packet."""
        try:
            packet = next(self._decoder.feed(raw), None)
        except MalformedPacket as error:
            self.misheard(raw, str(error))
        else:
            self.heard.append(Said(at=time.monotonic(), raw=raw, packet=packet))

    def misheard(self, raw: bytes, fault: str) -> None:
        """The board said what is no packet."""
        self.heard.append(Said(at=time.monotonic(), raw=raw, fault=fault))

    def take(self, data: bytes) -> None:
        """The board said these bytes."""
        self.bytes += data[: _KEPT - len(self.bytes)]

    def tell(self, raw: bytes) -> None:
        """The board was told a packet, or a piece of one."""
        self.told.append(Said(at=time.monotonic(), raw=raw))

    @property
    def connect(self) -> Connect | None:
        """The CONNECT, once it has come."""
        return next((each.packet for each in self.heard if isinstance(each.packet, Connect)), None)

    @property
    def level(self) -> int:
        """MQTT's protocol level: 3, 4 or 5."""
        return self.connect.level if self.connect else 4

    @property
    def asks(self) -> bool:
        """Whether it is for provisioning."""
        return self.connect is not None and PROVISION in (self.connect.username, self.connect.client_id)

    @property
    def code(self) -> int | None:
        """CONNACK's return code, once the board has been told."""
        said = b"".join(each.raw for each in self.told[:_LONGEST_CONNACK])
        return said[3] if len(said) > 3 and said[0] >> 4 == PacketType.CONNACK else None

    @property
    def online(self) -> bool:
        """Whether a device has logged in, and the server took it."""
        return self.code == _ACCEPTED and not self.asks

    @property
    def login(self) -> Login | None:
        """What a device logged in with, or tried to."""
        found = self.connect
        if found is None or self.asks:
            return None
        return Login(found.client_id, found.username, found.password)

    @property
    def requests(self) -> list[Publish]:
        """Provisioning requests."""
        return [each for each in self.published if self.asks]

    @property
    def published(self) -> list[Publish]:
        """Everything the board published."""
        return [each.packet for each in self.heard if isinstance(each.packet, Publish)]

    @property
    def filters(self) -> list[str]:
        """What the board subscribed to."""
        packets = [each.packet for each in self.heard]
        return [filter_ for each in packets if isinstance(each, Subscribe) for filter_, _ in each.filters]

    def refusal(self, code: int) -> bytes:
        """A CONNACK with this return code of MQTT 3.1.1 (3 or 5), in the board's own version."""
        return codec.connack(_IN_MQTT_5[code] if self.level == _MQTT_5 else code, level=self.level)

    def message(self, topic: str, payload: bytes) -> bytes:
        """A PUBLISH of QoS 0, in the board's own version."""
        return codec.publish(topic, payload, level=self.level)


# Told in pieces, a CONNACK of MQTT 5 comes in so many pieces.
_LONGEST_CONNACK = 5
_IN_MQTT_5 = {3: 0x88, 5: 0x87}
