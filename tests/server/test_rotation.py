"""Rotation: devices that replace what they log in with, over each transport, and those that may not."""

import asyncio
import json
from dataclasses import replace

import pytest

from bench.contract.credentials import CredentialsType
from bench.errors import NotFound, Refused
from bench.registry import audit, devices, rotation
from bench.registry.audit import UNKNOWN_ORIGIN
from bench.registry.credentials import (
    CredentialsRequest,
    InvalidCredentials,
    MqttLogin,
    RefusedCredentials,
    access_token,
    mqtt_basic,
    x509,
)
from bench.registry.model import Credentials
from bench.registry.provisioning import Status
from bench.server.device_api import DeviceApi
from bench.server.http.app import application
from bench.server.http.polls import Polls
from bench.server.limits import Rules
from tests.support.at_rest import everything, holding
from tests.support.coap_packets import GET, OBSERVE, POST, RawPeer, code
from tests.support.http_requests import call
from tests.support.mqtt_packets import TOKEN, device_session, expect_end, expect_open, new_device
from tests.support.raw_client import RawClient
from tests.support.servers import on_both_databases

BASIC, X509 = CredentialsType.MQTT_BASIC, CredentialsType.X509_CERTIFICATE
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\r\nIjAN\n-----END CERTIFICATE-----\n"


# What the registry decides.

OF_NO_USE = {
    "nothing": {},
    "a type alone": {"credentials_type": BASIC},
    "a token of control characters": {"token": "a\0b"},
    "material of another type": {"token": "", "username": "u"},
    "no names": {"credentials_type": BASIC, "password": "p"},
    "a password without a user": {"credentials_type": BASIC, "client_id": "c", "password": "p"},
    "no certificate": {"credentials_type": X509, "token": "t"},
    "a certificate of no text": {"credentials_type": X509, "certificate": "\n"},
    "LwM2M": {"credentials_type": CredentialsType.LWM2M_CREDENTIALS, "token": "t"},
}


async def prepared(registry):
    """A device, and another one with these credentials; returns the login of the first."""
    await registry.ensure_default_profile()
    await registry.create_device("press-4", "default", token="token-of-press-4")
    await registry.create_device("press-5", "default", token="token-of-press-5")
    return await registry.token_login("token-of-press-4")


async def rotate(registry, login, **wish):
    return await registry.write(rotation.rotate, login, CredentialsRequest(**wish), UNKNOWN_ORIGIN)


async def own(registry, name="press-4"):
    return (await registry.device(name)).credentials


@on_both_databases
@pytest.mark.parametrize("wish", OF_NO_USE.values(), ids=OF_NO_USE)
def test_credentials_of_no_use_are_refused_and_nothing_changes(run, wish):
    async def scenario(registry):
        login = await prepared(registry)
        with pytest.raises((InvalidCredentials, RefusedCredentials)):
            await rotate(registry, login, **wish)
        assert await own(registry) == access_token("token-of-press-4")
        assert await registry.read(lambda session: audit.find(session, limit=9)) == []

    run(scenario)


@on_both_databases
def test_credentials_of_another_device_are_refused_over_all_types(run):
    async def scenario(registry):
        login = await prepared(registry)
        for wish in ({"token": "token-of-press-5"}, {"credentials_type": BASIC, "username": "token-of-press-5"}):
            with pytest.raises(Refused):
                await rotate(registry, login, **wish)
        other = await registry.token_login("token-of-press-5")
        await rotate(registry, other, credentials_type=X509, certificate=PEM)
        for certificate in (PEM, "MIIBIjAN"):
            with pytest.raises(Refused):
                await rotate(registry, login, credentials_type=X509, certificate=certificate)
        assert await own(registry) == access_token("token-of-press-4")

    run(scenario)


@on_both_databases
def test_device_that_is_gone_or_was_given_others_meanwhile_changes_nothing(run):
    async def scenario(registry):
        login = await prepared(registry)
        await registry.write(devices.set_credentials, login.id, mqtt_basic("c", "u", "first"))
        with pytest.raises(NotFound):
            await rotate(registry, login, token="too-late")
        held = await registry.login(MqttLogin(client_id="c", username="u", password="first"))
        await registry.write(devices.set_credentials, login.id, mqtt_basic("c", "u", "second"))  # the same id
        with pytest.raises(NotFound):
            await rotate(registry, held, token="too-late")
        assert await own(registry) == mqtt_basic("c", "u", "second")
        await registry.delete_device("press-4")
        with pytest.raises(NotFound):
            await rotate(registry, held, token="too-late")

    run(scenario)


