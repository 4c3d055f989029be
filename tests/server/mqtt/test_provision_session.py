"""A provision session, row by row of its table for each version: raw packets in, exact packets out."""

import json
from contextlib import contextmanager

import pytest

from bench.registry.provision_type import ProvisionType
from bench.server.limits import Rules
from tests.support.mqtt_packets import (
    DISCONNECT,
    FAILURE,
    NOT_FOUND,
    PINGREQ,
    PINGRESP,
    PROVISION_REQUEST,
    PROVISION_RESPONSE,
    TELEMETRY,
    VERSIONS,
    connect,
    expect_end,
    expect_open,
    expect_silence,
    held_back_commits,
    request_body,
    success,
)
from tests.support.raw_client import RawClient

OLD, NEW = VERSIONS.values()


@contextmanager
def provision_session(server, v):
    with RawClient(server.ports.mqtt) as client:
        client.send(v.connect(username="provision"))
        client.expect(v.accepted())
        yield client


@pytest.fixture
def client(server, v):
    """A client in a provision session."""
    with provision_session(server, v) as client:
        yield client


# Entering it.


@pytest.mark.parametrize("name", ["Provision", "PROVISION", " provision", "provision ", "provisio", "provision\n"])
def test_connect_with_a_name_that_is_not_exactly_provision_is_refused(shared_server, v, name):
    with RawClient(shared_server.ports.mqtt) as client:
        client.send(v.connect(client_id=name, username=name))
        client.expect(v.refused(5, 0x86))
        client.expect_closed()


def test_connect_with_provision_as_password_only_is_refused(shared_server, v):
    with RawClient(shared_server.ports.mqtt) as client:
        client.send(v.connect(password=b"provision"))
        client.expect(v.refused(5, 0x86))
        client.expect_closed()


@pytest.mark.parametrize(
    "names",
    [
        {"username": "provision"},
        {"client_id": "", "username": "provision"},
        {"client_id": "provision"},
        {"client_id": "provision", "username": "someone"},
        {"client_id": "provision", "username": "provision", "password": b"ignored"},
        {"username": "provision", "will": ("topic", b"ignored"), "keep_alive": 1},
    ],
)
def test_connect_as_provision_is_accepted_and_session_present_is_not_clean(shared_server, v, names):
    for clean in (True, False):
        with RawClient(shared_server.ports.mqtt) as client:
            client.send(v.connect(clean=clean, **names))
            client.expect(v.accepted(session_present=not clean))
            client.send(v.request(shared_server.profile, provisionDeviceSecret="wrong"))
            client.expect(v.puback(1) + v.answer(NOT_FOUND))


def test_connect_as_provision_over_mqtt_3_1_is_accepted(shared_server):
    with RawClient(shared_server.ports.mqtt) as client:
        client.send(connect(username="provision", protocol="MQIsdp", level=3))
        client.send(OLD.request(shared_server.profile, provisionDeviceSecret="wrong"))
        client.expect(OLD.accepted() + OLD.puback(1) + OLD.answer(NOT_FOUND))


def test_connect_as_provision_is_no_login_even_if_a_device_has_that_token(server, v):
    profile = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    server.query(lambda registry: registry.create_device("a", profile.name, token="provision"))
    with RawClient(server.ports.mqtt) as client:
        client.send(v.connect(username="provision") + v.publish(TELEMETRY, b'{"a":1}', qos=1, packet_id=3))
        client.expect(v.accepted() + v.puback(3, 0x90))
        expect_end(client, v, 0x90)
    assert server.query(lambda registry: registry.device("a")).telemetry == {}


def test_keep_alive_is_not_enforced_in_a_provision_session(server, v):
    with RawClient(server.ports.mqtt) as client:
        client.send(v.connect(username="provision", keep_alive=1))
        client.expect(v.accepted())
        expect_silence(client, 3)
        expect_open(client)


def test_publish_before_connect_is_not_handled_by_a_provision_session(server, v):
    with RawClient(server.ports.mqtt) as client:
        # what comes before CONNECT is read as MQTT 3.1.1
        client.send(OLD.request(server.profile, deviceName="early") + v.connect(username="provision") + PINGREQ)
        client.expect(v.accepted() + PINGRESP)
    assert server.device_names() == []


# SUBSCRIBE and UNSUBSCRIBE.


