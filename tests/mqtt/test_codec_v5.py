"""MQTT 5 as the codec reads it: its properties, options and reasons, each against the standard's own tables."""

import pytest

from bench.mqtt import codec
from tests.support import mqtt_packets
from tests.support.mqtt_packets import (
    acknowledgement5,
    auth5,
    connect5,
    disconnect5,
    publish5,
    subscribe5,
    text,
    unsubscribe5,
    variable,
    word,
)

MALFORMED = 0x81
PROTOCOL_ERROR = 0x82
BAD_ALIAS = 0x94

METHOD = b"\x15" + text("method")


def long(number: int) -> bytes:
    return number.to_bytes(4, "big")


# What properties can be in, each as a packet that has them.

HAVING = {
    "CONNECT": lambda has: connect5(has=has),
    "will": lambda has: connect5(will=(has, "t", b"")),
    "PUBLISH": lambda has: publish5("t", b"x", has=has),
    "PUBACK": lambda has: acknowledgement5(0x40, 1, 0x00, has),
    "PUBREC": lambda has: acknowledgement5(0x50, 1, 0x00, has),
    "PUBREL": lambda has: acknowledgement5(0x62, 1, 0x00, has),
    "PUBCOMP": lambda has: acknowledgement5(0x70, 1, 0x00, has),
    "SUBSCRIBE": lambda has: subscribe5(1, ("t", 0), has=has),
    "UNSUBSCRIBE": lambda has: unsubscribe5(1, "t", has=has),
    "DISCONNECT": lambda has: disconnect5(0x00, has),
    "AUTH": lambda has: auth5(0x18, has if METHOD[:1] == has[:1] else METHOD + has),
}
ACKNOWLEDGEMENTS = {"PUBACK", "PUBREC", "PUBREL", "PUBCOMP"}
ANYWHERE = set(HAVING)
NOWHERE: set[str] = set()

# Table 2-4: identifier, a value of the property's type, and where a client may send it.
PROPERTIES = [
    (0x01, b"\1", {"PUBLISH", "will"}),
    (0x02, long(7), {"PUBLISH", "will"}),
    (0x03, text("text/plain"), {"PUBLISH", "will"}),
    (0x08, text("answers/here"), {"PUBLISH", "will"}),
    (0x09, text(b"\xff\0"), {"PUBLISH", "will"}),
    (0x0B, b"\7", {"SUBSCRIBE"}),  # and PUBLISH, of a server
    (0x11, long(7), {"CONNECT", "DISCONNECT"}),
    (0x12, text("id"), NOWHERE),
    (0x13, word(7), NOWHERE),
    (0x15, text("method"), {"CONNECT", "AUTH"}),
    (0x16, text(b"\xff\0"), {"CONNECT", "AUTH"}),
    (0x17, b"\1", {"CONNECT"}),
    (0x18, long(7), {"will"}),
    (0x19, b"\1", {"CONNECT"}),
    (0x1A, text("x"), NOWHERE),
    (0x1C, text("elsewhere"), {"DISCONNECT"}),
    (0x1F, text("because"), {*ACKNOWLEDGEMENTS, "DISCONNECT", "AUTH"}),
    (0x21, word(7), {"CONNECT"}),
    (0x22, word(7), {"CONNECT"}),
    (0x23, word(7), {"PUBLISH"}),
    (0x24, b"\1", NOWHERE),
    (0x25, b"\1", NOWHERE),
    (0x26, text("key") + text("value"), ANYWHERE),
    (0x27, long(7), {"CONNECT"}),
    (0x28, b"\1", NOWHERE),
    (0x29, b"\1", NOWHERE),
    (0x2A, b"\1", NOWHERE),
]
ALLOWED = [
    pytest.param(carrier, bytes([identifier]) + value, id=f"{carrier}-{identifier:#04x}")
    for identifier, value, where in PROPERTIES
    for carrier in sorted(where)
    if identifier != 0x23
]


def prepared(carrier, has):
    """The property, with one it cannot be without in front of it."""
    return METHOD + has if carrier == "CONNECT" and has[:1] == b"\x16" else has


