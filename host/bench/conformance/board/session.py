"""The record of one connection of a board: the packets and bytes that passed, with their times."""

import time
from dataclasses import dataclass, field

from bench.mqtt import codec
from bench.mqtt.codec import Connect, MalformedPacket, Packet, PacketDecoder, PacketType, Publish, Subscribe

PROVISION = "provision"
"""User name, or client id, of a connection for provisioning (ThingsBoard)."""

_ACCEPTED = 0
# The most bytes of a connection that are kept.
_KEPT = 1 << 20
_DUP = 0x08
_MQTT_5 = 5


@dataclass(frozen=True, kw_only=True)
class RecordedPacket:
    """A packet, and the time `at` which it passed, in seconds of the monotonic clock.

    `packet` is None for a packet from the server, and for a malformed one, whose `fault` names the rule that it breaks.
    """

    at: float
    raw: bytes = field(repr=False)
    packet: Packet | None = None
    fault: str = ""

    @property
    def kind(self) -> int:
        """The packet's type (MQTT 3.1.1, section 2.2.1)."""
        return self.raw[0] >> 4

    @property
    def dup(self) -> bool:
        """The DUP flag of a PUBLISH (MQTT 3.1.1, section 3.3.1.1): it is sent again."""
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
        """Make the record of a connection that is opened now.

        Args:
            number: The number of connections before it.
            tls: True if it came to the port for TLS.
        """
        self.number = number
        self.tls = tls
        """True if it came to the port for TLS; see `in_clear`."""
        self.opened = time.monotonic()
        self.closed: float | None = None
        self.left = False
        """True if the board ended it."""
        self.dead = False
        """True if nothing passes any more, either way, without an end of the connection."""
        self.in_clear = not tls
        """True if the board does not use TLS, on whichever port."""
        self.bytes = bytearray()
        """The bytes from the board, decrypted; only the first 1 MiB of them."""
        self.received: list[RecordedPacket] = []
        self.sent: list[RecordedPacket] = []
        """The packets to the board."""
        self._decoder = PacketDecoder()

    def record(self, raw: bytes) -> None:
        """Record a packet from the board, malformed or not."""
        try:
            packet = next(self._decoder.feed(raw), None)
        except MalformedPacket as error:
            self.record_malformed(raw, str(error))
        else:
            self.received.append(RecordedPacket(at=time.monotonic(), raw=raw, packet=packet))

    def record_malformed(self, raw: bytes, fault: str) -> None:
        """Record bytes from the board that are not a packet.

        Args:
            raw: The first of the bytes.
            fault: The rule that they break.
        """
        self.received.append(RecordedPacket(at=time.monotonic(), raw=raw, fault=fault))

    def record_bytes(self, data: bytes) -> None:
        """Record bytes from the board, up to 1 MiB a connection."""
        self.bytes += data[: _KEPT - len(self.bytes)]

    def record_sent(self, raw: bytes) -> None:
        """Record a packet to the board, or a piece of one."""
        self.sent.append(RecordedPacket(at=time.monotonic(), raw=raw))

    @property
    def connect(self) -> Connect | None:
        """The CONNECT; None until it has come."""
        return next((each.packet for each in self.received if isinstance(each.packet, Connect)), None)

    @property
    def level(self) -> int:
        """MQTT's protocol level: 3, 4 or 5; 4 until the CONNECT has come."""
        return self.connect.level if self.connect else 4

    @property
    def is_provisioning(self) -> bool:
        """True for a connection for provisioning, by its user name or client id."""
        return self.connect is not None and PROVISION in (self.connect.username, self.connect.client_id)

    @property
    def code(self) -> int | None:
        """The return code of the CONNACK; None until it was sent to the board."""
        sent = b"".join(each.raw for each in self.sent[:_LONGEST_CONNACK])
        return sent[3] if len(sent) > 3 and sent[0] >> 4 == PacketType.CONNACK else None

    @property
    def online(self) -> bool:
        """True once a device has logged in, and the server has accepted it."""
        return self.code == _ACCEPTED and not self.is_provisioning

    @property
    def login(self) -> BoardLogin | None:
        """The login of a device, accepted or not; None if there has not been one."""
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
        """The topic filters that the board subscribed to."""
        packets = [each.packet for each in self.received]
        return [filter_ for each in packets if isinstance(each, Subscribe) for filter_, _ in each.filters]

    def refusal(self, code: int) -> bytes:
        """Return a CONNACK that refuses a login, in the board's version of MQTT.

        Args:
            code: The return code of MQTT 3.1.1: 3 (server unavailable) or 5 (not authorized).
        """
        return codec.connack(_IN_MQTT_5[code] if self.level == _MQTT_5 else code, level=self.level)

    def message(self, topic: str, payload: bytes) -> bytes:
        """Return a PUBLISH of QoS 0, in the board's version of MQTT."""
        return codec.publish(topic, payload, level=self.level)


# The most pieces that a CONNACK of MQTT 5 is sent in.
_LONGEST_CONNACK = 5
_IN_MQTT_5 = {3: 0x88, 5: 0x87}
