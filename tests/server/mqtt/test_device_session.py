"""A device's own session: logging in, reporting, being taken over, falling silent, each in both versions."""

import json
import socket
import time

import pytest

from bench.registry import credentials, devices, timeseries
from bench.registry.provision_type import ProvisionType
from bench.registry.timeseries import Span
from bench.server.limits import Rules
from bench.server.mqtt import connection, listener, provision_session
from bench.server.presence import SessionEnd
from tests.support.mqtt_packets import (
    ATTRIBUTES,
    DISCONNECT,
    NOT_FOUND,
    PINGREQ,
    PINGRESP,
    PROVISION_REQUEST,
    PROVISION_RESPONSE,
    TELEMETRY,
    TOKEN,
    VERSIONS,
    connect,
    device_session,
    expect_end,
    expect_open,
    expect_silence,
    held_back_commits,
    held_back_logins,
    new_device,
    stored,
)
from tests.support.raw_client import RawClient
from tests.support.servers import PATIENCE_S

OLD = VERSIONS["3.1.1"]


@pytest.fixture
def client(server, v):
    """A client in the session of `device`."""
    new_device(server)
    with device_session(server, v) as client:
        yield client


# Logging in.


BAD_NAME, BAD_CLIENT_ID, NOT_AUTHORISED = (5, 0x86), (2, 0x85), (5, 0x87)


@pytest.mark.parametrize(
    ("names", "codes"),
    [
        ({"username": "unknown"}, BAD_NAME),
        ({"username": "unknown", "password": b"p"}, BAD_NAME),
        ({"username": ""}, BAD_NAME),
        ({"username": "", "password": b""}, BAD_NAME),
        ({"password": TOKEN.encode()}, BAD_NAME),
        ({"client_id": "", "password": b"p"}, BAD_NAME),
        ({"client_id": TOKEN}, BAD_CLIENT_ID),
        ({"client_id": "anything"}, BAD_CLIENT_ID),
        ({"client_id": ""}, NOT_AUTHORISED),
        ({"client_id": " \t "}, NOT_AUTHORISED),
        ({"username": TOKEN.upper()}, BAD_NAME),
        ({"username": TOKEN + " "}, BAD_NAME),
        ({"username": TOKEN[:-1]}, BAD_NAME),
        ({"username": "device"}, BAD_NAME),
        ({"client_id": "", "clean": False}, NOT_AUTHORISED),
    ],
)
def test_login_that_shows_no_token_is_refused_with_its_code(server, v, names, codes):
    new_device(server)
    with RawClient(server.ports.mqtt) as client:
        client.send(v.connect(**names) + v.publish(TELEMETRY, b'{"a":1}', qos=1))
        client.expect(v.refused(*codes))
        client.expect_closed()
    assert stored(server) == ({}, {})
    assert len(server.events("login_refused")) == 1
    assert server.events("online") == []


@pytest.mark.parametrize("basic", [{"username": "user"}, {"client_id": "client", "username": "user"}])
def test_login_with_a_wrong_password_is_refused(server, v, basic):
    profile = server.new_profile(ProvisionType.ALLOW_CREATE_NEW_DEVICES)
    with RawClient(server.ports.mqtt) as client:
        own = {"clientId": basic.get("client_id", ""), "username": basic["username"], "password": "right"}
        client.send(v.connect(username="provision"))
        client.send(v.request(profile, qos=0, deviceName="basic", credentialsType="MQTT_BASIC", **own))
        client.expect(v.accepted())
        server.wait_for("exchange", status="SUCCESS")
    for password, code in ((b"right", None), (b"wrong", BAD_NAME), (None, BAD_NAME)):
        with RawClient(server.ports.mqtt) as client:
            client.send(v.connect(**basic, password=password))
            client.expect(v.refused(*code) if code else v.accepted())


def test_login_over_a_transport_that_the_profile_does_not_have_is_answered_unavailable(server, v):
    for transport, token in (("DEFAULT", "a"), ("MQTT", "b"), ("COAP", "c"), ("LWM2M", "d")):
        new_device(server, f"device-{token}", token, transport_type=transport)
        with RawClient(server.ports.mqtt) as client:
            client.send(v.connect(username=token) + PINGREQ)
            if transport in ("DEFAULT", "MQTT"):
                client.expect(v.accepted() + PINGRESP)
            else:
                client.expect(v.refused(3, 0x88, 0x89))
                client.expect_closed()