def read(data):
    """Decode `data` in an MQTT 5 connection."""
    decoder = codec.PacketDecoder()
    list(decoder.feed(connect5()))
    return list(decoder.feed(data))


def reason_for(data):
    """The reason for which it is refused."""
    with pytest.raises(codec.MalformedPacket) as caught:
        read(data)
    assert not isinstance(caught.value, codec.UnacceptableLevel)
    return caught.value.reason


# Properties.


@pytest.mark.parametrize("carrier", HAVING)
def test_property_where_it_does_not_belong_is_malformed(carrier):
    values = {identifier: value for identifier, value, where in PROPERTIES if carrier not in where}
    belong = {identifier for identifier, _, where in PROPERTIES if carrier in where}
    for identifier in set(range(128)) - belong:
        data = HAVING[carrier](bytes([identifier]) + values.get(identifier, b"\0"))
        expected = PROTOCOL_ERROR if (carrier, identifier) == ("PUBLISH", 0x0B) else MALFORMED
        assert reason_for(data) == expected, hex(identifier)
    assert reason_for(HAVING[carrier](b"\x81\x01\0")) == MALFORMED  # an identifier of two bytes
    assert reason_for(HAVING[carrier](b"\xa6\x00" + text("") * 2)) == MALFORMED  # 0x26, longer than it has to be


@pytest.mark.parametrize(("carrier", "has"), ALLOWED)
def test_property_where_it_belongs_changes_nothing(carrier, has):
    without = METHOD if carrier == "AUTH" else b""
    assert read(HAVING[carrier](prepared(carrier, has))) == read(HAVING[carrier](without))


@pytest.mark.parametrize(("carrier", "has"), ALLOWED)
def test_property_given_twice_is_a_protocol_error_but_for_user_properties(carrier, has):
    data = HAVING[carrier](prepared(carrier, has) + has)
    if has[0] == 0x26:
        assert len(read(data)) == 1
    else:
        assert reason_for(data) == PROTOCOL_ERROR


@pytest.mark.parametrize(("carrier", "has"), ALLOWED)
def test_property_cut_short_is_malformed(carrier, has):
    for size in range(1, len(has)):
        assert reason_for(HAVING[carrier](prepared(carrier, has)[: size - len(has)])) == MALFORMED