CHAIN_OF_WISHES = [
    ({"token": "a-new-token"}, access_token("a-new-token")),
    (
        {"credentials_type": BASIC, "client_id": "c", "username": "u", "password": "a-password"},
        mqtt_basic("c", "u", "a-password"),
    ),
    (
        {"credentials_type": BASIC, "client_id": "c", "username": "u", "password": "another-password"},
        mqtt_basic("c", "u", "another-password"),
    ),
    ({"credentials_type": BASIC, "username": "a-new-token"}, mqtt_basic("", "a-new-token", "")),
    ({"token": "a-new-token"}, access_token("a-new-token")),
    ({"credentials_type": X509, "certificate": PEM}, x509("MIIBIjAN")),
    ({"token": "a-last-token"}, access_token("a-last-token")),
]


@on_both_databases
def test_device_goes_from_any_type_to_any_other_once_each(run):
    async def scenario(registry):
        login = await prepared(registry)
        held = login
        for wish, stored in CHAIN_OF_WISHES:
            assert await rotate(registry, held, **wish) is True
            assert await own(registry) == stored
            row = await registry.read(lambda session: session.get_one(Credentials, login.id))
            held = replace(login, shown=(row.lookup, row.proof))
            assert await rotate(registry, held, **wish) is False
        trail = await registry.read(lambda session: audit.find(session, limit=99))
        assert [(row.who, row.what, row.entity, row.result) for row in trail] == [
            ("device", "device.credentials_updated", "press-4", "SUCCESS")
        ] * len(CHAIN_OF_WISHES)
        assert await registry.token_login("a-new-token") is None
        assert (await registry.token_login("a-last-token")).id == login.id

    run(scenario)


@on_both_databases
def test_what_an_operator_left_out_is_the_same_as_what_a_device_left_empty(run):
    async def scenario(registry):
        login = await prepared(registry)
        await registry.write(devices.set_credentials, login.id, mqtt_basic(None, "u", None))
        held = await registry.login(MqttLogin(client_id="any", username="u"))
        assert await rotate(registry, held, credentials_type=BASIC, username="u") is False

    run(scenario)


@on_both_databases
def test_of_two_devices_that_want_one_token_exactly_one_gets_it(run):
    async def scenario(*registries):
        first = await prepared(registries[0])
        second = await registries[0].token_login("token-of-press-5")
        rotations = [
            rotate(registry, login, token="the-same")
            for registry, login in zip(registries, (first, second), strict=True)
        ]
        done = await asyncio.gather(*rotations, return_exceptions=True)
        assert [each for each in done if each is True] == [True], done
        has = [await own(registries[0], name) for name in ("press-4", "press-5")]
        assert has.count(access_token("the-same")) == 1

    run(scenario, registries=2)


# On the wire.

TOPIC, ANSWER = "v1/devices/me/rpc/request/7", "v1/devices/me/rpc/response/7"
TOPICS = {"long": (TOPIC, ANSWER), "short": ("v2/r/req/7", "v2/r/res/7")}
SUCCESS, FAILURE = b'{"status":"SUCCESS"}', b'{"status":"FAILURE"}'


def wanting(**params):
    return json.dumps({"method": "rotateCredentials", "params": params}).encode()


def over_mqtt(server, v, token, body):
    with device_session(server, v, token) as client:
        client.send(v.publish(TOPIC, body, qos=1))
        client.expect(v.puback(1) + v.publish(ANSWER, FAILURE if b"bad" in body else SUCCESS, qos=1))


def over_http(server, token, body):
    return call(server, f"/api/v1/{token}/rpc", body)[:2]


def over_coap(server, token, body):
    with RawPeer(server.ports.coap) as peer:
        answer = peer.request(POST, f"api/v1/{token}/rpc", body)
        return answer.code, answer.payload