def test_login_of_a_caller_that_was_wrong_too_often_is_limited(start_server, v):
    server = start_server(limits=Rules(per_caller=2))
    new_device(server)
    for codes in (BAD_NAME, BAD_NAME, (3, 0x9F, 0x96)):
        with RawClient(server.ports.mqtt) as client:
            client.send(v.connect(username="unknown"))
            client.expect(v.refused(*codes))
            client.expect_closed()
    with device_session(server, v):
        pass


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"client_id": ""},
        {"client_id": "x" * 200, "password": b"\xff\0 ignored"},
        {"client_id": "\u6f22", "will": ("a/topic", b"ignored")},
    ],
)
def test_login_with_the_token_as_user_name_is_accepted(server, names, v):
    new_device(server)
    for clean in (True, False):
        with RawClient(server.ports.mqtt) as client:
            client.send(v.connect(username=TOKEN, clean=clean, **names))
            client.expect(v.accepted(session_present=not clean))
            expect_open(client)


def test_login_over_mqtt_3_1_is_accepted(server):
    new_device(server)
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username=TOKEN, protocol="MQIsdp", level=3) + PINGREQ)
        client.expect(OLD.accepted() + PINGRESP)


def test_login_after_deletion_is_refused(server, client, v):
    server.query(lambda registry: registry.delete_device("device"))
    with RawClient(server.ports.mqtt) as late:
        late.send(v.connect(username=TOKEN))
        late.expect(v.refused(*BAD_NAME))
        late.expect_closed()


def test_token_in_no_event(server, client, v):
    client.send(v.publish(TELEMETRY, b'{"a":"%s"}' % TOKEN.encode()) + v.publish(TELEMETRY, TOKEN.encode()))
    expect_end(client, v, 0x99)
    with RawClient(server.ports.mqtt) as other:
        other.send(v.connect(client_id=TOKEN, password=TOKEN.encode()))
        other.expect(v.refused(*BAD_NAME))
        other.expect_closed()
    assert {"online", "telemetry", "bad_message", "login_refused"} <= {event["event"] for event in server.events()}
    assert TOKEN not in str(server.events())


# PUBLISH.


INVALID = [b"", b"{", b"1", b"null", b'["a"]', b"\xff"]


@pytest.mark.parametrize("topic", [TELEMETRY, "v2/t", "v2/t/j", ATTRIBUTES, "v2/a", "v2/a/j"])
def test_invalid_payload_closes_without_puback_or_is_explained(shared_server, v, topic):
    if "device" not in shared_server.device_names():
        new_device(shared_server)
    for payload in [*INVALID, b'[{"a":1}]'] if "a" in topic[-3:] else INVALID:
        for qos in (0, 1, 2):
            with device_session(shared_server, v) as client:
                client.send(v.publish(topic, payload, qos=qos, packet_id=5) + PINGREQ)
                if qos and v.explains:
                    client.expect(v.puback(5, 0x99) + PINGRESP)
                else:
                    expect_end(client, v, 0x99)
    assert stored(shared_server) == ({}, {})


@pytest.mark.parametrize("topic", [TELEMETRY, "v2/t", "v2/t/j"])
def test_empty_list_of_telemetry_is_never_acknowledged(client, v, topic):
    client.send(v.publish(topic, b" [] ", qos=1) + v.publish(topic, b"[{}]", qos=1, packet_id=2) + PINGREQ)
    client.expect(v.puback(2) + PINGRESP)


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "<b>", "{{x}}"])
def test_message_with_a_bad_key_is_acknowledged_and_not_stored(server, client, v, key):
    bad = json.dumps({"a": 1, key: 2})
    client.send(v.publish(TELEMETRY, bad.encode(), qos=1) + v.publish(ATTRIBUTES, bad.encode(), qos=1, packet_id=2))
    client.send(v.publish(TELEMETRY, f'[{bad},{{"b":1}}]'.encode(), qos=1, packet_id=3))
    client.expect(v.puback(1) + v.puback(2) + v.puback(3))
    assert stored(server) == ({"b": 1}, {})