VALUES = {
    "payload format 0": ("PUBLISH", b"\x01\0", None),
    "payload format 1": ("PUBLISH", b"\x01\1", None),
    "payload format 2": ("PUBLISH", b"\x01\2", PROTOCOL_ERROR),
    "payload format 255": ("will", b"\x01\xff", PROTOCOL_ERROR),
    "message expiry 0": ("PUBLISH", b"\x02" + long(0), None),
    "message expiry of all bits": ("will", b"\x02\xff\xff\xff\xff", None),
    "empty content type": ("PUBLISH", b"\x03" + text(""), None),
    "content type not in UTF-8": ("PUBLISH", b"\x03" + text(b"\xff"), MALFORMED),
    "content type with U+0000": ("PUBLISH", b"\x03" + text("\0"), MALFORMED),
    "response topic with #": ("PUBLISH", b"\x08" + text("a/#"), PROTOCOL_ERROR),
    "response topic with +": ("will", b"\x08" + text("+"), PROTOCOL_ERROR),
    "response topic not in UTF-8": ("will", b"\x08" + text(b"\xc3("), MALFORMED),
    "empty correlation data": ("PUBLISH", b"\x09" + text(""), None),
    "correlation data of 65,000 bytes": ("PUBLISH", b"\x09" + text(bytes(65_000)), None),
    "subscription id 0": ("SUBSCRIBE", b"\x0b\0", PROTOCOL_ERROR),
    "subscription id 1": ("SUBSCRIBE", b"\x0b\1", None),
    "subscription id of four bytes": ("SUBSCRIBE", b"\x0b\xff\xff\xff\x7f", None),
    "subscription id of five bytes": ("SUBSCRIBE", b"\x0b\xff\xff\xff\xff\x01", MALFORMED),
    "subscription id longer than it has to be": ("SUBSCRIBE", b"\x0b\x81\0", MALFORMED),
    "session expiry 0": ("CONNECT", b"\x11" + long(0), None),
    "session expiry never": ("CONNECT", b"\x11\xff\xff\xff\xff", None),
    "authentication method not in UTF-8": ("CONNECT", b"\x15" + text(b"\xff"), MALFORMED),
    "authentication data without a method": ("CONNECT", b"\x16" + text("x"), PROTOCOL_ERROR),
    "authentication data before its method": ("CONNECT", b"\x16" + text("x") + METHOD, None),
    "request problem information 0": ("CONNECT", b"\x17\0", None),
    "request problem information 2": ("CONNECT", b"\x17\2", PROTOCOL_ERROR),
    "will delay 0": ("will", b"\x18" + long(0), None),
    "request response information 0": ("CONNECT", b"\x19\0", None),
    "request response information 2": ("CONNECT", b"\x19\2", PROTOCOL_ERROR),
    "reason string with U+0000": ("PUBACK", b"\x1f" + text("a\0"), MALFORMED),
    "receive maximum 0": ("CONNECT", b"\x21" + word(0), PROTOCOL_ERROR),
    "receive maximum 1": ("CONNECT", b"\x21" + word(1), None),
    "receive maximum 65535": ("CONNECT", b"\x21" + word(65_535), None),
    "topic alias maximum 0": ("CONNECT", b"\x22" + word(0), None),
    "topic alias maximum 65535": ("CONNECT", b"\x22" + word(65_535), None),
    "topic alias 0": ("PUBLISH", b"\x23" + word(0), None),
    "topic alias 1": ("PUBLISH", b"\x23" + word(1), None),
    "topic alias 65535": ("PUBLISH", b"\x23" + word(65_535), None),
    "topic alias twice": ("PUBLISH", (b"\x23" + word(1)) * 2, PROTOCOL_ERROR),
    "user property without a name": ("CONNECT", b"\x26" + text("") + text("x"), None),
    "user property whose name is not UTF-8": ("CONNECT", b"\x26" + text(b"\xff") + text(""), MALFORMED),
    "user property whose value is not UTF-8": ("CONNECT", b"\x26" + text("") + text(b"\xed\xa0\x80"), MALFORMED),
    "maximum packet size 0": ("CONNECT", b"\x27" + long(0), PROTOCOL_ERROR),
    "maximum packet size 1": ("CONNECT", b"\x27" + long(1), None),
    "maximum packet size of all bits": ("CONNECT", b"\x27\xff\xff\xff\xff", None),
}


@pytest.mark.parametrize(("carrier", "has", "reason"), VALUES.values(), ids=VALUES)
def test_value_of_a_property_is_held_to_its_range(carrier, has, reason):
    data = HAVING[carrier](has)
    if reason is None:
        assert len(read(data)) == 1
    else:
        assert reason_for(data) == reason


LENGTHS = {
    "none": b"",
    "longer than the packet": b"\x01",
    "of five bytes": b"\x80\x80\x80\x80\x00",
    "longer than it has to be": b"\x80\x00",
    "cut short": b"\x80",
}


@pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize(
    ("first", "head"),
    [
        (0x10, text("MQTT") + b"\x05\x02\0\0"),
        (0x30, text("t")),
        (0x32, text("t") + word(1)),
        (0x82, word(1)),
        (0xA2, word(1)),
    ],
)
def test_bad_length_of_the_properties_is_malformed(first, head, length):
    assert reason_for(mqtt_packets.packet(first, head + length)) == MALFORMED


def test_property_that_reaches_beyond_the_properties_is_malformed():
    head = text("t") + b"\x04" + b"\x03" + text("abc")
    assert reason_for(mqtt_packets.packet(0x30, head)) == MALFORMED


# Reason codes.

RECEIVED = {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}
RELEASED = {0x00, 0x92}
ENDED = {0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99}
REASONS = {
    "PUBACK": (lambda *fields: acknowledgement5(0x40, 1, *fields), RECEIVED),
    "PUBREC": (lambda *fields: acknowledgement5(0x50, 1, *fields), RECEIVED),
    "PUBREL": (lambda *fields: acknowledgement5(0x62, 1, *fields), RELEASED),
    "PUBCOMP": (lambda *fields: acknowledgement5(0x70, 1, *fields), RELEASED),
    "DISCONNECT": (disconnect5, ENDED),
}


