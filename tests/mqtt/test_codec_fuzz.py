"""Made-up bytes and JSON: the readers take it or refuse it, and know no third way."""

import contextlib
import errno
import json
import socket

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bench.contract.credentials import CredentialsType
from bench.mqtt import codec
from bench.registry.provision_type import ProvisionType
from bench.server import device_json, json_reader
from tests.support import mqtt_packets
from tests.support.budget import examples
from tests.support.mqtt_packets import PROVISION_REQUEST, PROVISION_RESPONSE, TELEMETRY, expect_unharmed
from tests.support.raw_client import RawClient

pytestmark = pytest.mark.slow

fuzz = settings(deadline=None, max_examples=examples(300), suppress_health_check=[HealthCheck.too_slow])

# Packets of a client, each with what it says.

words = st.integers(0, 0xFFFF)
packet_ids = st.integers(1, 0xFFFF)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
topics = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=30)
filters = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)
binaries = st.binary(max_size=300)


@st.composite
def connects(draw):
    fields = {
        "clean": draw(st.booleans()),
        "client_id": draw(texts),
        "username": draw(st.none() | texts),
        "password": draw(st.none() | binaries),
    }
    keep_alive, will = draw(words), draw(st.none() | st.tuples(texts, binaries))
    level = 4 if not fields["client_id"] else draw(st.sampled_from([3, 4])) if len(fields["client_id"]) <= 23 else 4
    flags = draw(st.sampled_from([0x00, 0x08, 0x10, 0x20, 0x28, 0x30])) if will else 0
    data = mqtt_packets.connect(
        **fields,
        keep_alive=keep_alive,
        will=will,
        level=level,
        protocol="MQTT" if level == 4 else "MQIsdp",
        extra_flags=flags,
    )
    return data, codec.Connect(level=level, keep_alive_s=keep_alive, **fields)


@st.composite
def publishes(draw):
    qos, topic, payload = draw(st.integers(0, 2)), draw(topics), draw(binaries | st.just(bytes(20_000)))
    packet_id = draw(packet_ids) if qos else 0
    flags = draw(st.sampled_from([0, 1, 8, 9] if qos else [0, 1]))
    data = mqtt_packets.publish(topic, payload, qos=qos, packet_id=packet_id, flags=flags)
    return data, codec.Publish(topic=topic, payload=payload, qos=qos, packet_id=packet_id)


@st.composite
def subscribes(draw):
    packet_id = draw(packet_ids)
    wanted = draw(st.lists(st.tuples(filters, st.integers(0, 2)), min_size=1, max_size=20))
    return mqtt_packets.subscribe(packet_id, *wanted), codec.Subscribe(packet_id=packet_id, filters=tuple(wanted))


@st.composite
def unsubscribes(draw):
    packet_id, wanted = draw(packet_ids), draw(st.lists(filters, min_size=1, max_size=20))
    return mqtt_packets.unsubscribe(packet_id, *wanted), codec.Unsubscribe(packet_id=packet_id, filters=tuple(wanted))


@st.composite
def acknowledgements(draw):
    first, packet_id = draw(st.sampled_from([0x40, 0x50, 0x62, 0x70])), draw(packet_ids)
    data = bytes([first, 2]) + mqtt_packets.word(packet_id)
    return data, codec.Simple(kind=codec.PacketType(first >> 4), packet_id=packet_id)


bare = st.sampled_from(
    [
        (mqtt_packets.PINGREQ, codec.Simple(kind=codec.PacketType.PINGREQ)),
        (mqtt_packets.DISCONNECT, codec.Simple(kind=codec.PacketType.DISCONNECT)),
    ]
)
valid3 = st.lists(
    st.one_of(connects(), publishes(), subscribes(), unsubscribes(), acknowledgements(), bare), max_size=8
)

# The same in MQTT 5, with properties.

