"""A provision session over MQTT 3.1.1, row by row of its table: raw packets in, exact packets out."""

import json
from contextlib import contextmanager

import pytest

from bench.registry import ProvisionType
from tests.server.packets import (
    DISCONNECT,
    FAILURE,
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
    request_body,
    suback,
    subscribe,
    success,
    unsuback,
    unsubscribe,
)
from tests.support import RawClient


@contextmanager
def provision_session(server):
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username="provision"))
        client.expect(connack(0))
        yield client


@pytest.fixture
def client(server):
    """A client in a provision session."""
    with provision_session(server) as client:
        yield client


def answer(body: bytes, *, qos: int = 1, packet_id: int = 1) -> bytes:
    return publish(PROVISION_RESPONSE, body, qos=qos, packet_id=packet_id)


# Entering it.


@pytest.mark.parametrize("name", ["Provision", "PROVISION", " provision", "provision ", "provisio", "provision\n"])
def test_connect_with_a_name_that_is_not_exactly_provision_is_refused(shared_server, name):
    with RawClient(shared_server.ports.mqtt) as client:
        client.send(connect(client_id=name, username=name))
        client.expect(connack(5))
        client.expect_closed()


def test_connect_with_provision_as_password_only_is_refused(shared_server):
    with RawClient(shared_server.ports.mqtt) as client:
        client.send(connect(password=b"provision"))
        client.expect(connack(5))
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
        {"username": "provision", "protocol": "MQIsdp", "level": 3},
    ],
)
def test_connect_as_provision_is_accepted_and_session_present_is_not_clean(shared_server, names):
    for clean in (True, False):
        with RawClient(shared_server.ports.mqtt) as client:
            client.send(connect(clean=clean, **names))
            client.expect(connack(0, session_present=not clean))
            client.send(request(shared_server.profile, provisionDeviceSecret="wrong"))
            client.expect(puback(1) + answer(NOT_FOUND))


def test_connect_as_provision_is_no_login_even_if_a_device_has_that_token(server):
    profile = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    server.ask(lambda registry: registry.create_device("a", profile.name, token="provision"))
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username="provision") + publish(TELEMETRY, b'{"a":1}', qos=1, packet_id=3))
        client.expect(connack(0) + puback(3))
        client.expect_closed()
    assert server.ask(lambda registry: registry.device("a")).telemetry == {}


def test_keep_alive_is_not_enforced_in_a_provision_session(server):
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username="provision", keep_alive=1))
        client.expect(connack(0))
        expect_silence(client, 2)
        expect_open(client)


def test_publish_before_connect_is_not_handled_by_a_provision_session(server):
    with RawClient(server.ports.mqtt) as client:
        client.send(request(server.profile, deviceName="early") + connect(username="provision") + PINGREQ)
        client.expect(connack(0) + PINGRESP)
    assert server.device_names() == []


# SUBSCRIBE and UNSUBSCRIBE.


def test_subscribe_to_anything_else_is_refused_and_the_session_stays(client):
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
            client.send(subscribe(9, (topic, qos)))
            client.expect(suback(9, 0x80))
    expect_open(client)


def test_subscribe_to_the_response_is_granted_up_to_qos_1(client):
    for asked, granted in ((0, 0), (1, 1), (2, 1)):
        client.send(subscribe(7, (PROVISION_RESPONSE, asked)))
        client.expect(suback(7, granted))
    expect_open(client)


def test_subscribe_to_many_filters_answers_each(client):
    client.send(subscribe(8, ("#", 1), (PROVISION_RESPONSE, 2), ("a", 0), (PROVISION_RESPONSE, 0)))
    client.expect(suback(8, 0x80, 1, 0x80, 0))


def test_unsubscribe_from_anything_is_acknowledged(client):
    client.send(unsubscribe(5, "never/subscribed", PROVISION_RESPONSE))
    client.expect(unsuback(5))
    expect_open(client)


# PINGREQ, DISCONNECT, and packets of no meaning here.


def test_pingreq_is_answered(client):
    client.send(PINGREQ * 3)
    client.expect(PINGRESP * 3)


def test_disconnect_closes_without_a_word(client):
    client.send(DISCONNECT)
    client.expect_closed()


def test_what_follows_disconnect_is_not_handled(server, client):
    client.send(DISCONNECT + request(server.profile, deviceName="late"))
    client.expect_closed()
    assert server.device_names() == []


def test_acknowledgements_are_ignored(client):
    for first in (0x40, 0x50, 0x62, 0x70):
        client.send(bytes([first, 2, 0, 1]))
    expect_open(client)


# PUBLISH that is not a request.