@pytest.mark.parametrize(("write", "allowed"), REASONS.values(), ids=REASONS)
def test_reason_is_one_a_client_may_give_with_or_without_properties(write, allowed):
    plain = read(write())
    for reason in range(256):
        for data in (write(reason), write(reason, b""), write(reason, b"\x1f" + text("because"))):
            if reason in allowed:
                assert read(data) == plain
            else:
                assert reason_for(data) == PROTOCOL_ERROR, hex(reason)


@pytest.mark.parametrize("write", [write for write, _ in REASONS.values()], ids=REASONS)
def test_bytes_behind_the_properties_are_malformed(write):
    data = write(0x00, b"")
    assert reason_for(bytes([data[0], data[1] + 1]) + data[2:] + b"\0") == MALFORMED


def test_auth_has_a_reason_and_a_method():
    for reason in range(256):
        data = auth5(reason, METHOD)
        if reason in {0x18, 0x19}:
            assert read(data) == [codec.Simple(kind=codec.PacketType.AUTH)]
        else:
            assert reason_for(data) == PROTOCOL_ERROR, hex(reason)
    for data in (auth5(), auth5(0x18), auth5(0x18, b""), auth5(0x19, b"\x16" + text("x"))):
        assert reason_for(data) == PROTOCOL_ERROR
    assert reason_for(b"\xf1" + auth5(0x18, METHOD)[1:]) == MALFORMED


# Packets.


@pytest.mark.parametrize("topic", ["t", "$share/group/t"])
def test_subscription_options_are_all_read(topic):
    for options in range(256):
        data = subscribe5(7, ("first", 1), (topic, options))
        if options & 0xC0:
            assert reason_for(data) == MALFORMED, hex(options)
        elif options & 0x03 == 3 or options >> 4 == 3 or (options & 0x04 and topic != "t"):
            assert reason_for(data) == PROTOCOL_ERROR, hex(options)
        else:
            expected = codec.Subscribe(packet_id=7, filters=(("first", 1), (topic, options & 0x03)))
            assert read(data) == [expected]


PACKETS = {
    "PUBLISH without a topic": (publish5(""), PROTOCOL_ERROR),
    "PUBLISH without a topic, with an alias": (publish5("", has=b"\x23" + word(1)), BAD_ALIAS),
    "PUBLISH to #": (publish5("#"), MALFORMED),
    "PUBLISH with QoS 3": (publish5("t", qos=3), MALFORMED),
    "repeated PUBLISH with QoS 0": (publish5("t", flags=8), MALFORMED),
    "PUBLISH with packet id 0": (publish5("t", qos=1, packet_id=0), MALFORMED),
    "SUBSCRIBE without filters": (subscribe5(1), PROTOCOL_ERROR),
    "SUBSCRIBE with packet id 0": (subscribe5(0, ("t", 0)), MALFORMED),
    "SUBSCRIBE to nothing": (subscribe5(1, ("", 0)), MALFORMED),
    "SUBSCRIBE without options": (mqtt_packets.packet(0x82, word(1) + b"\0" + text("t")), MALFORMED),
    "SUBSCRIBE without its flag": (b"\x80" + subscribe5(1, ("t", 0))[1:], MALFORMED),
    "UNSUBSCRIBE without filters": (unsubscribe5(1), PROTOCOL_ERROR),
    "UNSUBSCRIBE from nothing": (unsubscribe5(1, ""), MALFORMED),
    "PUBACK with packet id 0": (acknowledgement5(0x40, 0, 0x00), MALFORMED),
    "PUBREL without its flag": (acknowledgement5(0x60, 1), MALFORMED),
    "PINGREQ with a body": (b"\xc0\x01\0", MALFORMED),
    "CONNACK": (mqtt_packets.connack5(0), MALFORMED),
    "type 0": (b"\0\0", MALFORMED),
    "65,537 bytes": (b"\x30\x81\x80\x04", MALFORMED),
    "CONNECT with the reserved flag": (connect5(extra_flags=0x01), MALFORMED),
    "CONNECT with will QoS 3": (connect5(will=(b"", "t", b""), extra_flags=0x18), MALFORMED),
    "CONNECT with the QoS of no will": (connect5(extra_flags=0x08), MALFORMED),
    "CONNECT with a will as MQTT 3.1.1 writes it": (
        mqtt_packets.packet(0x10, text("MQTT") + b"\x05\x06\0\0\0" + text("c") + text("t") + text("")),
        MALFORMED,
    ),
    "CONNECT as MQTT 3.1.1 writes it": (mqtt_packets.connect(level=5), MALFORMED),
    "CONNECT with more": (mqtt_packets.packet(0x10, connect5()[2:] + b"\0"), MALFORMED),
}