def test_subscribe_to_anything_else_is_refused_and_the_session_stays(client, v):
    for topic in (
        "#",
        "+",
        "/provision/#",
        "/provision/+",
        "/provision/request",
        "provision/response",
        "/provision/response/",
        "/Provision/Response",
        "v1/devices/me/attributes",
    ):
        for qos in (0, 1, 2):
            client.send(v.subscribe(9, (topic, qos)))
            client.expect(v.suback(9, 0x8F))
    expect_open(client)


def test_subscribe_to_the_response_is_granted_up_to_qos_1(client, v):
    for requested, granted in ((0, 0), (1, 1), (2, 1)):
        client.send(v.subscribe(7, (PROVISION_RESPONSE, requested)))
        client.expect(v.suback(7, granted))
    expect_open(client)


def test_subscribe_to_many_filters_answers_each(client, v):
    client.send(v.subscribe(8, ("#", 1), (PROVISION_RESPONSE, 2), ("a", 0), (PROVISION_RESPONSE, 0)))
    client.expect(v.suback(8, 0x8F, 1, 0x8F, 0))


def test_unsubscribe_from_anything_is_acknowledged(client, v):
    client.send(v.unsubscribe(5, "never/subscribed", PROVISION_RESPONSE))
    client.expect(v.unsuback(5, 0x11, 0x11))
    client.send(v.subscribe(6, (PROVISION_RESPONSE, 0)) + v.unsubscribe(7, "#", PROVISION_RESPONSE, PROVISION_RESPONSE))
    client.expect(v.suback(6, 0) + v.unsuback(7, 0x11, 0x00, 0x11))
    expect_open(client)


# PINGREQ, DISCONNECT, and packets of no meaning here.


def test_pingreq_is_answered(client):
    client.send(PINGREQ * 3)
    client.expect(PINGRESP * 3)


def test_disconnect_closes(client, v):
    client.send(DISCONNECT)
    expect_end(client, v, 0x00)


def test_what_follows_disconnect_is_not_handled(server, client, v):
    client.send(DISCONNECT + v.request(server.profile, deviceName="late"))
    expect_end(client, v, 0x00)
    assert server.device_names() == []


def test_acknowledgements_are_ignored(client):
    for first in (0x40, 0x50, 0x62, 0x70):
        client.send(bytes([first, 2, 0, 1]))
    expect_open(client)


# PUBLISH that is not a request.


@pytest.mark.parametrize("topic", [TELEMETRY, PROVISION_RESPONSE, "provision/request", "/provision/request/", "a"])
def test_publish_to_another_topic_is_acknowledged_then_closes(shared_server, v, topic):
    for qos in (1, 2):
        with provision_session(shared_server, v) as client:
            client.send(v.publish(topic, b"{}", qos=qos, packet_id=0x1234) + PINGREQ)
            client.expect(v.puback(0x1234, 0x90))
            expect_end(client, v, 0x90)


def test_publish_to_another_topic_with_qos_0_closes(shared_server, v):
    with provision_session(shared_server, v) as client:
        client.send(v.publish(TELEMETRY, b"{}") + PINGREQ)
        expect_end(client, v, 0x90)


def test_publish_to_another_topic_ends_the_session_for_a_request_behind_it(shared_server, v):
    with provision_session(shared_server, v) as client:
        client.send(v.publish("a", qos=1) + v.request(shared_server.profile, packet_id=2, deviceName="late"))
        client.expect(v.puback(1, 0x90))
        expect_end(client, v, 0x90)
    assert shared_server.device_names() == []


ADAPTOR_CLASS = [
    b"{",
    b'{"deviceName":',
    b"[]",
    b"null",
    b"123",
    b'"text"',
    b"hello",
    b"{} {}",
    b"{},",
    b'{"a":1,}',
    b"\xff\xfe",
    b"\x08\x02",
    b"[" * 20000,
    b'{"deviceName":["a","b"]}',
    b'{"deviceName":[]}',
    b'{"deviceName":"\\ud800"}',
]


@pytest.mark.parametrize("body", ADAPTOR_CLASS, ids=range(len(ADAPTOR_CLASS)))
def test_request_that_is_not_the_form_closes_without_puback_or_is_explained(shared_server, v, body):
    for qos in (0, 1, 2):
        with provision_session(shared_server, v) as client:
            client.send(v.publish(PROVISION_REQUEST, body, qos=qos, packet_id=7) + PINGREQ)
            if qos and v.explains:
                client.expect(v.puback(7, 0x99) + PINGRESP)
            else:
                expect_end(client, v, 0x99)
    assert shared_server.device_names() == []