longs = st.integers(0, 0xFFFFFFFF).map(lambda number: number.to_bytes(4, "big"))
flags = st.sampled_from([b"\0", b"\1"])
strings = texts.map(mqtt_packets.text)
user_properties = st.lists(st.tuples(strings, strings).map(lambda pair: b"\x26" + b"".join(pair)), max_size=3)
of_messages = {
    b"\x01": flags,
    b"\x02": longs,
    b"\x03": strings,
    b"\x08": topics.map(mqtt_packets.text),
    b"\x09": binaries.map(mqtt_packets.text),
}
of_wills = of_messages | {b"\x18": longs}
of_connects = {
    b"\x11": longs,
    b"\x15": strings,
    b"\x17": flags,
    b"\x19": flags,
    b"\x21": packet_ids.map(mqtt_packets.word),
    b"\x22": words.map(mqtt_packets.word),
    b"\x27": longs.filter(any),
}
of_subscribes = {b"\x0b": st.integers(1, 268_435_455).map(mqtt_packets.variable)}
of_acknowledgements = {b"\x1f": strings}
of_disconnects = {b"\x11": longs, b"\x1c": strings, b"\x1f": strings}


@st.composite
def having(draw, known):
    """Properties of a packet, in any order."""
    chosen = draw(st.fixed_dictionaries({}, optional=known))
    each = [identifier + value for identifier, value in chosen.items()] + draw(user_properties)
    return b"".join(draw(st.permutations(each)))


@st.composite
def connects5(draw):
    fields = {
        "clean": draw(st.booleans()),
        "client_id": draw(texts),
        "username": draw(st.none() | texts),
        "password": draw(st.none() | binaries),
    }
    keep_alive, will = draw(words), draw(st.none() | st.tuples(having(of_wills), texts, binaries))
    extra_flags = draw(st.sampled_from([0x00, 0x08, 0x10, 0x20, 0x28, 0x30])) if will else 0
    data = mqtt_packets.connect5(
        **fields, keep_alive=keep_alive, will=will, has=draw(having(of_connects)), extra_flags=extra_flags
    )
    return data, codec.Connect(level=5, keep_alive_s=keep_alive, **fields)


@st.composite
def publishes5(draw):
    qos, topic, payload = draw(st.integers(0, 2)), draw(topics), draw(binaries | st.just(bytes(20_000)))
    packet_id = draw(packet_ids) if qos else 0
    bits = draw(st.sampled_from([0, 1, 8, 9] if qos else [0, 1]))
    has = draw(having(of_messages))
    data = mqtt_packets.publish5(topic, payload, qos=qos, packet_id=packet_id, flags=bits, has=has)
    return data, codec.Publish(topic=topic, payload=payload, qos=qos, packet_id=packet_id)


@st.composite
def subscribes5(draw):
    packet_id, has = draw(packet_ids), draw(having(of_subscribes))
    options = st.tuples(st.integers(0, 2), st.sampled_from([0x00, 0x08, 0x10, 0x18, 0x20, 0x28]))
    wanted = draw(st.lists(st.tuples(filters, options), min_size=1, max_size=20))
    data = mqtt_packets.subscribe5(packet_id, *((topic, qos | bits) for topic, (qos, bits) in wanted), has=has)
    read = tuple((topic, qos) for topic, (qos, _) in wanted)
    return data, codec.Subscribe(packet_id=packet_id, filters=read)


@st.composite
def unsubscribes5(draw):
    packet_id, wanted = draw(packet_ids), draw(st.lists(filters, min_size=1, max_size=20))
    data = mqtt_packets.unsubscribe5(packet_id, *wanted, has=draw(having({})))
    return data, codec.Unsubscribe(packet_id=packet_id, filters=tuple(wanted))


@st.composite
def reasoned(draw, known, *reasons):
    """A reason code and properties, both, the first alone, or neither."""
    reason = draw(st.none() | st.sampled_from(reasons))
    return reason, draw(st.none() | having(known)) if reason is not None else None


