"""A device's own session over MQTT 3.1.1: logging in, reporting, being taken over, falling silent."""

import time

import pytest

from bench.registry import ProvisionType
from tests.server.packets import (
    ATTRIBUTES,
    DISCONNECT,
    NOT_FOUND,
    PINGREQ,
    PINGRESP,
    PROVISION_REQUEST,
    PROVISION_RESPONSE,
    TELEMETRY,
    connack,
    connect,
    expect_open,
    expect_silence,
    held_back_commits,
    puback,
    publish,
    request,
    suback,
    subscribe,
    unsuback,
    unsubscribe,
)
from tests.support import RawClient

TOKEN = "the-token"


def new_device(server, name="device", token=TOKEN):
    profile = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    server.ask(lambda registry: registry.create_device(name, profile.name, token=token))


def stored(server, name="device"):
    """The latest telemetry of a device, and its client attributes."""
    device = server.ask(lambda registry: registry.device(name))
    return device.telemetry, device.attributes.get("CLIENT_SCOPE", {})


@pytest.fixture
def client(server):
    """A client in the session of `device`."""
    new_device(server)
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username=TOKEN))
        client.expect(connack(0))
        yield client


# Logging in.


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ({"username": "unknown"}, 5),
        ({"username": "unknown", "password": b"p"}, 5),
        ({"username": ""}, 5),
        ({"username": "", "password": b""}, 5),
        ({"password": TOKEN.encode()}, 5),
        ({"client_id": "", "password": b"p"}, 5),
        ({"client_id": TOKEN}, 2),
        ({"client_id": "anything"}, 2),
        ({"client_id": ""}, 5),
        ({"client_id": " \t "}, 5),
        ({"username": TOKEN.upper()}, 5),
        ({"username": TOKEN + " "}, 5),
        ({"username": TOKEN[:-1]}, 5),
        ({"username": "device"}, 5),
        ({"client_id": "", "clean": False}, 5),
    ],
)
def test_login_that_shows_no_token_is_refused_with_its_code(server, names, code):
    new_device(server)
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(**names) + publish(TELEMETRY, b'{"a":1}', qos=1))
        client.expect(connack(code))
        client.expect_closed()
    assert stored(server) == ({}, {})
    assert len(server.events("login_refused")) == 1
    assert server.events("online") == []


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"client_id": ""},
        {"client_id": "x" * 200, "password": b"\xff\0 ignored"},
        {"client_id": "\u6f22", "will": ("a/topic", b"ignored")},
        {"protocol": "MQIsdp", "level": 3},
    ],
)
def test_login_with_the_token_as_user_name_is_accepted(server, names):
    new_device(server)
    for clean in (True, False):
        with RawClient(server.ports.mqtt) as client:
            client.send(connect(username=TOKEN, clean=clean, **names))
            client.expect(connack(0, session_present=not clean))
            expect_open(client)


def test_login_after_deletion_is_refused(server, client):
    server.ask(lambda registry: registry.delete_device("device"))
    with RawClient(server.ports.mqtt) as late:
        late.send(connect(username=TOKEN))
        late.expect(connack(5))
        late.expect_closed()


def test_token_in_no_event(server, client):
    client.send(publish(TELEMETRY, b'{"a":"%s"}' % TOKEN.encode()) + publish(TELEMETRY, TOKEN.encode()))
    client.expect_closed()
    with RawClient(server.ports.mqtt) as other:
        other.send(connect(client_id=TOKEN, password=TOKEN.encode()))
        other.expect(connack(5))
        other.expect_closed()
    assert {"online", "telemetry", "bad_message", "login_refused"} <= {event["event"] for event in server.events()}
    assert TOKEN not in str(server.events())


# PUBLISH.


@pytest.mark.parametrize("topic", [TELEMETRY, "v2/t", ATTRIBUTES, "v2/a"])
@pytest.mark.parametrize("payload", [b"", b"{", b"1", b"null", b'["a"]', b'{"a":1,}', b"\xff"])
def test_invalid_payload_closes_without_puback(shared_server, topic, payload):
    if "device" not in shared_server.device_names():
        new_device(shared_server)
    for qos in (0, 1, 2):
        with RawClient(shared_server.ports.mqtt) as client:
            client.send(connect(username=TOKEN) + publish(topic, payload, qos=qos) + PINGREQ)
            client.expect(connack(0))
            client.expect_closed()
    assert stored(shared_server) == ({}, {})