NO_WISHES = {
    "no parameters": b'{"method":"rotateCredentials"}',
    "null": b'{"method":"rotateCredentials","params":null}',
    "a list": b'{"method":"rotateCredentials","params":[{"token":"t"}]}',
    "text": b'{"method":"rotateCredentials","params":"token"}',
    "nothing in them": wanting(),
    "null for a token": wanting(token=None),
    "an object for a token": wanting(token={}),
    "an unknown type": wanting(token="t", credentialsType="PASSWORD"),
    "a control character": wanting(token="a\nb"),
    "no certificate": wanting(credentialsType="X509_CERTIFICATE", token="t"),
    "LwM2M": wanting(credentialsType="LWM2M_CREDENTIALS", token="t"),
    "another's": wanting(token="token-of-another"),
    "another's as a user": wanting(credentialsType="MQTT_BASIC", username="token-of-another"),
}


@pytest.mark.parametrize("body", NO_WISHES.values(), ids=NO_WISHES)
def test_what_cannot_be_had_is_failure_and_the_session_stays(server, v, body):
    new_device(server)
    new_device(server, "another", "token-of-another")
    with device_session(server, v) as client:
        client.send(v.publish(TOPIC, body, qos=1))
        client.expect(v.puback(1) + v.publish(ANSWER, FAILURE, qos=1))
        assert over_http(server, TOKEN, body) == (200, FAILURE)
        assert over_coap(server, TOKEN, body) == (code(2.05), FAILURE)
        expect_open(client)
    found = server.query(lambda registry: registry.read(lambda session: audit.find(session, limit=99)))
    assert [(row.what, row.entity, row.result, row.transport) for row in found] == [
        ("device.credentials_updated", "device", "FAILURE", transport) for transport in ("coap", "http", "mqtt")
    ]


@pytest.mark.parametrize(("requested", "answered"), TOPICS.values(), ids=TOPICS)
@pytest.mark.parametrize("qos", [0, 1])
def test_answer_over_mqtt_comes_before_the_end_of_all_sessions(server, v, requested, answered, qos):
    new_device(server)
    with device_session(server, v) as client:
        client.send(v.publish(requested, wanting(token="a-new-token"), qos=qos))
        if qos:
            client.expect(v.puback(1))
        client.expect(v.publish(answered, SUCCESS, qos=1))
        expect_end(client, v, 0x98)
    with RawClient(server.ports.mqtt) as client:
        client.send(v.connect(username=TOKEN))
        client.expect(v.refused(5, 0x86))
    with device_session(server, v, "a-new-token") as client:
        client.send(v.publish(TOPIC, wanting(token="a-new-token"), qos=1))  # its answer may have been lost
        client.expect(v.puback(1) + v.publish(ANSWER, SUCCESS, qos=1))
        expect_open(client)


@pytest.mark.parametrize("send", [over_http, over_coap], ids=["http", "coap"])
def test_rotation_over_another_transport_ends_the_sessions_of_mqtt(server, v, send):
    new_device(server)
    with device_session(server, v) as client:
        assert send(server, TOKEN, wanting(token="a-new-token"))[1] == SUCCESS
        expect_end(client, v, 0x98)
    assert send(server, TOKEN, wanting(token="x"))[0] in (401, code(4.01))
    with device_session(server, v, "a-new-token") as client:
        assert send(server, "a-new-token", wanting(token="a-new-token"))[1] == SUCCESS
        expect_open(client)
    assert [event["changed"] for event in server.events("rotation")] == [True, False]


def test_answer_over_coap_comes_before_the_end_of_its_observation(server):
    new_device(server)
    with RawPeer(server.ports.coap) as peer:
        watching = peer.request(GET, f"api/v1/{TOKEN}/rpc", options=[(OBSERVE, b"")], token=b"watching")
        assert OBSERVE in watching.options
        answer = peer.request(POST, f"api/v1/{TOKEN}/rpc", wanting(token="a-new-token"), token=b"rotating")
        assert (answer.code, answer.payload) == (code(2.05), SUCCESS)
        ended = peer.receive()
        assert (ended.token, OBSERVE in ended.options) == (b"watching", False)