def test_publications_of_one_segment_have_one_time(server, client, v):
    client.send(b"".join(v.publish(TELEMETRY, b'{"n":%d}' % n, qos=1, packet_id=n + 1) for n in range(20)))
    client.expect(b"".join(v.puback(n + 1) for n in range(20)))
    every = Span(from_ms=0, to_ms=1 << 62, limit=100)
    device_id = server.query(lambda registry: registry.token_login(TOKEN)).id
    kept = server.query(lambda registry: registry.read(timeseries.history, device_id, "n", every))
    assert [json.loads(each.value) for each in kept][:1] == [19]
    assert len(kept) <= 2  # the segment may be read in two parts


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_payload_that_upstream_has_not_thought_of_closes_without_puback(server, client, v, qos):
    client.send(v.publish(TELEMETRY, b'{"ts":null,"values":{"a":1}}', qos=qos) + PINGREQ)
    expect_end(client, v, 0x8B)
    assert stored(server) == ({}, {})


def test_what_follows_an_invalid_payload_is_handled_only_after_an_explanation(server, client, v):
    client.send(v.publish(TELEMETRY, b"?", qos=1) + v.publish(TELEMETRY, b'{"a":1}', qos=1, packet_id=2))
    if v.explains:
        client.expect(v.puback(1, 0x99) + v.puback(2))
    else:
        client.expect_closed()
    assert stored(server) == ({"a": 1} if v.explains else {}, {})


def test_report_that_the_registry_cannot_store_closes_without_puback(server, client, v):
    async def fail(*_report):
        raise OSError("the disk is gone")

    server.registry.save_telemetry = fail
    client.send(v.publish(TELEMETRY, b'{"a":1}', qos=1) + PINGREQ)
    expect_end(client, v, 0x83)
    assert [event["kind"] for event in server.events("failure")] == ["OSError"]


def test_other_topics_are_acknowledged_and_dropped(server, client, v):
    for topic in (
        "a",
        "v1/devices/me/telemetry/",
        "V1/devices/me/telemetry",
        "v1/devices/me",
        "v1/devices/me/claim/",
        "/v1/devices/me/telemetry",
        PROVISION_RESPONSE,
        "$SYS/x",
    ):
        client.send(v.publish(topic, b'{"a":1}') + v.publish(topic, b"no json", qos=1, packet_id=9))
        client.expect(v.puback(9, 0x90))
    expect_open(client)
    assert stored(server) == ({}, {})


@pytest.mark.parametrize("topic", ["v2/t/p", "v2/a/p", "v2/r/req/p/1", "v2/r/res/p/1", "v2/a/req/p/1"])
def test_protobuf_cannot_be_read_by_a_profile_without_a_schema(server, v, topic):
    new_device(server)
    for payload in (b"", b'{"a":1}', b"\x08\x02"):
        for qos in (0, 1):
            with device_session(server, v) as client:
                client.send(v.publish(topic, payload, qos=qos) + PINGREQ)
                if qos and v.explains:
                    client.expect(v.puback(1, 0x99) + PINGRESP)
                else:
                    expect_end(client, v, 0x99)
    assert stored(server) == ({}, {})


@pytest.mark.parametrize("topic", ["v1/gateway", "v1/gateway/telemetry", "v1/gateway/connect", "v1/gatewayish"])
def test_the_api_of_gateways_is_not_even_acknowledged(server, client, v, topic):
    client.send(b"".join(v.publish(topic, b'{"a":[{"b":1}]}', qos=qos) for qos in (0, 1, 2)))
    expect_open(client)
    assert stored(server) == ({}, {})


def test_provisioning_request_is_acknowledged_and_dropped(server, client, v):
    client.send(v.request(server.profile, deviceName="a", packet_id=3))
    client.expect(v.puback(3, 0x90))
    expect_open(client)
    assert server.device_names() == ["device"]


@pytest.mark.parametrize("topic", [TELEMETRY, "v2/t", "v2/t/j"])
def test_telemetry_is_stored_in_its_three_forms(server, client, v, topic):
    client.send(
        v.publish(topic, b'{"plain":1,"none":null}')
        + v.publish(topic, b'{"ts":5,"values":{"dated":true,"plain":0}}', qos=1, packet_id=7)
        + v.publish(topic, b'[{"a":"text"},{"ts":6,"values":{"b":{"c":[1]}}},{"number":"1.50"}]', qos=2, packet_id=8)
        + v.publish(topic, b"{}", qos=1, packet_id=9)
    )
    client.expect(v.puback(7) + v.puback(8) + v.puback(9))
    telemetry, attributes = stored(server)
    assert telemetry == {"plain": 1, "dated": True, "a": "text", "b": {"c": [1]}, "number": 1.5}
    assert attributes == {}