def test_list_as_attributes_closes_without_puback(server, client):
    client.send(publish(ATTRIBUTES, b'[{"a":1}]', qos=1))
    client.expect_closed()
    assert stored(server) == ({}, {})


def test_what_follows_an_invalid_payload_is_not_handled(server, client):
    client.send(publish(TELEMETRY, b"?") + publish(TELEMETRY, b'{"a":1}', qos=1))
    client.expect_closed()
    assert stored(server) == ({}, {})


def test_other_topics_are_acknowledged_and_dropped(server, client):
    for topic in (
        "a",
        "v1/devices/me/telemetry/",
        "V1/devices/me/telemetry",
        "v1/devices/me",
        "v1/gateway/telemetry",
        "/v1/devices/me/telemetry",
        PROVISION_RESPONSE,
        "$SYS/x",
    ):
        client.send(publish(topic, b'{"a":1}') + publish(topic, b"no json", qos=1, packet_id=9))
        client.expect(puback(9))
    expect_open(client)
    assert stored(server) == ({}, {})


def test_provisioning_request_is_acknowledged_and_dropped(server, client):
    client.send(request(server.profile, deviceName="a", packet_id=3))
    client.expect(puback(3))
    expect_open(client)
    assert server.device_names() == ["device"]


@pytest.mark.parametrize("topic", [TELEMETRY, "v2/t"])
def test_telemetry_is_stored_in_its_three_forms(server, client, topic):
    client.send(
        publish(topic, b'{"plain":1,"none":null}')
        + publish(topic, b'{"ts":5,"values":{"dated":true,"plain":0}}', qos=1, packet_id=7)
        + publish(topic, b'[{"a":"text"},{"ts":6,"values":{"b":{"c":[1]}}},{"number":"1.50"}]', qos=2, packet_id=8)
        + publish(topic, b"{}", qos=1, packet_id=9)
    )
    client.expect(puback(7) + puback(8) + puback(9))
    telemetry, attributes = stored(server)
    assert telemetry == {"plain": 1, "dated": True, "a": "text", "b": {"c": [1]}, "number": 1.5}
    assert attributes == {}


@pytest.mark.parametrize("topic", [ATTRIBUTES, "v2/a"])
def test_attributes_are_stored(server, client, topic):
    client.send(
        publish(topic, b'{"old":1,"kept":"a b","none":null}')
        + publish(topic, b'{"old":{"ts":1,"values":[]}}', qos=1, packet_id=0xFFFF)
    )
    client.expect(puback(0xFFFF))
    assert stored(server) == ({}, {"old": {"ts": 1, "values": []}, "kept": "a b"})


def test_attributes_of_a_device_do_not_touch_those_of_the_server(server, client):
    client.send(publish(ATTRIBUTES, b'{"provisionState":"mine"}', qos=1))
    client.expect(puback(1))
    assert server.ask(lambda registry: registry.device("device")).attributes == {
        "CLIENT_SCOPE": {"provisionState": "mine"}
    }


@pytest.mark.parametrize("topic", [TELEMETRY, ATTRIBUTES])
def test_puback_waits_for_the_commit(server, client, topic):
    with held_back_commits(server):
        client.send(publish(topic, b'{"a":1}', qos=1))
        expect_silence(client)
    client.expect(puback(1))
    assert {"a": 1} in stored(server)


def test_everything_said_before_the_end_of_the_stream_is_stored(server, client):
    client.send(b"".join(publish(TELEMETRY, b'{"k%d":%d}' % (n, n)) for n in range(20)) + DISCONNECT)
    client.socket.shutdown(1)
    client.expect_closed()
    assert stored(server)[0] == {f"k{n}": n for n in range(20)}


def test_what_follows_disconnect_is_not_handled(server, client):
    client.send(DISCONNECT + publish(TELEMETRY, b'{"a":1}', qos=1))
    client.expect_closed()
    assert stored(server) == ({}, {})


