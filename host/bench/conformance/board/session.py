"""The record of one connection of a board: the packets and bytes that passed, and when."""

import time
from dataclasses import dataclass, field

from bench.mqtt import codec
from bench.mqtt.codec import Connect, MalformedPacket, Packet, PacketDecoder, PacketType, Publish, Subscribe

PROVISION = "provision"
"""The user name, or client id, of a connection to request credentials."""

_ACCEPTED = 0
# What is kept of a connection's bytes.
_KEPT = 1 << 20
_DUP = 0x08
_MQTT_5 = 5


@dataclass(frozen=True, kw_only=True)
class RecordedPacket:
    """A packet and when it passed, in seconds of the monotonic clock.

    `packet` is None for one from the server, and for a malformed one, whose `fault` names the rule that it breaks.
    """

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
        """The DUP flag of a PUBLISH (3.3.1.1): it is sent again."""
        return bool(self.raw[0] & _DUP)


@dataclass(frozen=True)
class BoardLogin:
    """The credentials of a login, and its client id."""

    client_id: str
    username: str | None
    password: bytes | None = field(repr=False)


class BoardSession:
    """One connection. `opened` and `closed` are in seconds of the monotonic clock."""

    def __init__(self, number: int, *, tls: bool) -> None:
        self.number = number
        self.tls = tls
        """It came to the port for TLS; see `in_clear`."""
        self.opened = time.monotonic()
        self.closed: float | None = None
        self.left = False
        """It was the board that ended it."""
        self.dead = False
        """Nothing passes any more, either way, and nobody says so."""
        self.in_clear = not tls
        self.bytes = bytearray()
        """The bytes from the board, TLS taken off; the begin of them if they are many."""
        self.received: list[RecordedPacket] = []
        self.sent: list[RecordedPacket] = []
        """The packets to the board."""
        self._decoder = PacketDecoder()

    def record(self, raw: bytes) -> None:
        """Record a packet from the board."""
        try:
            packet = next(self._decoder.feed(raw), None)
        except MalformedPacket as error:
            self.record_malformed(raw, str(error))
        else:
            self.received.append(RecordedPacket(at=time.monotonic(), raw=raw, packet=packet))

    def record_malformed(self, raw: bytes, fault: str) -> None:
        """Record bytes from the board that are not a packet, and the rule that they break."""
        self.received.append(RecordedPacket(at=time.monotonic(), raw=raw, fault=fault))

    def record_bytes(self, data: bytes) -> None:
        """Record bytes from the board."""
        self.bytes += data[: _KEPT - len(self.bytes)]

    def record_sent(self, raw: bytes) -> None:
        """Record a packet to the board, or a piece of one."""
        self.sent.append(RecordedPacket(at=time.monotonic(), raw=raw))

    @property
    def connect(self) -> Connect | None:
        """The CONNECT, once it has come."""
        return next((each.packet for each in self.received if isinstance(each.packet, Connect)), None)

    @property
    def level(self) -> int:
        """MQTT's protocol level: 3, 4 or 5."""
        return self.connect.level if self.connect else 4

    @property
    def is_provisioning(self) -> bool:
        """True for a connection to request provisioning."""
        return self.connect is not None and PROVISION in (self.connect.username, self.connect.client_id)

    @property
    def code(self) -> int | None:
        """CONNACK's return code, once it was sent to the board."""
        sent = b"".join(each.raw for each in self.sent[:_LONGEST_CONNACK])
        return sent[3] if len(sent) > 3 and sent[0] >> 4 == PacketType.CONNACK else None

    @property
    def online(self) -> bool:
        """True once a device has logged in, and the server has accepted it."""
        return self.code == _ACCEPTED and not self.is_provisioning

    @property
    def login(self) -> BoardLogin | None:
        """The login of a device, accepted or not; None if there was none."""
        found = self.connect
        if found is None or self.is_provisioning:
            return None
        return BoardLogin(found.client_id, found.username, found.password)

    @property
    def requests(self) -> list[Publish]:
        """The provisioning requests."""
        return [each for each in self.published if self.is_provisioning]

    @property
    def published(self) -> list[Publish]:
        """The publications of the board."""
        return [each.packet for each in self.received if isinstance(each.packet, Publish)]

    @property
    def filters(self) -> list[str]:
        """The filters that the board subscribed to."""
        packets = [each.packet for each in self.received]
        return [filter_ for each in packets if isinstance(each, Subscribe) for filter_, _ in each.filters]

    def refusal(self, code: int) -> bytes:
        """Return a CONNACK with this return code of MQTT 3.1.1 (3 or 5), in the board's own version."""
        return codec.connack(_IN_MQTT_5[code] if self.level == _MQTT_5 else code, level=self.level)

    def message(self, topic: str, payload: bytes) -> bytes:
        """Return a PUBLISH of QoS 0, in the board's own version."""
        return codec.publish(topic, payload, level=self.level)


# The most pieces that a CONNACK of MQTT 5 is sent in.
_LONGEST_CONNACK = 5
_IN_MQTT_5 = {3: 0x88, 5: 0x87}