NOT_FOUND_IN_PROTOBUF = b"\x08\x02"


@pytest.mark.parametrize("qos", [0, 1])
def test_empty_request_is_protobuf_and_so_are_all_answers_behind_it(server, v, qos):
    with provision_session(server, v) as client:
        acknowledged = v.puback if qos else lambda _: b""
        client.send(v.publish(PROVISION_REQUEST, b"", qos=qos, packet_id=7))
        client.expect(acknowledged(7) + v.answer(NOT_FOUND_IN_PROTOBUF))
        client.send(v.request(server.profile, qos=qos, deviceName="a", token="A1"))
        client.expect(acknowledged(1) + v.answer(b"\x08\x01\x1a\x02A1", packet_id=2))
        client.send(v.request(server.profile, qos=qos, deviceName="a", token="A2"))
        client.expect(acknowledged(1) + v.answer(b"\x08\x03", packet_id=3))
        basic = {"credentialsType": "MQTT_BASIC", "username": "u" * 100, "password": "p"}
        client.send(v.request(server.profile, qos=qos, deviceName="b", **basic))
        value = b'{"clientId":"","userName":"%s","password":"p"}' % (b"u" * 100)
        message = b"\x08\x01\x10\x02\x1a" + bytes([len(value) & 0x7F | 0x80, len(value) >> 7]) + value
        client.expect(acknowledged(1) + v.answer(message, packet_id=4))


def test_session_goes_on_after_a_request_that_was_explained(server):
    with provision_session(server, NEW) as client:
        client.send(NEW.publish(PROVISION_REQUEST, b"{", qos=1, packet_id=7) + NEW.request(server.profile, token="A1"))
        client.expect(NEW.puback(7, 0x99) + NEW.puback(1) + NEW.answer(success("A1")))


RUNTIME_CLASS = [
    {"provisionDeviceKey": ...},
    {"provisionDeviceSecret": ...},
    {"provisionDeviceKey": ..., "provisionDeviceSecret": ...},
    {"provisionDeviceKey": None},
    {"provisionDeviceSecret": None},
    {"deviceName": None},
    {"deviceName": {}},
    {"deviceName": [None]},
    {"token": None},
    {"gateway": None},
    {"credentialsType": "access_token"},
    {"credentialsType": "BASIC"},
    {"credentialsType": ""},
    {"credentialsType": None},
    {"credentialsType": "BASIC", "token": []},  # the first thing wrong decides
]


@pytest.mark.parametrize("fields", RUNTIME_CLASS, ids=range(len(RUNTIME_CLASS)))
def test_request_with_a_bad_field_is_acknowledged_then_closes(shared_server, v, fields):
    for qos in (1, 2):
        with provision_session(shared_server, v) as client:
            client.send(v.request(shared_server.profile, qos=qos, packet_id=77, **fields) + PINGREQ)
            client.expect(v.puback(77, 0x83))
            expect_end(client, v, 0x83)
    with provision_session(shared_server, v) as client:
        client.send(v.request(shared_server.profile, qos=0, **fields) + PINGREQ)
        expect_end(client, v, 0x83)
    assert shared_server.device_names() == []


def test_request_that_the_registry_cannot_decide_is_acknowledged_then_closes(server, client, v):
    async def fail(*_request):
        raise RuntimeError("no disk")

    server.registry.provision = fail
    client.send(v.request(server.profile, packet_id=4) + PINGREQ)
    client.expect(v.puback(4, 0x83))
    expect_end(client, v, 0x83)
    assert [event["kind"] for event in server.events("failure")] == ["RuntimeError"]


def test_request_of_a_caller_that_was_wrong_too_often_is_acknowledged_then_closes(start_server, v):
    server = start_server(limits=Rules(per_caller=2))
    with provision_session(server, v) as client:
        for packet_id in (1, 2):
            client.send(v.request(server.profile, packet_id=packet_id, deviceName="a", provisionDeviceSecret="wrong"))
            client.expect(v.puback(packet_id) + v.answer(NOT_FOUND, packet_id=packet_id))
        client.send(v.request(server.profile, packet_id=3, deviceName="a") + PINGREQ)
        client.expect(v.puback(3, 0x97))
        expect_end(client, v, 0x97)
    with provision_session(server, v) as client:
        client.send(v.request(server.profile, qos=0, deviceName="a") + PINGREQ)
        expect_end(client, v, 0x97)
    assert server.device_names() == []