@st.composite
def acknowledgements5(draw):
    first, packet_id = draw(st.sampled_from([0x40, 0x50, 0x62, 0x70])), draw(packet_ids)
    reasons = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99] if first in {0x40, 0x50} else [0x00, 0x92]
    data = mqtt_packets.acknowledgement5(first, packet_id, *draw(reasoned(of_acknowledgements, *reasons)))
    return data, codec.Simple(kind=codec.PacketType(first >> 4), packet_id=packet_id)


@st.composite
def bare5(draw):
    kind = draw(st.sampled_from([codec.PacketType.PINGREQ, codec.PacketType.DISCONNECT, codec.PacketType.AUTH]))
    if kind == codec.PacketType.PINGREQ:
        data = mqtt_packets.PINGREQ
    elif kind == codec.PacketType.DISCONNECT:
        data = mqtt_packets.disconnect5(*draw(reasoned(of_disconnects, 0x00, 0x04, 0x80, 0x99)))
    else:
        data = mqtt_packets.auth5(draw(st.sampled_from([0x18, 0x19])), b"\x15" + draw(strings))
    return data, codec.Simple(kind=kind)


@st.composite
def valid5(draw):
    """A stream of MQTT 5: what comes before the CONNECT is read as MQTT 3.1.1."""
    later = st.one_of(connects5(), publishes5(), subscribes5(), unsubscribes5(), acknowledgements5(), bare5())
    early = draw(st.lists(publishes() | bare, max_size=2))
    return [*early, draw(connects5()), *draw(st.lists(later, max_size=8))]


valid = valid3 | valid5()


@st.composite
def damaged(draw):
    """A stream of packets with something wrong in it: a byte changed, missing or added."""
    data = bytearray(b"".join(each for each, _ in draw(valid)))
    assume(data)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, min(len(data), 200) - 1)) if len(data) > 1 else 0
        data[at : at + draw(st.integers(0, 1))] = draw(st.binary(max_size=2))
        assume(data)
    return bytes(data)


streams = st.binary(max_size=400) | damaged()


def cut(data, sizes):
    """The data in pieces of these sizes, over and over."""
    at = 0
    while at < len(data):
        for size in sizes:
            yield data[at : at + size]
            at += size


def decode(chunks):
    """Everything in a stream: the packets, and the rule that ended it if one did."""
    decoder, found = codec.PacketDecoder(), []
    try:
        for chunk in chunks:
            for packet in decoder.feed(chunk):
                found.append(packet)  # noqa: PERF402 - what came before the error counts
    except codec.MalformedPacket as error:
        return found, (type(error), str(error), error.reason)
    return found, None


