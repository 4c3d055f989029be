"""Decoder of a client's bytes into packets."""

from collections.abc import Iterator

from bench.mqtt.codec import properties, remaining_length
from bench.mqtt.codec.body import Body
from bench.mqtt.codec.packets import (
    Connect,
    MalformedPacket,
    Packet,
    PacketType,
    Publish,
    ReasonCode,
    Simple,
    Subscribe,
    UnacceptableLevel,
    Unsubscribe,
)
from bench.mqtt.codec.properties import Property

# The remaining length of a packet, as ThingsBoard's transport limits it.
PACKET_LIMIT = 65536

_LEVELS = {"MQIsdp": (3,), "MQTT": (4, 5)}
_OLD_CLIENT_ID_LIMIT = 23

# The reason codes that a client may send (MQTT 5, 3.4.2.1, 3.5.2.1, 3.6.2.1, 3.7.2.1, 3.14.2.1, 3.15.2.1).
_RECEIVED = {
    ReasonCode.SUCCESS,
    ReasonCode.NO_MATCHING_SUBSCRIBERS,
    ReasonCode.UNSPECIFIED,
    ReasonCode.IMPLEMENTATION_SPECIFIC,
    ReasonCode.NOT_AUTHORISED,
    ReasonCode.TOPIC_NAME_INVALID,
    ReasonCode.PACKET_ID_IN_USE,
    ReasonCode.QUOTA_EXCEEDED,
    ReasonCode.PAYLOAD_FORMAT_INVALID,
}
_RELEASED = {ReasonCode.SUCCESS, ReasonCode.PACKET_ID_NOT_FOUND}
_REASONS = {
    PacketType.PUBACK: _RECEIVED,
    PacketType.PUBREC: _RECEIVED,
    PacketType.PUBREL: _RELEASED,
    PacketType.PUBCOMP: _RELEASED,
    PacketType.DISCONNECT: {
        ReasonCode.SUCCESS,
        ReasonCode.DISCONNECT_WITH_WILL,
        ReasonCode.UNSPECIFIED,
        ReasonCode.MALFORMED_PACKET,
        ReasonCode.PROTOCOL_ERROR,
        ReasonCode.IMPLEMENTATION_SPECIFIC,
        ReasonCode.TOPIC_NAME_INVALID,
        ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
        ReasonCode.TOPIC_ALIAS_INVALID,
        ReasonCode.PACKET_TOO_LARGE,
        ReasonCode.MESSAGE_RATE_TOO_HIGH,
        ReasonCode.QUOTA_EXCEEDED,
        ReasonCode.ADMINISTRATIVE_ACTION,
        ReasonCode.PAYLOAD_FORMAT_INVALID,
    },
    PacketType.AUTH: {ReasonCode.CONTINUE_AUTHENTICATION, ReasonCode.RE_AUTHENTICATE},
}


class PacketDecoder:
    """Incremental decoder of the bytes of one connection.

    It buffers at most one packet: the length is checked as soon as it is known. It reads MQTT 3.1.1
    until a CONNECT of another level, as upstream does.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._level = 4

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Yield the packets completed by `data`, one by one.

        Args:
            data: The next bytes of the connection, in pieces of any size.

        Yields:
            The packets, in their order.

        Raises:
            MalformedPacket: A packet is malformed, or larger than `PACKET_LIMIT`; the packets before it are yielded
                first. The decoder cannot be used afterwards.
            UnacceptableLevel: A CONNECT is of an MQTT level that is not supported here.
        """
        buffered: bytes | bytearray = data  # as it is: most reads bring whole packets
        if self._buffer:
            self._buffer += data
            buffered = self._buffer
        at, size = 0, len(buffered)
        while at < size and (found := remaining_length.decode(buffered, at + 1)) is not None:
            length, start = found
            if length > PACKET_LIMIT:
                raise MalformedPacket(f"a packet of more than {PACKET_LIMIT} bytes")
            if size < start + length:
                break
            first, body, at = buffered[at], bytes(buffered[start : start + length]), start + length
            packet = _decode(first >> 4, first & 0x0F, Body(body), self._level)
            if isinstance(packet, Connect):
                self._level = packet.level
            yield packet
        if buffered is data:
            self._buffer += data[at:]
        else:
            del self._buffer[:at]


def _decode(kind: int, flags: int, body: Body, level: int) -> Packet:
    if kind == PacketType.PUBLISH:
        return _publish(flags, body, level)
    # 2.2.2: these three carry the flags 0010, all others 0000
    wanted = 0x02 if kind in (PacketType.PUBREL, PacketType.SUBSCRIBE, PacketType.UNSUBSCRIBE) else 0x00
    if flags != wanted:
        raise MalformedPacket("reserved flags are set (2.2.2)")
    match kind:
        case PacketType.CONNECT:
            return _connect(body)
        case PacketType.SUBSCRIBE:
            return _subscribe(body, level)
        case PacketType.UNSUBSCRIBE:
            return _unsubscribe(body, level)
        case PacketType.PUBACK | PacketType.PUBREC | PacketType.PUBREL | PacketType.PUBCOMP:
            packet = Simple(kind=PacketType(kind), packet_id=body.packet_id())
        case PacketType.PINGREQ | PacketType.DISCONNECT:
            packet = Simple(kind=PacketType(kind))
        case PacketType.AUTH if level == 5:
            packet = Simple(kind=PacketType.AUTH)
        case _:
            raise MalformedPacket("a packet that only a server sends, or none at all")
    if level == 5 and packet.kind in _REASONS:
        _reason(packet.kind, body)
    body.end()
    return packet


