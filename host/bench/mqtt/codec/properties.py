"""Properties of MQTT 5 packets (MQTT 5, 2.2.2) that a client may send, and the packets that have them.

Upstream acts on none of them, so their values are checked and dropped; only their identifiers are returned.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from enum import IntEnum
from typing import NamedTuple

from bench.mqtt.codec.body import Body
from bench.mqtt.codec.packets import MalformedPacket, PacketType, ReasonCode

# A will has properties of its own, inside CONNECT. 0 is the type of no packet.
WILL = 0


class Property(IntEnum):
    """Properties that a client may send. Those of a server are refused like unknown ones."""

    PAYLOAD_FORMAT_INDICATOR = 0x01
    MESSAGE_EXPIRY_INTERVAL = 0x02
    CONTENT_TYPE = 0x03
    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    SUBSCRIPTION_ID = 0x0B
    SESSION_EXPIRY_INTERVAL = 0x11
    AUTHENTICATION_METHOD = 0x15
    AUTHENTICATION_DATA = 0x16
    REQUEST_PROBLEM_INFORMATION = 0x17
    WILL_DELAY_INTERVAL = 0x18
    REQUEST_RESPONSE_INFORMATION = 0x19
    SERVER_REFERENCE = 0x1C
    REASON_STRING = 0x1F
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS_MAXIMUM = 0x22
    TOPIC_ALIAS = 0x23
    USER_PROPERTY = 0x26
    MAXIMUM_PACKET_SIZE = 0x27


def _flag(body: Body) -> None:
    if body.byte() > 1:
        raise MalformedPacket("a property is neither 0 nor 1 (MQTT 5, 2.2.2)", ReasonCode.PROTOCOL_ERROR)


def _pair(body: Body) -> None:
    body.text()
    body.text()


def _topic(body: Body) -> None:
    topic = body.text()
    if "+" in topic or "#" in topic:
        raise MalformedPacket("wildcards in the response topic (MQTT 5, 3.3.2.3.5)", ReasonCode.PROTOCOL_ERROR)


def _above_zero(read: Callable[[Body], int]) -> Callable[[Body], None]:
    def check(body: Body) -> None:
        if not read(body):
            raise MalformedPacket("a property is 0 that must not be (MQTT 5, 2.2.2)", ReasonCode.PROTOCOL_ERROR)

    return check


class _Rule(NamedTuple):
    """The function that reads over a value, and the types of the packets it belongs to."""

    skip: Callable[[Body], object]
    packets: AbstractSet[int]


_MESSAGE = {PacketType.PUBLISH, WILL}
_REASONED = {
    PacketType.PUBACK,
    PacketType.PUBREC,
    PacketType.PUBREL,
    PacketType.PUBCOMP,
    PacketType.DISCONNECT,
    PacketType.AUTH,
}

# MQTT 5, table 2-4, without its columns for packets that only a server sends.
_RULES: dict[int, _Rule] = {
    Property.PAYLOAD_FORMAT_INDICATOR: _Rule(_flag, _MESSAGE),
    Property.MESSAGE_EXPIRY_INTERVAL: _Rule(Body.long, _MESSAGE),
    Property.CONTENT_TYPE: _Rule(Body.text, _MESSAGE),
    Property.RESPONSE_TOPIC: _Rule(_topic, _MESSAGE),
    Property.CORRELATION_DATA: _Rule(Body.binary, _MESSAGE),
    Property.SUBSCRIPTION_ID: _Rule(_above_zero(Body.variable), {PacketType.PUBLISH, PacketType.SUBSCRIBE}),
    Property.SESSION_EXPIRY_INTERVAL: _Rule(Body.long, {PacketType.CONNECT, PacketType.DISCONNECT}),
    Property.AUTHENTICATION_METHOD: _Rule(Body.text, {PacketType.CONNECT, PacketType.AUTH}),
    Property.AUTHENTICATION_DATA: _Rule(Body.binary, {PacketType.CONNECT, PacketType.AUTH}),
    Property.REQUEST_PROBLEM_INFORMATION: _Rule(_flag, {PacketType.CONNECT}),
    Property.WILL_DELAY_INTERVAL: _Rule(Body.long, {WILL}),
    Property.REQUEST_RESPONSE_INFORMATION: _Rule(_flag, {PacketType.CONNECT}),
    Property.SERVER_REFERENCE: _Rule(Body.text, {PacketType.DISCONNECT}),
    Property.REASON_STRING: _Rule(Body.text, _REASONED),
    Property.RECEIVE_MAXIMUM: _Rule(_above_zero(Body.word), {PacketType.CONNECT}),
    Property.TOPIC_ALIAS_MAXIMUM: _Rule(Body.word, {PacketType.CONNECT}),
    Property.TOPIC_ALIAS: _Rule(Body.word, {PacketType.PUBLISH}),
    Property.USER_PROPERTY: _Rule(
        _pair, _MESSAGE | _REASONED | {PacketType.CONNECT, PacketType.SUBSCRIBE, PacketType.UNSUBSCRIBE}
    ),
    Property.MAXIMUM_PACKET_SIZE: _Rule(_above_zero(Body.long), {PacketType.CONNECT}),
}
_NONE: frozenset[int] = frozenset()


def read(body: Body, kind: int) -> AbstractSet[int]:
    """Read over the properties at the current place of a body.

    Args:
        body: The packet's body; it is left behind the properties.
        kind: The packet's type, or `WILL`.

    Returns:
        The identifiers of the properties that were there.

    Raises:
        MalformedPacket: A property is unknown, misplaced, repeated, or out of its range.
    """
    length = body.variable()
    if not length:
        return _NONE
    fields, seen = Body(body.read(length)), set[int]()
    while fields.left:
        identifier = fields.variable()
        rule = _RULES.get(identifier)
        if rule is None or kind not in rule.packets:
            raise MalformedPacket("a property that this packet does not have (MQTT 5, 2.2.2.2)")
        if identifier in seen and identifier != Property.USER_PROPERTY:
            raise MalformedPacket("a property twice (MQTT 5, 2.2.2.2)", ReasonCode.PROTOCOL_ERROR)
        seen.add(identifier)
        rule.skip(fields)
    return seen
