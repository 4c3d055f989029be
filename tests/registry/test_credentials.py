"""The credential kinds: what is stored, what is answered, and what a login has to show."""

import json

import pytest

from bench.contract.credentials import CredentialsType
from bench.contract.releases import release
from bench.mqtt.codec import remaining_length
from bench.registry import credentials as kinds
from bench.registry.credentials import InvalidCredentials, MqttLogin
from tests.support.mqtt_packets import connack, connect, puback, publish, request
from tests.support.raw_client import RawClient

# SHA3-256 (FIPS 202) of what ThingsBoard makes of these parts.
VECTORS = {
    (): "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a",
    ("testHash",): "57f6600424d6553263f1f32e0117012894a36fbf07e3e9c3c556272f86b7d985",
    ("test_clientId",): "3eabb72fa0908cae833970e2d63c52fc584b5460205da426d34f6934efa40497",
    ("test_clientId", "test_username"): "b9f1b0bf238dddae689babba0a210fe42bc97ddb07620b5a07d7208dd5528db2",
}
X509, BASIC = CredentialsType.X509_CERTIFICATE, CredentialsType.MQTT_BASIC


@pytest.mark.parametrize(("parts", "digest"), VECTORS.items())
def test_sha3_gives_the_known_ids(parts, digest):
    assert kinds.sha3(*parts) == digest


def test_sha3_skips_empty_parts():
    assert kinds.sha3("", "testHash") == kinds.sha3("testHash", "") == VECTORS[("testHash",)]


@pytest.mark.parametrize(
    "parts",
    [
        ("", "", ""),
        ("", "", "p"),
        ("c", "", "p"),
    ],
)
def test_mqtt_basic_of_no_use_is_refused(parts):
    with pytest.raises(InvalidCredentials):
        kinds.mqtt_basic(*parts)


WITH_CONTROL = {
    "client id": kinds.mqtt_basic("c\n", "", ""),
    "user name": kinds.mqtt_basic("c", "\x1f", ""),
    "password": kinds.mqtt_basic("", "u", "p\x7f"),
    "token": kinds.access_token("\t"),
}
WITH_NUL = {"user name": kinds.mqtt_basic("", "u\0", ""), "token": kinds.access_token("a\0b")}


@pytest.mark.parametrize("made", [*WITH_CONTROL.values(), *WITH_NUL.values()], ids=[*WITH_CONTROL, *WITH_NUL])
def test_control_characters_are_refused(made):
    with pytest.raises(InvalidCredentials):
        made.check(release("4.3.1.3"))


@pytest.mark.parametrize("made", WITH_CONTROL.values(), ids=WITH_CONTROL)
def test_control_characters_are_accepted_by_releases_before_4_3_1_3(made):
    made.check(release("4.3.1.2"))


@pytest.mark.parametrize("made", WITH_NUL.values(), ids=WITH_NUL)
def test_nul_is_refused_by_every_release(made):
    with pytest.raises(InvalidCredentials):
        made.check(release("3.6"))


@pytest.mark.parametrize(
    ("parts", "credentials_id"),
    [
        (("test_clientId", "", ""), VECTORS[("test_clientId",)]),
        (("", "u", ""), "u"),
        (("", "u", "p"), "u"),
        (("test_clientId", "test_username", ""), VECTORS[("test_clientId", "test_username")]),
        (("test_clientId", "test_username", "p"), VECTORS[("test_clientId", "test_username")]),
    ],
)
def test_mqtt_basic_has_the_id_of_its_parts(parts, credentials_id):
    made = kinds.mqtt_basic(*parts)
    assert (made.type, made.id) == (BASIC, credentials_id)
    assert json.loads(made.answer) == dict(zip(("clientId", "userName", "password"), parts, strict=True))


def test_x509_is_stored_without_header_and_line_ends():
    pem = "-----BEGIN CERTIFICATE-----\r\nAB CD\nEF==\r\n-----END CERTIFICATE-----\n"
    made = kinds.x509(pem)
    assert (made.type, made.answer, made.id) == (X509, "AB CDEF==", kinds.sha3("AB CDEF=="))
    assert kinds.x509("testHash").id == VECTORS[("testHash",)]


def test_credentials_never_show_themselves():
    secret = "s3cret"
    shown = [
        kinds.access_token(secret),
        kinds.mqtt_basic(secret, secret, secret),
        kinds.x509(secret),
        MqttLogin(username=secret, password=secret),
    ]
    assert secret not in repr(shown)


# Stored credentials, and (client id, user name, password) that get in or not: section by section of the login rules.
LOGINS = {
    "token": (
        kinds.access_token("T"),
        [("any", "T", None), ("any", "T", "any"), ("", "T", "")],
        [("T", "", None), ("x", "x", "T"), ("any", "t", None), ("T", "x", None)],
    ),
    "client_id": (
        kinds.mqtt_basic("c", "", ""),
        [("c", "", None), ("c", "", "any")],
        [("c", "any", None), ("d", "", None), ("x", "c", None)],
    ),
    "username": (
        kinds.mqtt_basic("", "u", ""),
        [("any", "u", None), ("", "u", "any")],
        [("u", "", None), ("any", "U", None)],
    ),
    "username_and_password": (
        kinds.mqtt_basic("", "u", "p"),
        [("any", "u", "p")],
        [("any", "u", None), ("any", "u", "P"), ("any", "u", ""), ("any", "x", "p")],
    ),
    "all_three": (
        kinds.mqtt_basic("c", "u", "p"),
        [("c", "u", "p")],
        [("d", "u", "p"), ("c", "u", "x"), ("c", "u", None), ("c", "", "p"), ("", "u", "p")],
    ),
    "certificate": (
        kinds.x509("testHash"),
        [],
        [("testHash", "", None), ("x", "testHash", None), ("x", kinds.sha3("testHash"), None)],
    ),
}