# PUBLISH that is a request, and its answer.


@pytest.mark.parametrize("wrong", [{"provisionDeviceKey": "x"}, {"provisionDeviceSecret": "x"}])
def test_wrong_key_and_wrong_secret_are_answered_not_found(server, client, v, wrong):
    client.send(v.request(server.profile, deviceName="a", **wrong))
    client.expect(v.puback(1) + v.answer(NOT_FOUND))
    expect_open(client)
    assert server.device_names() == []


def test_name_that_is_taken_is_answered_failure(server, client, v):
    client.send(v.request(server.profile, deviceName="a", token="A1"))
    client.expect(v.puback(1) + v.answer(success("A1")))
    client.send(v.request(server.profile, deviceName="a", token="A2", packet_id=2))
    client.expect(v.puback(2) + v.answer(FAILURE, packet_id=2))
    assert server.device_names() == ["a"]
    assert server.query(lambda registry: registry.device("a")).credentials.id == "A1"


def test_success_carries_the_token_that_was_requested(server, client, v):
    client.send(v.request(server.profile, deviceName="a", token="Chosen#1"))
    client.expect(v.puback(1) + v.answer(success("Chosen#1")))
    assert server.query(lambda registry: registry.device("a")).credentials.id == "Chosen#1"


def test_success_carries_a_new_token_if_none_was_requested(server, client, v):
    client.send(v.request(server.profile, deviceName="a"))
    client.expect(v.puback(1))
    expected = v.answer(success("x" * 20))
    got = client.read(len(expected))
    body = got[-len(success("x" * 20)) :]
    token = json.loads(body)["credentialsValue"]
    assert got == v.answer(success(token))
    assert server.query(lambda registry: registry.device("a")).credentials.id == token


def test_pre_provisioned_device_gets_its_own_token_once(server, client, v):
    profile = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    server.query(lambda registry: registry.create_device("a", profile.name, token="ahead"))
    client.send(v.request(profile, deviceName="a", token="ignored", gateway=True))
    client.expect(v.puback(1) + v.answer(success("ahead")))
    client.send(v.request(profile, deviceName="a", packet_id=2))
    client.expect(v.puback(2) + v.answer(FAILURE, packet_id=2))


@pytest.mark.parametrize(("requested", "granted"), [(0, 0), (1, 1), (2, 1)])
def test_answer_has_the_granted_qos(server, client, v, requested, granted):
    client.send(v.subscribe(1, (PROVISION_RESPONSE, requested)))
    client.expect(v.suback(1, granted))
    client.send(v.request(server.profile, provisionDeviceKey="x", packet_id=2))
    client.expect(v.puback(2) + v.answer(NOT_FOUND, qos=granted))


def test_packet_ids_of_answers_count_those_with_qos_0_too(server, client, v):
    client.send(v.subscribe(1, (PROVISION_RESPONSE, 0)) + v.request(server.profile, provisionDeviceKey="x"))
    client.expect(v.suback(1, 0) + v.puback(1) + v.answer(NOT_FOUND, qos=0))
    client.send(v.subscribe(2, (PROVISION_RESPONSE, 1)) + v.request(server.profile, provisionDeviceKey="x"))
    client.expect(v.suback(2, 1) + v.puback(1) + v.answer(NOT_FOUND, packet_id=2))


def test_answer_has_qos_1_after_a_refused_subscription(server, client, v):
    client.send(v.subscribe(1, ("#", 0)))
    client.expect(v.suback(1, 0x8F))
    client.send(v.request(server.profile, provisionDeviceKey="x", packet_id=2))
    client.expect(v.puback(2) + v.answer(NOT_FOUND))


def test_answer_has_qos_1_again_after_unsubscribe(server, client, v):
    client.send(v.subscribe(1, (PROVISION_RESPONSE, 0)) + v.unsubscribe(2, PROVISION_RESPONSE))
    client.expect(v.suback(1, 0) + v.unsuback(2, 0x00))
    client.send(v.request(server.profile, provisionDeviceKey="x", packet_id=3))
    client.expect(v.puback(3) + v.answer(NOT_FOUND))


def test_request_with_qos_0_is_answered_without_puback(server, client, v):
    client.send(v.request(server.profile, qos=0, provisionDeviceKey="x"))
    client.expect(v.answer(NOT_FOUND))
    expect_open(client)