@pytest.mark.parametrize("topic", [ATTRIBUTES, "v2/a", "v2/a/j"])
def test_attributes_are_stored(server, client, v, topic):
    client.send(
        v.publish(topic, b'{"old":1,"kept":"a b","none":null}')
        + v.publish(topic, b'{"old":{"ts":1,"values":[]}}', qos=1, packet_id=0xFFFF)
    )
    client.expect(v.puback(0xFFFF))
    assert stored(server) == ({}, {"old": {"ts": 1, "values": []}, "kept": "a b"})


def test_attributes_of_a_device_do_not_touch_those_of_the_server(server, client, v):
    client.send(v.publish(ATTRIBUTES, b'{"provisionState":"mine"}', qos=1))
    client.expect(v.puback(1))
    attributes = server.query(lambda registry: registry.device("device")).attributes
    assert attributes["CLIENT_SCOPE"] == {"provisionState": "mine"}
    assert "provisionState" not in attributes.get("SERVER_SCOPE", {})


@pytest.mark.parametrize("topic", [TELEMETRY, ATTRIBUTES])
def test_puback_waits_for_the_commit(server, client, v, topic):
    with held_back_commits(server):
        client.send(v.publish(topic, b'{"a":1}', qos=1))
        expect_silence(client)
    client.expect(v.puback(1))
    assert {"a": 1} in stored(server)


def test_everything_sent_before_the_end_of_the_stream_is_stored(server, client, v):
    client.send(b"".join(v.publish(TELEMETRY, b'{"k%d":%d}' % (n, n)) for n in range(20)) + DISCONNECT)
    client.socket.shutdown(1)
    expect_end(client, v, 0x00)
    assert stored(server)[0] == {f"k{n}": n for n in range(20)}


def test_what_follows_disconnect_is_not_handled(server, client, v):
    client.send(DISCONNECT + v.publish(TELEMETRY, b'{"a":1}', qos=1))
    expect_end(client, v, 0x00)
    assert stored(server) == ({}, {})


@pytest.mark.parametrize("topic", [TELEMETRY, ATTRIBUTES])
def test_report_of_a_deleted_device_closes_without_puback(server, client, v, topic):
    server.query(lambda registry: registry.delete_device("device"))
    client.send(v.publish(topic, b'{"a":1}', qos=1))
    expect_end(client, v, 0x98)
    assert server.device_names() == []


# SUBSCRIBE, UNSUBSCRIBE and the rest.


def test_subscribe_to_what_is_not_served_is_refused_and_the_session_stays(client, v):
    for topic in (
        *("#", "+", "v1/#", "v1/devices/+/attributes", "v2/fw/response/#", "v2/a/p", "v2/r/req/p/+"),
        *(TELEMETRY, PROVISION_REQUEST, PROVISION_RESPONSE, "v1/devices/me/rpc/request/1"),
    ):
        for qos in (0, 1, 2):
            client.send(v.subscribe(0xABCD, (topic, qos)))
            client.expect(v.suback(0xABCD, 0x8F))
    expect_open(client)


SERVED = [
    "v1/devices/me/attributes",
    "v2/a",
    "v2/a/j",
    "v1/devices/me/attributes/response/+",
    "v2/a/res/+",
    "v2/a/res/j/+",
    "v1/devices/me/rpc/request/+",
    "v2/r/req/+",
    "v2/r/req/j/+",
    "v1/devices/me/rpc/response/+",
    "v2/r/res/+",
    "v2/r/res/j/+",
    "v1/gateway/attributes",
    "v1/gateway/rpc",
    "v1/gateway/attributes/response",
    "v2/fw/response/+/chunk/+",
    "v2/fw/error",
    "v2/sw/response/+/chunk/+",
    "v2/sw/error",
]


def test_subscribe_to_what_is_served_is_granted_up_to_qos_1(client, v):
    for topic in SERVED:
        client.send(v.subscribe(1, (topic, 0), (topic, 1), ("no", 1), (topic, 2)))
        client.expect(v.suback(1, 0, 1, 0x8F, 1))


def test_subscriber_receives_nothing_of_what_devices_send(server, client, v):
    client.send(v.subscribe(1, ("v1/devices/me/attributes", 1)))
    client.expect(v.suback(1, 1))
    client.send(v.publish(ATTRIBUTES, b'{"a":1}', qos=1, packet_id=2))
    client.expect(v.puback(2))
    expect_open(client)