@pytest.mark.parametrize("topic", [TELEMETRY, ATTRIBUTES])
def test_report_of_a_deleted_device_closes_without_puback(server, client, topic):
    server.ask(lambda registry: registry.delete_device("device"))
    client.send(publish(topic, b'{"a":1}', qos=1))
    client.expect_closed()
    assert server.device_names() == []


# SUBSCRIBE, UNSUBSCRIBE and the rest.


def test_subscribe_to_what_is_not_served_is_refused_and_the_session_stays(client):
    for topic in ("#", "+", "v1/#", "v1/devices/+/attributes", TELEMETRY, PROVISION_REQUEST, PROVISION_RESPONSE):
        for qos in (0, 1, 2):
            client.send(subscribe(0xABCD, (topic, qos)))
            client.expect(suback(0xABCD, 0x80))
    expect_open(client)


def test_subscribe_to_what_is_served_is_granted_up_to_qos_1(client):
    for topic in (
        "v1/devices/me/attributes",
        "v1/devices/me/attributes/response/+",
        "v1/devices/me/rpc/request/+",
        "v1/devices/me/rpc/response/+",
    ):
        client.send(subscribe(1, (topic, 0), (topic, 1), ("no", 1), (topic, 2)))
        client.expect(suback(1, 0, 1, 0x80, 1))


def test_subscriber_hears_nothing_of_what_devices_say(server, client):
    client.send(subscribe(1, ("v1/devices/me/attributes", 1)))
    client.expect(suback(1, 1))
    client.send(publish(ATTRIBUTES, b'{"a":1}', qos=1, packet_id=2))
    client.expect(puback(2))
    expect_open(client)


def test_unsubscribe_is_acknowledged(client):
    client.send(unsubscribe(2, "v1/devices/me/attributes", "never/subscribed"))
    client.expect(unsuback(2))


def test_acknowledgements_are_ignored(client):
    for first in (0x40, 0x50, 0x62, 0x70):
        client.send(bytes([first, 2, 0, 1]))
    expect_open(client)


def test_disconnect_closes_without_a_word(server, client):
    client.send(DISCONNECT)
    client.expect_closed()


def test_second_connect_closes(server, client):
    client.send(connect(username=TOKEN) + PINGREQ)
    client.expect_closed()


def test_second_connect_as_provision_closes(server, client):
    client.send(connect(username="provision") + PINGREQ)
    client.expect_closed()


# Being taken over, and falling silent.


def test_newer_connection_takes_over_and_stays(server, client):
    with RawClient(server.ports.mqtt) as newer:
        newer.send(connect(username=TOKEN))
        newer.expect(connack(0))
        client.expect_closed()
        newer.send(publish(TELEMETRY, b'{"a":1}', qos=1))
        newer.expect(puback(1))
        assert [event["event"] for event in server.events()] == ["online", "taken_over", "online", "telemetry"]
        newer.send(DISCONNECT)
        newer.expect_closed()
    assert stored(server)[0] == {"a": 1}
    with RawClient(server.ports.mqtt) as last:
        last.send(connect(username=TOKEN) + PINGREQ)
        last.expect(connack(0) + PINGRESP)
    assert len(server.events("taken_over")) == 1


def test_failed_login_does_not_take_over(server, client):
    with RawClient(server.ports.mqtt) as other:
        other.send(connect(client_id=TOKEN))
        other.expect(connack(2))
    expect_open(client)


def test_devices_do_not_take_each_other_over(server, client):
    new_device(server, "other", "other-token")
    with RawClient(server.ports.mqtt) as other:
        other.send(connect(username="other-token"))
        other.expect(connack(0))
        expect_open(client)
        expect_open(other)


def test_report_in_flight_is_stored_when_its_connection_is_taken_over(server, client):
    with held_back_commits(server), RawClient(server.ports.mqtt) as newer:
        client.send(publish(TELEMETRY, b'{"first":1}', qos=1) + publish(TELEMETRY, b'{"second":2}', qos=1))
        expect_silence(client, 0.1)
        newer.send(connect(username=TOKEN))
        newer.expect(connack(0))
        client.expect_closed()
    with RawClient(server.ports.mqtt) as last:
        last.send(connect(username=TOKEN) + publish(TELEMETRY, b'{"third":3}', qos=1))
        last.expect(connack(0) + puback(1))
    assert stored(server)[0] == {"first": 1, "third": 3}