def test_request_with_qos_2_is_acknowledged_with_puback(server, client, v):
    client.send(v.request(server.profile, qos=2, packet_id=6, provisionDeviceKey="x"))
    client.expect(v.puback(6) + v.answer(NOT_FOUND))
    expect_open(client)


@pytest.mark.parametrize("flags", [0x01, 0x08, 0x09])
def test_request_that_is_retained_or_repeated_is_answered_all_the_same(server, client, v, flags):
    client.send(v.publish(PROVISION_REQUEST, request_body(server.profile, token="A1"), qos=1, flags=flags))
    client.expect(v.puback(1) + v.answer(success("A1")))


def test_requests_of_one_session_are_answered_in_order_with_packet_ids_from_1(server, client, v):
    client.send(b"".join(v.request(server.profile, token=f"T{n}", packet_id=100 + n) for n in range(1, 6)))
    for n in range(1, 6):
        client.expect(v.puback(100 + n) + v.answer(success(f"T{n}"), packet_id=n))
    assert len(server.device_names()) == 5


def test_puback_for_an_answer_is_taken_and_nothing_is_sent_again(server, client, v):
    client.send(v.request(server.profile, provisionDeviceKey="x"))
    client.expect(v.puback(1) + v.answer(NOT_FOUND))
    client.send(v.puback(1))
    expect_open(client)


def test_answer_and_puback_wait_for_the_commit(server, client, v):
    with held_back_commits(server):
        client.send(v.request(server.profile, deviceName="a", token="A1"))
        expect_silence(client)
    client.expect(v.puback(1) + v.answer(success("A1")))


def test_request_followed_by_the_end_of_the_stream_is_answered(server, client, v):
    client.send(v.request(server.profile, deviceName="a", token="A1") + v.request(server.profile, token="A2"))
    client.socket.shutdown(1)
    client.expect(v.puback(1) + v.answer(success("A1")))
    client.expect(v.puback(1) + v.answer(success("A2"), packet_id=2))
    client.expect_closed()


def test_answer_reaches_no_other_connection_of_the_same_subscription(server, client, v):
    with RawClient(server.ports.mqtt) as other:
        other.send(v.connect(client_id="provision") + v.subscribe(1, (PROVISION_RESPONSE, 1)))
        other.expect(v.accepted() + v.suback(1, 1))
        client.send(v.subscribe(1, (PROVISION_RESPONSE, 1)))
        client.expect(v.suback(1, 1))
        client.send(v.request(server.profile, token="A1"))
        client.expect(v.puback(1) + v.answer(success("A1")))
        expect_open(other)


def test_session_is_closed_some_time_after_an_answer(server, v, monkeypatch):
    monkeypatch.setattr("bench.server.mqtt.provision_session.AFTER_ANSWER_S", 0.1)
    with provision_session(server, v) as quiet, provision_session(server, v) as client:
        client.send(v.request(server.profile, provisionDeviceKey="x"))
        client.expect(v.puback(1) + v.answer(NOT_FOUND))
        client.expect_closed()  # and MQTT 5 is not told why
        expect_open(quiet)


# A second CONNECT.


@pytest.mark.parametrize("clean", [True, False])
def test_second_connect_with_a_token_is_accepted_but_stays_a_provision_session(server, client, v, clean):
    client.send(v.request(server.profile, deviceName="a", token="A1"))
    client.expect(v.puback(1) + v.answer(success("A1")))
    client.send(v.connect(username="A1", clean=clean))
    client.expect(v.accepted(session_present=not clean))
    client.send(v.publish(TELEMETRY, b'{"a":1}', qos=1, packet_id=2) + PINGREQ)
    client.expect(v.puback(2, 0x90))
    expect_end(client, v, 0x90)
    assert server.query(lambda registry: registry.device("a")).telemetry == {}


def test_second_connect_does_not_restart_the_packet_ids(server, client, v):
    client.send(v.request(server.profile, provisionDeviceKey="x"))
    client.expect(v.puback(1) + v.answer(NOT_FOUND))
    client.send(v.connect(username="provision") + v.request(server.profile, provisionDeviceKey="x", packet_id=2))
    client.expect(v.accepted() + v.puback(2) + v.answer(NOT_FOUND, packet_id=2))


def test_second_connect_of_another_version_changes_the_language(server, client, v):
    other = OLD if v is NEW else NEW
    client.send(other.connect(username="provision") + other.publish("a", qos=1))
    client.expect(other.accepted() + other.puback(1, 0x90))
    expect_end(client, other, 0x90)