def test_unsubscribe_is_acknowledged(client, v):
    client.send(v.subscribe(1, *((topic, 1) for topic in SERVED)))
    client.expect(v.suback(1, *[1] * len(SERVED)))
    client.send(v.unsubscribe(2, "never/subscribed", *SERVED, SERVED[0]))
    client.expect(v.unsuback(2, 0x11, *[0] * len(SERVED), 0x11))


def test_acknowledgements_are_ignored(client, v):
    for first in (0x40, 0x50, 0x62, 0x70):
        client.send(bytes([first, 2, 0, 1]))
    expect_open(client)


def test_disconnect_closes(server, client, v):
    client.send(DISCONNECT)
    expect_end(client, v, 0x00)


def test_second_connect_logs_in_anew(server, client, v):
    new_device(server, "other", "other-token")
    client.send(v.connect(username="other-token") + v.publish(TELEMETRY, b'{"a":1}', qos=1))
    client.expect(v.accepted() + v.puback(1))
    assert stored(server) == ({}, {})
    assert stored(server, "other") == ({"a": 1}, {})
    device_id = server.query(lambda registry: registry.token_login(TOKEN)).id
    assert not server.call(lambda api: api.presence.is_connected(device_id))


def test_second_connect_that_is_refused_closes(server, client, v):
    client.send(v.connect(username="unknown") + PINGREQ)
    client.expect(v.refused(*BAD_NAME))
    client.expect_closed()


def test_second_connect_as_provision_is_a_provision_session(server, client, v):
    client.send(v.connect(username="provision") + v.request(server.profile, provisionDeviceKey="x"))
    client.expect(v.accepted() + v.puback(1) + v.answer(NOT_FOUND))


# Being taken over, and falling silent.


def test_newer_connection_takes_over_and_stays(server, client, v):
    with RawClient(server.ports.mqtt) as newer:
        newer.send(v.connect(username=TOKEN))
        newer.expect(v.accepted())
        expect_end(client, v, 0x8E)
        newer.send(v.publish(TELEMETRY, b'{"a":1}', qos=1))
        newer.expect(v.puback(1))
        assert [event["event"] for event in server.events()] == ["online", "taken_over", "online", "telemetry"]
        newer.send(DISCONNECT)
        expect_end(newer, v, 0x00)
    assert stored(server)[0] == {"a": 1}
    with RawClient(server.ports.mqtt) as last:
        last.send(v.connect(username=TOKEN) + PINGREQ)
        last.expect(v.accepted() + PINGRESP)
    assert len(server.events("taken_over")) == 1


def test_failed_login_does_not_end_a_session(server, client, v):
    with RawClient(server.ports.mqtt) as other:
        other.send(v.connect(client_id=TOKEN))
        other.expect(v.refused(*BAD_CLIENT_ID))
    expect_open(client)


def test_devices_do_not_end_each_others_sessions(server, client, v):
    new_device(server, "other", "other-token")
    with RawClient(server.ports.mqtt) as other:
        other.send(v.connect(username="other-token"))
        other.expect(v.accepted())
        expect_open(client)
        expect_open(other)


def test_report_in_flight_is_stored_when_its_connection_is_taken_over(server, client, v):
    with held_back_commits(server), RawClient(server.ports.mqtt) as newer:
        client.send(v.publish(TELEMETRY, b'{"first":1}', qos=1) + v.publish(TELEMETRY, b'{"second":2}', qos=1))
        expect_silence(client, 0.1)
        newer.send(v.connect(username=TOKEN))
        newer.expect(v.accepted())
        expect_end(client, v, 0x8E)
    with RawClient(server.ports.mqtt) as last:
        last.send(v.connect(username=TOKEN) + v.publish(TELEMETRY, b'{"third":3}', qos=1))
        last.expect(v.accepted() + v.puback(1))
    assert stored(server)[0] == {"first": 1, "third": 3}


def test_silence_of_one_and_a_half_keep_alives_closes(server, v):
    new_device(server)
    with RawClient(server.ports.mqtt) as client:
        client.send(v.connect(username=TOKEN, keep_alive=1))
        client.expect(v.accepted())
        start = time.monotonic()
        expect_end(client, v, 0x8D)
        assert 1.2 < time.monotonic() - start < 4