def test_answer_over_http_leaves_before_the_sessions_end(server):
    new_device(server)
    device_id = server.query(lambda registry: registry.token_login(TOKEN)).id
    order = []

    async def rotate_over_http(api: DeviceApi):
        async def receive():
            return {"type": "http.request", "body": wanting(token="a-new-token"), "more_body": False}

        async def send(message):
            order.append(message.get("status") or message["body"])

        api.presence.listen_session_end(device_id, lambda why: order.append(why.name))
        scope = {"type": "http", "method": "POST", "path": f"/api/v1/{TOKEN}/rpc", "query_string": b"", "headers": []}
        await application(api, Polls())(
            {**scope, "client": ("127.0.0.1", 1), "asgi": {"version": "3.0"}}, receive, send
        )

    server.call(rotate_over_http)
    assert order == [200, SUCCESS, "CREDENTIALS_CHANGED"]


@pytest.mark.parametrize(
    ("wish", "shown"),
    [
        (
            {"credentialsType": "MQTT_BASIC", "clientId": "c-4", "username": "u-4", "password": "a-password-of-it"},
            {"client_id": "c-4", "username": "u-4", "password": b"a-password-of-it"},
        ),
        ({"token": ["a-token-in-a-list"]}, {"username": "a-token-in-a-list"}),
        ({"token": 1.50}, {"username": "1.5"}),
        ({"credentialsType": "ACCESS_TOKEN", "token": "a-token", "username": "ignored"}, {"username": "a-token"}),
    ],
)
def test_device_logs_in_with_what_it_requested(server, v, wish, shown):
    new_device(server)
    over_mqtt(server, v, TOKEN, wanting(**wish))
    with RawClient(server.ports.mqtt) as client:
        client.send(v.connect(**shown))
        client.expect(v.accepted())


def test_certificate_is_stored_as_everywhere(server, v):
    new_device(server)
    over_mqtt(server, v, TOKEN, wanting(credentialsType="X509_CERTIFICATE", hash=PEM))
    assert server.query(lambda registry: registry.certificate_login("MIIBIjAN")).name == "device"
    assert server.query(lambda registry: registry.device("device")).credentials == x509("MIIBIjAN")


@on_both_databases
def test_nothing_that_was_requested_is_logged_or_can_be_read_at_rest(server, database, v):
    new_device(server, token="the-first-token")
    secrets = ["the-first-token", "a-second-token", "a-password-of-it", "a-token-that-is-bad"]
    over_mqtt(server, v, "the-first-token", wanting(token="a-token-that-is-bad\0"))
    over_mqtt(server, v, "the-first-token", wanting(token="a-second-token"))
    body = wanting(credentialsType="MQTT_BASIC", username="u-4", password="a-password-of-it")
    assert over_http(server, "a-second-token", body) == (200, SUCCESS)
    assert holding(everything(server.data, database), secrets) == []
    assert not any(secret in json.dumps(server.events()) for secret in secrets)
    assert [event["status"] for event in server.events("rotation")] == ["FAILURE", "SUCCESS", "SUCCESS"]
    assert all(event["device"] == "device" for event in server.events("rotation"))


def test_guesses_at_what_others_log_in_with_are_limited(start_server, v):
    server = start_server(limits=Rules())
    new_device(server)
    new_device(server, "another", "token-of-another")
    for _ in range(10):
        assert over_http(server, TOKEN, wanting(token="token-of-another")) == (200, FAILURE)
    assert over_http(server, TOKEN, wanting(token="a-new-token"))[0] == 429
    assert over_coap(server, TOKEN, wanting(token="a-new-token"))[0] == code(4.29)
    with device_session(server, v) as client:
        client.send(v.publish(TOPIC, wanting(token="a-new-token")))
        expect_end(client, v, 0x83)
    assert over_http(server, "token-of-another", wanting(token="a-new-token")) == (200, SUCCESS)
    metrics = call(server, "/metrics", method="GET")[1].decode()
    assert 'firstboot_rotations_total{result="limited",transport="http"} 1.0' in metrics
    assert 'firstboot_rotations_total{result="FAILURE",transport="http"} 10.0' in metrics
    assert Status.SUCCESS in metrics