@fuzz
@given(streams, st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_any_bytes_are_packets_or_malformed_however_they_are_cut(data, sizes):
    whole = decode([data])
    assert decode(cut(data, sizes)) == whole
    assert decode(cut(data, [1])) == whole
    for packet in whole[0]:
        assert isinstance(packet, codec.Packet)


@fuzz
@given(valid, st.lists(st.integers(1, 5000), min_size=1, max_size=5))
def test_valid_packets_are_read_as_what_they_are(stream, sizes):
    data = b"".join(each for each, _ in stream)
    packets = [each for _, each in stream]
    assert decode([data]) == (packets, None)
    assert decode(cut(data, sizes)) == (packets, None)


@fuzz
@given(valid, st.data())
def test_stream_cut_short_is_its_whole_packets_and_no_error(stream, data):
    assume(stream)
    last = stream[-1][0]
    kept = data.draw(st.integers(0, len(last) - 1))
    rest = b"".join(each for each, _ in stream[:-1]) + last[:kept]
    assert decode([rest]) == ([each for _, each in stream[:-1]], None)


@fuzz
@given(words, st.lists(st.sampled_from([0, 1, 0x80]), min_size=1, max_size=300), topics, binaries, st.integers(0, 1))
def test_packets_are_written_as_the_standard_has_them(packet_id, codes, topic, payload, qos):
    for present in (False, True):
        assert codec.connack(5, session_present=present) == mqtt_packets.connack(5, session_present=present)
    assert codec.puback(packet_id) == mqtt_packets.puback(packet_id)
    assert codec.unsuback(packet_id) == mqtt_packets.unsuback(packet_id)
    assert codec.suback(packet_id, codes) == mqtt_packets.suback(packet_id, *codes)
    expected = mqtt_packets.publish(topic, payload, qos=qos, packet_id=packet_id)
    assert codec.publish(topic, payload, qos=qos, packet_id=packet_id) == expected
    assert codec.PINGRESP == mqtt_packets.PINGRESP


@fuzz
@given(words, st.lists(st.integers(0, 255), min_size=1, max_size=300), topics, binaries, st.integers(0, 1))
def test_mqtt_5_packets_are_written_as_the_standard_has_them(packet_id, codes, topic, payload, qos):
    for present in (False, True):
        expected = mqtt_packets.connack5(codes[0], session_present=present)
        assert codec.connack(codes[0], session_present=present, level=5) == expected
    # a reason of 0 is left out
    assert codec.puback(packet_id, 0, level=5) == mqtt_packets.acknowledgement5(0x40, packet_id)
    assert codec.puback(packet_id, codes[0] or 1, level=5) == mqtt_packets.acknowledgement5(
        0x40, packet_id, codes[0] or 1, b""
    )
    assert codec.disconnect(0) == mqtt_packets.disconnect5()
    assert codec.disconnect(codes[0] or 1) == mqtt_packets.disconnect5(codes[0] or 1, b"")
    assert codec.suback(packet_id, codes, level=5) == mqtt_packets.suback5(packet_id, *codes)
    assert codec.unsuback(packet_id, codes, level=5) == mqtt_packets.unsuback5(packet_id, *codes)
    expected = mqtt_packets.publish5(topic, payload, qos=qos, packet_id=packet_id)
    assert codec.publish(topic, payload, qos=qos, packet_id=packet_id, level=5) == expected


@fuzz
@given(words, st.integers(0, 255), st.sampled_from([3, 4]))
def test_reasons_are_not_written_before_mqtt_5(packet_id, reason, level):
    assert codec.puback(packet_id, reason, level=level) == mqtt_packets.puback(packet_id)
    assert codec.unsuback(packet_id, [reason], level=level) == mqtt_packets.unsuback(packet_id)


@fuzz
@given(publishes5())
def test_written_mqtt_5_publish_is_read_as_itself(case):
    packet = case[1]
    assume(packet.qos < 2)
    data = codec.publish(packet.topic, packet.payload, qos=packet.qos, packet_id=packet.packet_id, level=5)
    whole = decode([mqtt_packets.connect5() + data])
    assert whole == ([*decode([mqtt_packets.connect5()])[0], packet], None)


@pytest.mark.parametrize("size", [0, 127, 128, 16_383, 16_384, 65_000])
def test_remaining_length_is_written_in_as_many_bytes_as_it_takes(size):
    assert codec.publish("t", bytes(size)) == mqtt_packets.publish("t", bytes(size))


# JSON.

any_text = st.text(st.characters(exclude_categories=[]), max_size=20)
numbers = st.integers() | st.floats() | st.integers(-(10**400), 10**400)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | any_text | st.from_regex(r"-?[0-9.]{1,25}", fullmatch=True),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=15,
)
fields = st.sampled_from(
    ["provisionDeviceKey", "provisionDeviceSecret", "deviceName", "credentialsType", "token", "gateway", "hash", "x"]
)
documents = st.one_of(
    json_values,
    st.dictionaries(fields, json_values, max_size=8),
    st.fixed_dictionaries({"provisionDeviceKey": any_text, "provisionDeviceSecret": any_text}),
    st.fixed_dictionaries({"ts": json_values, "values": json_values}),
    st.lists(st.fixed_dictionaries({"ts": st.integers(), "values": st.dictionaries(any_text, json_values)})),
)
exponents = st.from_regex(rb'\{"[a-z]{1,3}":-?[0-9]{1,3}(\.[0-9]{1,3})?[eE][+-]?[0-9]{1,25}\}', fullmatch=True)
payloads = st.one_of(
    st.binary(max_size=100),
    documents.map(lambda value: json.dumps(value).encode()),
    documents.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    exponents,
)