def test_pings_keep_the_connection_alive(server, v):
    new_device(server)
    with RawClient(server.ports.mqtt) as client:
        client.send(v.connect(username=TOKEN, keep_alive=1))
        client.expect(v.accepted())
        for _ in range(4):
            expect_silence(client, 0.5)
            expect_open(client)


def test_keep_alive_of_zero_is_none(server, client, v):
    expect_silence(client)
    expect_open(client)


def test_silence_of_any_session_is_closed_some_time(server, v, monkeypatch):
    monkeypatch.setattr("bench.server.mqtt.connection._INACTIVITY_S", 0.5)
    new_device(server)
    for keep_alive in (0, 60):
        for name in (TOKEN, "provision"):
            with RawClient(server.ports.mqtt) as client:
                client.send(v.connect(username=name, keep_alive=keep_alive))
                client.expect(v.accepted())
                expect_end(client, v, 0xA0)


def test_times_are_those_that_are_promised():
    """No test waits for as long."""
    assert (connection._INACTIVITY_S, connection._KEEP_ALIVE_GRACE) == (600, 1.5)
    assert (listener.CONNECT_DEADLINE_S, provision_session.AFTER_ANSWER_S) == (10, 60)


@pytest.mark.parametrize("why", SessionEnd)
def test_session_of_a_device_that_is_deleted_or_has_other_credentials_ends_at_once(server, client, v, why):
    new_device(server, "other", "other-token")
    with device_session(server, v, "other-token") as other:
        device = server.query(lambda registry: registry.token_login(TOKEN))
        server.call(lambda api: api.presence.notify_session_end(device.id, why))
        expect_end(client, v, 0x98)
        expect_open(other)
    with device_session(server, v) as again:
        expect_open(again)


def test_sessions_are_notified_that_the_server_shuts_down(server, client, v):
    server.close()
    expect_end(client, v, 0x8B)


# Before CONNECT. It is read as MQTT 3.1.1, because nobody said otherwise.


def test_packets_before_connect_are_handled_in_order_after_the_login(server, v):
    new_device(server)
    with RawClient(server.ports.mqtt) as client:
        client.send(OLD.publish(TELEMETRY, b'{"a":1}', qos=1, packet_id=1))
        client.send(OLD.subscribe(2, (ATTRIBUTES, 1)) + PINGREQ)
        client.send(OLD.publish(TELEMETRY, b'{"a":2}', qos=1, packet_id=3))
        expect_silence(client)
        client.send(v.connect(username=TOKEN) + v.publish(TELEMETRY, b'{"b":3}', qos=1, packet_id=4))
        client.expect(v.accepted() + v.puback(1) + v.suback(2, 1) + PINGRESP + v.puback(3) + v.puback(4))
    assert stored(server)[0] == {"a": 2, "b": 3}


def test_packets_before_a_login_that_fails_are_dropped(server, v):
    new_device(server)
    with RawClient(server.ports.mqtt) as client:
        client.send(OLD.publish(TELEMETRY, b'{"a":1}', qos=1) + v.connect(username="unknown"))
        client.expect(v.refused(*BAD_NAME))
        client.expect_closed()
    assert stored(server) == ({}, {})


@pytest.mark.parametrize(("first", "reason"), [(OLD.publish(TELEMETRY, b"?"), 0x99), (DISCONNECT, 0x00)])
def test_packets_before_connect_end_with_one_that_closes(server, v, first, reason):
    new_device(server)
    with RawClient(server.ports.mqtt) as client:
        early = OLD.publish(TELEMETRY, b'{"a":1}', qos=1, packet_id=2)
        client.send(first + early + v.connect(username=TOKEN) + PINGREQ)
        client.expect(v.accepted())
        expect_end(client, v, reason)
    assert stored(server) == ({}, {})


def test_hundred_packets_before_connect_are_kept_and_one_more_closes(server, v):
    new_device(server)
    with RawClient(server.ports.mqtt) as client:
        client.send(PINGREQ * 100 + v.connect(username=TOKEN))
        client.expect(v.accepted() + PINGRESP * 100)
    with RawClient(server.ports.mqtt) as client:
        client.send(PINGREQ * 101)
        client.expect_closed()
    with RawClient(server.ports.mqtt) as client:
        client.send(OLD.publish(TELEMETRY, b'{"a":1}') * 101 + v.connect(username=TOKEN))
        client.expect_closed()
    assert stored(server) == ({}, {})