@pytest.mark.parametrize(("data", "reason"), PACKETS.values(), ids=PACKETS)
def test_bad_packet_is_refused_with_its_reason(data, reason):
    assert reason_for(data) == reason


@pytest.mark.parametrize("level", [level for level in range(256) if level not in {4, 5}])
def test_other_levels_are_unacceptable(level):
    with pytest.raises(codec.UnacceptableLevel) as caught:
        list(codec.PacketDecoder().feed(mqtt_packets.connect(level=level)))
    assert caught.value.reason == 0x84


def test_mqtt_3_1_of_level_5_is_unacceptable():
    with pytest.raises(codec.UnacceptableLevel):
        list(codec.PacketDecoder().feed(mqtt_packets.connect(protocol="MQIsdp", level=5)))


@pytest.mark.parametrize("client_id", ["", "c" * 24])
@pytest.mark.parametrize("username", [None, "user"])
@pytest.mark.parametrize("password", [None, b"\xff"])
def test_connect_may_leave_out_what_it_likes(client_id, username, password):
    [connect] = codec.PacketDecoder().feed(connect5(client_id, username, password, keep_alive=7, clean=False))
    assert connect == codec.Connect(
        level=5, clean=False, keep_alive_s=7, client_id=client_id, username=username, password=password
    )


# The level of a stream.

AUTH = auth5(0x18, METHOD)


def test_stream_is_read_as_mqtt_3_until_a_connect_has_5():
    first, connect, second = codec.PacketDecoder().feed(
        mqtt_packets.publish("t", b"\0x") + connect5() + publish5("t", b"\0x")
    )
    assert first == second == codec.Publish(topic="t", payload=b"\0x", qos=0, packet_id=0)
    assert connect.level == 5


def test_stream_is_read_by_its_last_connect():
    stream = connect5() + mqtt_packets.connect() + mqtt_packets.publish("t", b"\0x") + mqtt_packets.PINGREQ
    assert list(codec.PacketDecoder().feed(stream))[2].payload == b"\0x"


@pytest.mark.parametrize("data", [AUTH, disconnect5(0x00), acknowledgement5(0x40, 1, 0x00)])
@pytest.mark.parametrize("before", [b"", mqtt_packets.connect(), mqtt_packets.connect(protocol="MQIsdp", level=3)])
def test_what_only_mqtt_5_has_is_malformed_before_it(before, data):
    decoder = codec.PacketDecoder()
    list(decoder.feed(before))
    with pytest.raises(codec.MalformedPacket):
        list(decoder.feed(data))
    assert len(read(data)) == 1


@pytest.mark.parametrize("before", [b"", mqtt_packets.connect()])
def test_auth_without_a_body_is_malformed_before_mqtt_5(before):
    with pytest.raises(codec.MalformedPacket):
        list(codec.PacketDecoder().feed(before + auth5()))


def test_text_of_an_error_holds_none_of_the_bytes():
    secret = "very-secret"
    for data in (
        publish5("t", has=b"\x03" + text(secret) * 2),
        connect5(has=b"\x15" + text(secret) + b"\x7f"),
        connect5(username=secret, has=secret.encode()),
    ):
        with pytest.raises(codec.MalformedPacket) as caught:
            read(data)
        assert secret not in str(caught.value)


def test_properties_of_more_than_127_bytes_are_read_to_their_end():
    many = (b"\x26" + text("k") + text("v" * 60)) * 3
    assert len(many) > 127
    assert variable(len(many))[0] & 0x80
    [publish] = read(publish5("t", b"payload", has=many))
    assert publish.payload == b"payload"