def requested(stored):
    if stored.type is BASIC:
        parts = json.loads(stored.value)
        return {
            "credentialsType": "MQTT_BASIC",
            "clientId": parts["clientId"],
            "username": parts["userName"],
            "password": parts["password"],
        }
    return {"credentialsType": stored.type.value, "hash" if stored.type is X509 else "token": stored.answer}


def provision(server, name, **fields):
    """Ask over MQTT; returns the answer."""
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username="provision") + request(server.profile, deviceName=name, **fields))
        client.expect(connack(0) + puback(1))
        header = client.read(2)
        while (found := remaining_length.decode(header)) is None:
            header += client.read(1)
        return json.loads(client.read(found[0])[2 + len("/provision/response") + 2 :])


@pytest.mark.parametrize(("stored", "accepted", "refused"), LOGINS.values(), ids=LOGINS.keys())
def test_login_requires_what_was_provisioned(server, stored, accepted, refused):
    answer = provision(server, "device", **requested(stored))
    value = json.loads(stored.answer) if stored.type is BASIC else stored.answer
    assert answer == {"credentialsValue": value, "credentialsType": stored.type.value, "status": "SUCCESS"}
    for shown, code in [(each, 0) for each in accepted] + [(each, 5) for each in refused]:
        client_id, username, password = shown
        with RawClient(server.ports.mqtt) as client:
            client.send(connect(client_id=client_id, username=username or None, password=password))
            # a client id and nothing else is the one refusal with a code of its own
            client.expect(connack(2 if code and not username and password is None else code))
            if code:
                client.expect_closed()


def test_login_with_the_wrong_password_is_not_tried_as_another_device(server):
    """Client id and user name find a device; that the user name alone is another's token does not help."""
    provision(server, "basic", credentialsType="MQTT_BASIC", clientId="c", username="shared", password="p")
    provision(server, "token", token="shared")
    for client_id, password, code in [("c", "p", 0), ("c", "wrong", 5), ("other", None, 0)]:
        with RawClient(server.ports.mqtt) as client:
            client.send(connect(client_id=client_id, username="shared", password=password))
            client.expect(connack(code))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"token": "u"}, {"credentialsType": "MQTT_BASIC", "username": "u", "password": "p"}),
        ({"credentialsType": "MQTT_BASIC", "username": "u"}, {"token": "u"}),
        ({"credentialsType": "X509_CERTIFICATE", "hash": "h"}, {"token": kinds.sha3("h")}),
        ({"credentialsType": "X509_CERTIFICATE", "token": "a"}, {"credentialsType": "X509_CERTIFICATE", "token": "b"}),
        ({"credentialsType": "MQTT_BASIC", "clientId": "c"}, {"credentialsType": "X509_CERTIFICATE", "hash": "c"}),
    ],
    ids=["basic_like_token", "token_like_basic", "token_like_x509", "two_empty_certificates", "x509_like_client_id"],
)
def test_credentials_are_unique_over_all_types(server, first, second):
    assert provision(server, "a", **first)["status"] == "SUCCESS"
    assert provision(server, "b", **second) == {"errorMsg": "Failed to provision device!", "status": "FAILURE"}
    assert server.device_names() == ["a"]


@pytest.mark.parametrize(
    "fields",
    [
        {"credentialsType": "MQTT_BASIC", "clientId": "c", "password": "p"},
        {"credentialsType": "MQTT_BASIC", "password": "p"},
        {"credentialsType": "MQTT_BASIC", "token": "t"},
        {"credentialsType": "MQTT_BASIC", "username": "u\n"},
        {"credentialsType": "LWM2M_CREDENTIALS", "token": "t"},
        {"username": "u"},
    ],
)
def test_credentials_of_no_use_are_failure_and_nothing_remains(server, fields):
    assert provision(server, "a", **fields)["status"] == "FAILURE"
    assert server.device_names() == []


@pytest.mark.parametrize("kind", ["MQTT_BASIC", "X509_CERTIFICATE", "LWM2M_CREDENTIALS"])
def test_type_without_material_gets_a_token(server, kind):
    answer = provision(server, "a", credentialsType=kind)
    assert (answer["status"], answer["credentialsType"]) == ("SUCCESS", "ACCESS_TOKEN")
    with RawClient(server.ports.mqtt) as client:
        client.send(connect(username=answer["credentialsValue"]) + publish("v1/devices/me/telemetry", b"{}", qos=1))
        client.expect(connack(0) + puback(1))


def test_http_takes_access_tokens_only(server):
    provision(server, "a", credentialsType="MQTT_BASIC", username="u")
    with RawClient(server.ports.http) as client:
        client.send(b"POST /api/v1/u/telemetry HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
        client.expect(b"HTTP/1.1 401 ")