def _connect(body: Body) -> Connect:
    name = body.text()
    if name not in _LEVELS:
        raise MalformedPacket("the protocol is not MQTT (3.1.2.1)")
    level = body.byte()
    if level not in _LEVELS[name]:
        rule = f"MQTT level {level} is not spoken here (3.1.2.2)"
        raise UnacceptableLevel(rule, ReasonCode.UNSUPPORTED_PROTOCOL_VERSION)
    flags = body.byte()
    if flags & 0x01:
        raise MalformedPacket("the reserved connect flag is set (3.1.2.3)")
    will, will_qos = flags & 0x04, flags >> 3 & 0x03
    if will_qos == 3 or (not will and flags & 0x38):
        raise MalformedPacket("will flags that do not fit together (3.1.2.6)")
    keep_alive_s = body.word()
    if level == 5:
        found = properties.read(body, PacketType.CONNECT)
        if Property.AUTHENTICATION_DATA in found and Property.AUTHENTICATION_METHOD not in found:
            rule = "authentication data without a method (MQTT 5, 3.1.2.11.10)"
            raise MalformedPacket(rule, ReasonCode.PROTOCOL_ERROR)
    client_id = body.text()
    if level == 3 and not 1 <= len(client_id) <= _OLD_CLIENT_ID_LIMIT:
        raise MalformedPacket("a client id of MQTT 3.1 has 1 to 23 characters")
    if will:
        if level == 5:
            properties.read(body, properties.WILL)
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


def _publish(flags: int, body: Body, level: int) -> Publish:
    qos = flags >> 1 & 0x03
    if qos == 3 or (qos == 0 and flags & 0x08):
        raise MalformedPacket("QoS 3, or a duplicate of a QoS 0 message (3.3.1)")
    topic = body.text()
    if "+" in topic or "#" in topic:
        raise MalformedPacket("wildcards in a topic (3.3.2.1)")
    packet_id = body.packet_id() if qos else 0
    if level == 5 and (found := properties.read(body, PacketType.PUBLISH)):
        if Property.TOPIC_ALIAS in found and not topic:  # with a topic it is ignored, as upstream does
            raise MalformedPacket("a topic alias (MQTT 5, 3.3.2.3.4)", ReasonCode.TOPIC_ALIAS_INVALID)
        if Property.SUBSCRIPTION_ID in found:
            rule = "a subscription id in a client's PUBLISH (MQTT 5, 3.3.4)"
            raise MalformedPacket(rule, ReasonCode.PROTOCOL_ERROR)
    if not topic:
        raise MalformedPacket("an empty topic (3.3.2.1)", ReasonCode.PROTOCOL_ERROR)
    return Publish(topic=topic, payload=body.read(body.left), qos=qos, packet_id=packet_id)


def _subscribe(body: Body, level: int) -> Subscribe:
    packet_id = body.packet_id()
    if level == 5:
        properties.read(body, PacketType.SUBSCRIBE)
    filters = []
    while body.left:
        topic, options = body.text(), body.byte()
        if not topic:
            raise MalformedPacket("an empty filter (3.8.3)")
        if level == 5:
            _check_options(topic, options)
            options &= 0x03
        elif options > 2:
            raise MalformedPacket("QoS above 2 (3.8.3)")
        filters.append((topic, options))
    if not filters:
        raise MalformedPacket("a SUBSCRIBE without filters (3.8.3)", ReasonCode.PROTOCOL_ERROR)
    return Subscribe(packet_id=packet_id, filters=tuple(filters))


def _check_options(topic: str, options: int) -> None:
    """Check subscription options (MQTT 5, 3.8.3.1): QoS, no local, retain as published and handling, two reserved."""
    if options & 0xC0:
        raise MalformedPacket("reserved subscription options are set (MQTT 5, 3.8.3.1)")
    if options & 0x03 == 0x03 or options & 0x30 == 0x30:
        raise MalformedPacket("QoS 3, or retain handling 3 (MQTT 5, 3.8.3.1)", ReasonCode.PROTOCOL_ERROR)
    if options & 0x04 and topic.startswith("$share/"):
        raise MalformedPacket("no local on a shared subscription (MQTT 5, 3.8.3.1)", ReasonCode.PROTOCOL_ERROR)


def _unsubscribe(body: Body, level: int) -> Unsubscribe:
    packet_id = body.packet_id()
    if level == 5:
        properties.read(body, PacketType.UNSUBSCRIBE)
    filters = []
    while body.left:
        filters.append(body.text())
    if not filters:
        raise MalformedPacket("an UNSUBSCRIBE without filters (3.10.3)", ReasonCode.PROTOCOL_ERROR)
    if not all(filters):
        raise MalformedPacket("an empty filter (3.10.3)")
    return Unsubscribe(packet_id=packet_id, filters=tuple(filters))


def _reason(kind: PacketType, body: Body) -> None:
    """Read over a reason code and properties, both of which may be left out (MQTT 5, 2.4, 2.2.2.1)."""
    reason = body.byte() if body.left else ReasonCode.SUCCESS
    found = properties.read(body, kind) if body.left else frozenset()
    if reason not in _REASONS[kind]:
        raise MalformedPacket("a reason that this packet does not have (MQTT 5, 2.4)", ReasonCode.PROTOCOL_ERROR)
    if kind == PacketType.AUTH and Property.AUTHENTICATION_METHOD not in found:
        raise MalformedPacket("an AUTH without a method (MQTT 5, 3.15.2.2.2)", ReasonCode.PROTOCOL_ERROR)
