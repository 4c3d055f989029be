"""Packets, their types and codes, and the errors of malformed ones."""

from dataclasses import dataclass, field
from enum import IntEnum


class PacketType(IntEnum):
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
    AUTH = 15  # MQTT 5 only


class ReturnCode(IntEnum):
    """CONNACK return codes before MQTT 5 (3.2.2.3)."""

    BAD_PROTOCOL_LEVEL = 1
    BAD_CLIENT_ID = 2
    UNAVAILABLE = 3
    NOT_AUTHORISED = 5


class ReasonCode(IntEnum):
    """Reason codes (MQTT 5, 2.4): all of them, since those of a client are checked against them."""

    SUCCESS = 0x00
    DISCONNECT_WITH_WILL = 0x04
    NO_MATCHING_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION_EXISTED = 0x11
    CONTINUE_AUTHENTICATION = 0x18
    RE_AUTHENTICATE = 0x19
    UNSPECIFIED = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC = 0x83
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    BAD_CLIENT_ID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORISED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    PACKET_ID_IN_USE = 0x91
    PACKET_ID_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    USE_ANOTHER_SERVER = 0x9C
    SERVER_MOVED = 0x9D
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    CONNECTION_RATE_EXCEEDED = 0x9F
    MAXIMUM_CONNECT_TIME = 0xA0
    SUBSCRIPTION_IDS_NOT_SUPPORTED = 0xA1
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2


class MalformedPacket(ValueError):
    """Bytes that are not a packet. The message names the rule, never the bytes.

    `reason` is the code that a server sends in MQTT 5 before it closes (MQTT 5, 4.13).
    """

    def __init__(self, rule: str, reason: ReasonCode = ReasonCode.MALFORMED_PACKET) -> None:
        """Make the error.

        Args:
            rule: The rule that the bytes break, with its section.
            reason: The code for DISCONNECT or CONNACK in MQTT 5.
        """
        super().__init__(rule)
        self.reason = reason


class UnacceptableLevel(MalformedPacket):
    """A CONNECT of an MQTT level that is not supported: answered with CONNACK 1 (3.1.2.2)."""


@dataclass(frozen=True, kw_only=True)
class Connect:
    """CONNECT. A will is checked and dropped: upstream accepts it and never sends it. `level` is 3, 4 or 5."""

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
    """SUBSCRIBE: filters with the QoS requested for each."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class Unsubscribe:
    """UNSUBSCRIBE."""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Simple:
    """PINGREQ, DISCONNECT, AUTH, or an acknowledgement. `packet_id` is 0 except for the last."""

    kind: PacketType
    packet_id: int = 0


Packet = Connect | Publish | Subscribe | Unsubscribe | Simple