def test_hundred_packets_before_connack_are_handled_and_one_more_closes(server, v):
    new_device(server)
    with held_back_logins(server) as looked_up, RawClient(server.ports.mqtt) as client:
        client.send(v.connect(username=TOKEN))
        assert looked_up.wait(PATIENCE_S)
        client.send(v.publish(TELEMETRY, b'{"a":1}') * 101)
        expect_end(client, v, 0x97)
    with RawClient(server.ports.mqtt) as client:
        with held_back_logins(server) as looked_up:
            client.send(PINGREQ * 50 + v.connect(username=TOKEN))
            assert looked_up.wait(PATIENCE_S)
            client.send(PINGREQ * 50)
            expect_silence(client)
        client.expect(v.accepted() + PINGRESP * 100)
    assert stored(server) == ({}, {})


def test_packets_in_the_segment_of_connect_are_counted_but_not_those_of_a_provision_session(server, v):
    new_device(server)
    with RawClient(server.ports.mqtt) as client:
        client.send(v.connect(username=TOKEN) + PINGREQ * 101)
        expect_end(client, v, 0x97)
    with RawClient(server.ports.mqtt) as client:
        client.send(v.connect(username="provision") + PINGREQ * 200)
        client.expect(v.accepted() + PINGRESP * 200)


def test_packets_before_connect_have_a_limit_in_bytes_too(server, v):
    with RawClient(server.ports.mqtt) as client:
        client.send(OLD.publish("a", bytes(40_000)))
        expect_silence(client)
        client.send(OLD.publish("a", bytes(40_000)))
        client.expect_closed()


def test_provision_session_answers_while_a_device_is_online(server, client, v):
    with RawClient(server.ports.mqtt) as other:
        other.send(v.connect(username="provision") + v.request(server.profile, provisionDeviceKey="x"))
        other.expect(v.accepted() + v.puback(1) + v.answer(NOT_FOUND))
    expect_open(client)


def test_login_that_the_registry_cannot_answer_is_answered_unavailable(server, monkeypatch, v):
    async def fail(_self, _token):
        raise OSError("the disk is gone")

    monkeypatch.setattr(type(server.registry), "login", fail)
    with RawClient(server.ports.mqtt) as client:
        client.send(v.connect(username="a token"))
        client.expect(v.refused(3, 0x88, 0x89))
        client.expect_closed()
    failure = server.wait_for("failure")
    assert failure["kind"] == "OSError"
    assert "disk" not in str(failure)


# What happens while a login is being decided.


def test_connection_that_is_lost_while_it_logs_in_leaves_no_listener_behind(server, v):
    new_device(server)
    with held_back_logins(server) as looked_up:
        with RawClient(server.ports.mqtt) as lost:
            lost.send(v.connect(username=TOKEN))
            assert looked_up.wait(PATIENCE_S)
            lost.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        while 'firstboot_connections{transport="mqtt"} 0.0' not in server.call(lambda api: api.metrics.text().decode()):
            pass
    server.wait_for("offline", device="device")
    assert not server.api.presence._devices


def test_login_whose_token_is_replaced_before_it_is_let_in_is_refused(server, v):
    new_device(server)
    device_id = server.query(lambda registry: registry.token_login(TOKEN)).id
    other = credentials.access_token("another-token")
    with RawClient(server.ports.mqtt) as client:
        with held_back_logins(server) as looked_up:
            client.send(v.connect(username=TOKEN))
            assert looked_up.wait(PATIENCE_S)
            server.query(lambda registry: registry.write(devices.set_credentials, device_id, other))
            server.call(lambda api: api.presence.notify_session_end(device_id, SessionEnd.CREDENTIALS_CHANGED))
        client.expect(v.refused(*BAD_NAME))
        client.expect_closed()


def test_device_that_does_not_read_its_updates_is_cut_off(server, v):
    """Updates pile up nowhere: 20 MB are not waited for."""
    new_device(server)
    with RawClient(server.ports.mqtt) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(v.connect(username=TOKEN) + v.subscribe(1, (ATTRIBUTES, 1)))
        client.expect(v.accepted() + v.suback(1, 1))
        device = server.query(lambda registry: registry.token_login(TOKEN))
        sent = 0
        while server.call(lambda api: api.presence.is_connected(device.id)):
            server.call(lambda api: api.presence.notify_attributes(device.id, {"a": "x" * 100_000}, []))
            sent += 100_000
            assert sent < 20_000_000
        assert sent > 1 << 20