@pytest.mark.parametrize("topic", [TELEMETRY, PROVISION_RESPONSE, "provision/request", "/provision/request/", "a"])
def test_publish_to_another_topic_is_acknowledged_then_closes(shared_server, topic):
    for qos in (1, 2):
        with provision_session(shared_server) as client:
            client.send(publish(topic, b"{}", qos=qos, packet_id=0x1234) + PINGREQ)
            client.expect(puback(0x1234))
            client.expect_closed()


def test_publish_to_another_topic_with_qos_0_closes(shared_server):
    with provision_session(shared_server) as client:
        client.send(publish(TELEMETRY, b"{}") + PINGREQ)
        client.expect_closed()


def test_publish_to_another_topic_ends_the_session_for_a_request_behind_it(shared_server):
    with provision_session(shared_server) as client:
        client.send(publish("a", qos=1) + request(shared_server.profile, packet_id=2, deviceName="late"))
        client.expect(puback(1))
        client.expect_closed()
    assert shared_server.device_names() == []


ADAPTOR_CLASS = [
    b"",
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
def test_request_that_is_not_the_form_closes_without_puback(shared_server, body):
    for qos in (0, 1, 2):
        with provision_session(shared_server) as client:
            client.send(publish(PROVISION_REQUEST, body, qos=qos) + PINGREQ)
            client.expect_closed()
    assert shared_server.device_names() == []


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
def test_request_with_a_bad_field_is_acknowledged_then_closes(shared_server, fields):
    for qos in (1, 2):
        with provision_session(shared_server) as client:
            client.send(request(shared_server.profile, qos=qos, packet_id=77, **fields) + PINGREQ)
            client.expect(puback(77))
            client.expect_closed()
    with provision_session(shared_server) as client:
        client.send(request(shared_server.profile, qos=0, **fields) + PINGREQ)
        client.expect_closed()
    assert shared_server.device_names() == []


def test_request_that_the_registry_cannot_decide_is_acknowledged_then_closes(server, client):
    async def fail(*_request):
        raise RuntimeError("no disk")

    server.registry.provision = fail
    client.send(request(server.profile, packet_id=4) + PINGREQ)
    client.expect(puback(4))
    client.expect_closed()
    assert [event["kind"] for event in server.events("failure")] == ["RuntimeError"]


# PUBLISH that is a request, and its answer.


@pytest.mark.parametrize("wrong", [{"provisionDeviceKey": "x"}, {"provisionDeviceSecret": "x"}])
def test_wrong_key_and_wrong_secret_are_answered_not_found(server, client, wrong):
    client.send(request(server.profile, deviceName="a", **wrong))
    client.expect(puback(1) + answer(NOT_FOUND))
    expect_open(client)
    assert server.device_names() == []


def test_name_that_is_taken_is_answered_failure(server, client):
    client.send(request(server.profile, deviceName="a", token="A1"))
    client.expect(puback(1) + answer(success("A1")))
    client.send(request(server.profile, deviceName="a", token="A2", packet_id=2))
    client.expect(puback(2) + answer(FAILURE, packet_id=2))
    assert server.device_names() == ["a"]
    assert server.ask(lambda registry: registry.device("a")).credentials.id == "A1"


def test_success_carries_the_token_that_was_asked_for(server, client):
    client.send(request(server.profile, deviceName="a", token="Chosen#1"))
    client.expect(puback(1) + answer(success("Chosen#1")))
    assert server.ask(lambda registry: registry.device("a")).credentials.id == "Chosen#1"


def test_success_carries_a_new_token_if_none_was_asked_for(server, client):
    client.send(request(server.profile, deviceName="a"))
    client.expect(puback(1))
    expected = answer(success("x" * 20))
    got = client.read(len(expected))
    body = got[-len(success("x" * 20)) :]
    token = json.loads(body)["credentialsValue"]
    assert got == answer(success(token))
    assert server.ask(lambda registry: registry.device("a")).credentials.id == token


def test_pre_provisioned_device_gets_its_own_token_once(server, client):
    profile = server.new_profile(ProvisionType.CHECK_PRE_PROVISIONED_DEVICES)
    server.ask(lambda registry: registry.create_device("a", profile.name, token="ahead"))
    client.send(request(profile, deviceName="a", token="ignored", gateway=True))
    client.expect(puback(1) + answer(success("ahead")))
    client.send(request(profile, deviceName="a", packet_id=2))
    client.expect(puback(2) + answer(FAILURE, packet_id=2))


@pytest.mark.parametrize(("asked", "granted"), [(0, 0), (1, 1), (2, 1)])
def test_answer_has_the_granted_qos(server, client, asked, granted):
    client.send(subscribe(1, (PROVISION_RESPONSE, asked)))
    client.expect(suback(1, granted))
    client.send(request(server.profile, provisionDeviceKey="x", packet_id=2))
    client.expect(puback(2) + answer(NOT_FOUND, qos=granted))


def test_answer_has_qos_1_after_a_refused_subscription(server, client):
    client.send(subscribe(1, ("#", 0)))
    client.expect(suback(1, 0x80))
    client.send(request(server.profile, provisionDeviceKey="x", packet_id=2))
    client.expect(puback(2) + answer(NOT_FOUND))


def test_answer_has_qos_1_again_after_unsubscribe(server, client):
    client.send(subscribe(1, (PROVISION_RESPONSE, 0)) + unsubscribe(2, PROVISION_RESPONSE))
    client.expect(suback(1, 0) + unsuback(2))
    client.send(request(server.profile, provisionDeviceKey="x", packet_id=3))
    client.expect(puback(3) + answer(NOT_FOUND))


def test_request_with_qos_0_is_answered_without_puback(server, client):
    client.send(request(server.profile, qos=0, provisionDeviceKey="x"))
    client.expect(answer(NOT_FOUND))
    expect_open(client)


def test_request_with_qos_2_is_acknowledged_with_puback(server, client):
    client.send(request(server.profile, qos=2, packet_id=6, provisionDeviceKey="x"))
    client.expect(puback(6) + answer(NOT_FOUND))
    expect_open(client)


@pytest.mark.parametrize("flags", [0x01, 0x08, 0x09])
def test_request_that_is_retained_or_repeated_is_answered_all_the_same(server, client, flags):
    client.send(publish(PROVISION_REQUEST, request_body(server.profile, token="A1"), qos=1, flags=flags))
    client.expect(puback(1) + answer(success("A1")))


def test_requests_of_one_session_are_answered_in_order_with_packet_ids_from_1(server, client):
    client.send(b"".join(request(server.profile, token=f"T{n}", packet_id=100 + n) for n in range(1, 6)))
    for n in range(1, 6):
        client.expect(puback(100 + n) + answer(success(f"T{n}"), packet_id=n))
    assert len(server.device_names()) == 5


def test_puback_for_an_answer_is_taken_and_nothing_is_sent_again(server, client):
    client.send(request(server.profile, provisionDeviceKey="x"))
    client.expect(puback(1) + answer(NOT_FOUND))
    client.send(puback(1))
    expect_open(client)


def test_answer_and_puback_wait_for_the_commit(server, client):
    with held_back_commits(server):
        client.send(request(server.profile, deviceName="a", token="A1"))
        expect_silence(client)
    client.expect(puback(1) + answer(success("A1")))


def test_request_followed_by_the_end_of_the_stream_is_answered(server, client):
    client.send(request(server.profile, deviceName="a", token="A1") + request(server.profile, token="A2", packet_id=2))
    client.socket.shutdown(1)
    client.expect(puback(1) + answer(success("A1")))
    client.expect(puback(2) + answer(success("A2"), packet_id=2))
    client.expect_closed()


def test_answer_reaches_no_other_connection_of_the_same_subscription(server, client):
    with RawClient(server.ports.mqtt) as other:
        other.send(connect(client_id="provision") + subscribe(1, (PROVISION_RESPONSE, 1)))
        other.expect(connack(0) + suback(1, 1))
        client.send(subscribe(1, (PROVISION_RESPONSE, 1)))
        client.expect(suback(1, 1))
        client.send(request(server.profile, token="A1"))
        client.expect(puback(1) + answer(success("A1")))
        expect_open(other)


# A second CONNECT.


@pytest.mark.parametrize("clean", [True, False])
def test_second_connect_with_a_token_is_accepted_but_stays_a_provision_session(server, client, clean):
    client.send(request(server.profile, deviceName="a", token="A1"))
    client.expect(puback(1) + answer(success("A1")))
    client.send(connect(username="A1", clean=clean))
    client.expect(connack(0, session_present=not clean))
    client.send(publish(TELEMETRY, b'{"a":1}', qos=1, packet_id=2) + PINGREQ)
    client.expect(puback(2))
    client.expect_closed()
    assert server.ask(lambda registry: registry.device("a")).telemetry == {}


def test_second_connect_does_not_restart_the_packet_ids(server, client):
    client.send(request(server.profile, provisionDeviceKey="x"))
    client.expect(puback(1) + answer(NOT_FOUND))
    client.send(connect(username="provision") + request(server.profile, provisionDeviceKey="x", packet_id=2))
    client.expect(connack(0) + puback(2) + answer(NOT_FOUND, packet_id=2))