def test_silence_of_one_and_a_half_keep_alives_closes(server):
    new_device(server)
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username=TOKEN, keep_alive=1))
        client.expect(connack(0))
        start = time.monotonic()
        client.expect_closed()
        assert 1.2 < time.monotonic() - start < 4


def test_pings_keep_the_connection_alive(server):
    new_device(server)
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username=TOKEN, keep_alive=1))
        client.expect(connack(0))
        for _ in range(4):
            expect_silence(client, 0.5)
            expect_open(client)


def test_keep_alive_of_zero_is_none(server, client):
    expect_silence(client)
    expect_open(client)


# Before CONNECT.


def test_packets_before_connect_are_handled_in_order_after_the_login(server):
    new_device(server)
    with RawClient(server.ports.mqtt) as client:
        client.send(publish(TELEMETRY, b'{"a":1}', qos=1, packet_id=1))
        client.send(subscribe(2, (ATTRIBUTES, 1)) + PINGREQ + publish(TELEMETRY, b'{"a":2}', qos=1, packet_id=3))
        expect_silence(client)
        client.send(connect(username=TOKEN) + publish(TELEMETRY, b'{"b":3}', qos=1, packet_id=4))
        client.expect(connack(0) + puback(1) + suback(2, 1) + PINGRESP + puback(3) + puback(4))
    assert stored(server)[0] == {"a": 2, "b": 3}


def test_packets_before_a_login_that_fails_are_dropped(server):
    new_device(server)
    with RawClient(server.ports.mqtt) as client:
        client.send(publish(TELEMETRY, b'{"a":1}', qos=1) + connect(username="unknown"))
        client.expect(connack(5))
        client.expect_closed()
    assert stored(server) == ({}, {})


@pytest.mark.parametrize("first", [publish(TELEMETRY, b"?", qos=1), DISCONNECT])
def test_packets_before_connect_end_with_one_that_closes(server, first):
    new_device(server)
    with RawClient(server.ports.mqtt) as client:
        client.send(first + publish(TELEMETRY, b'{"a":1}', qos=1, packet_id=2) + connect(username=TOKEN))
        client.expect(connack(0))
        client.expect_closed()
    assert stored(server) == ({}, {})


def test_hundred_packets_before_connect_are_kept_and_one_more_closes(server):
    new_device(server)
    with RawClient(server.ports.mqtt) as client:
        client.send(PINGREQ * 100 + connect(username=TOKEN))
        client.expect(connack(0) + PINGRESP * 100)
    with RawClient(server.ports.mqtt) as client:
        client.send(PINGREQ * 101)
        client.expect_closed()
    with RawClient(server.ports.mqtt) as client:
        client.send(publish(TELEMETRY, b'{"a":1}') * 101 + connect(username=TOKEN))
        client.expect_closed()
    assert stored(server) == ({}, {})


def test_packets_before_connect_have_a_limit_in_bytes_too(server):
    with RawClient(server.ports.mqtt) as client:
        client.send(publish("a", bytes(40_000)))
        expect_silence(client)
        client.send(publish("a", bytes(40_000)))
        client.expect_closed()


def test_provision_session_answers_while_a_device_is_online(server, client):
    with RawClient(server.ports.mqtt) as other:
        other.send(connect(username="provision") + request(server.profile, provisionDeviceKey="x"))
        other.expect(connack(0) + puback(1) + publish(PROVISION_RESPONSE, NOT_FOUND, qos=1))
    expect_open(client)


def test_login_that_the_registry_cannot_answer_is_told_unavailable(server, monkeypatch):
    async def fail(_self, _token):
        raise OSError("the disk is gone")

    monkeypatch.setattr(type(server.registry), "login", fail)
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username="a token"))
        client.expect(connack(3))
        client.expect_closed()
    failure = server.wait_for("failure")
    assert failure["kind"] == "OSError"
    assert "disk" not in str(failure)