@fuzz
@given(payloads)
def test_any_payload_is_a_request_or_a_wire_error(payload):
    try:
        request = device_json.read_request(payload)
    except json_reader.PayloadError:
        return
    for text in (request.key, request.secret, request.device_name, request.token, request.certificate):
        assert isinstance(text, str)
        text.encode()  # a database could store it
    assert request.credentials_type in list(CredentialsType)


@fuzz
@given(payloads)
def test_any_payload_is_telemetry_or_a_wire_error(payload):
    try:
        telemetry = device_json.read_series(payload, 5)
    except json_reader.PayloadError:
        return
    for ts, key, value in telemetry:
        key.encode()
        assert isinstance(ts, int)
        assert -(1 << 63) <= ts < 1 << 63
        assert json.loads(json.dumps(value, allow_nan=False)) == value


@fuzz
@given(payloads)
def test_any_payload_is_attributes_or_a_wire_error(payload):
    try:
        attributes = device_json.read_attributes(payload)
    except json_reader.PayloadError:
        return
    for key, value in attributes.items():
        key.encode()
        assert value is not None
        assert json.loads(json.dumps(value, allow_nan=False)) == value


@fuzz
@given(
    st.dictionaries(
        st.text("ab</! .\u00e9\U0001f600", min_size=1, max_size=5).filter(lambda key: key.strip() and "<" not in key),
        st.integers(-(1 << 63), (1 << 63) - 1)
        | st.booleans()
        | st.integers(-(10**12), 10**12).map(lambda number: number / 1000),  # more than 16 decimals would be text
    )
)
def test_plain_values_are_read_as_they_are(values):
    payload = json.dumps(values).encode()
    assert device_json.read_attributes(payload) == values
    if not {"ts", "values"} <= values.keys():
        assert device_json.read_series(payload, 5) == [(5, key, value) for key, value in values.items()]


# A live server.


def throw(port, data):
    """Send, end the stream, and read until the server closes."""
    with RawClient(port) as client, contextlib.suppress(ConnectionError):
        client.send(data)
        try:
            client.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # closed already
                raise
        client.read(1 << 30)


beginnings = st.sampled_from(
    [b"", mqtt_packets.connect(username="provision"), mqtt_packets.connect(username="device-token")]
)
requests = st.tuples(st.sampled_from([PROVISION_REQUEST, PROVISION_RESPONSE, TELEMETRY]), payloads, st.integers(0, 2))


def test_server_survives_made_up_mqtt(server):
    profile = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    server.query(lambda registry: registry.create_device("device", profile.name, token="device-token"))

    @settings(fuzz, max_examples=examples(150))
    @given(
        beginnings,
        streams,
        st.lists(requests.map(lambda args: mqtt_packets.publish(args[0], args[1], qos=args[2]))),
        st.booleans(),
    )
    def throw_some(beginning, stream, requested, stream_first):
        parts = [stream, *requested] if stream_first else [*requested, stream]
        throw(server.ports.mqtt, beginning + b"".join(parts))

    throw_some()
    expect_unharmed(server, devices=["device"])


heads = st.sampled_from(
    [
        b"",
        b"POST /api/v1/provision HTTP/1.1\r\n",
        b"POST /api/v1/provision HTTP/1.1\r\nContent-Length: 20\r\n\r\n",
        b"POST /api/v1/provision HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /api/v1/x/telemetry HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}POST /",
    ]
)


def test_server_survives_made_up_http(server):
    @settings(fuzz, max_examples=examples(150))
    @given(heads, st.binary(max_size=100), payloads)
    def throw_some(head, garbage, payload):
        throw(server.ports.http, head + garbage)
        throw(server.ports.http, head + payload)
        throw(
            server.ports.http, b"POST /api/v1/provision HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(payload) + payload
        )

    throw_some()
    expect_unharmed(server)
