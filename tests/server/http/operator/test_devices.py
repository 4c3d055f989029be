"""Devices and what they log in with, as operators' clients make them."""

import json
import uuid

import pytest

from bench.registry import credentials
from bench.server.presence import SessionEnd
from tests.support.operators import client, login, name, new_device, new_profile, ok, refused
from tests.support.servers import on_both_databases

PATH = "/api/device"
ABSENT = uuid.UUID(int=1)
NO_ID = {"entityType": "DEVICE", "id": str(ABSENT)}
JSON = {"Content-Type": "application/json"}

BAD = {
    "no name": {},
    "name of another type": {"name": 1},
    "empty name": {"name": ""},
    "blank name": {"name": " \t "},
    "name too long": {"name": "x" * 256},
    "emoji too long": {"name": "\N{PARTY POPPER}" * 128},
    "template": {"name": "{{constructor}}"},
    "markup": {"name": "<script>x</script>"},
    "NUL": {"name": "a\0b"},
    "NUL in the label": {"name": "a", "label": "a\0b"},
    "NUL in a key": {"name": "a", "additionalInfo": {"a\0b": 1}},
    "half a surrogate pair": {"name": "a\ud800"},
    "label too long": {"name": "a", "label": "x" * 256},
    "info of another type": {"name": "a", "additionalInfo": "x"},
    "id of another type": {"name": "a", "id": "x"},
    "profile that is not there": {"name": "a", "deviceProfileId": NO_ID},
    "profile's name with a NUL": {"name": "a", "type": "x\0"},
}


@pytest.mark.parametrize("form", BAD.values(), ids=BAD)
def test_device_that_cannot_be_stored_is_400(shared_operator, form):
    refused(shared_operator.post(PATH, content=json.dumps(form), headers=JSON), 400, 31)


@pytest.mark.parametrize("token", ["a%00b", "a%0Ab", "%7f"])
def test_token_with_control_characters_is_400(shared_operator, token):
    refused(shared_operator.post(f"{PATH}?accessToken={token}", json={"name": name()}), 400, 31)


def test_name_policy_that_is_not_kept_is_400(shared_operator):
    refused(shared_operator.post(f"{PATH}?nameConflictPolicy=UNIQUIFY", json={"name": name()}), 400, 31)
    ok(shared_operator.post(f"{PATH}?nameConflictPolicy=FAIL", json={"name": name()}))


PLACES = ["/api/device/{}", "/api/device/info/{}", "/api/device/{}/credentials"]


@pytest.mark.parametrize("path", PLACES)
def test_device_that_is_not_there_is_404(shared_operator, path):
    refused(shared_operator.get(path.format(ABSENT)), 404, 32, "Requested item wasn't found!")
    refused(shared_operator.get(path.format("no-id")), 400, 31)
    refused(shared_operator.get(path.format("%00")), 400, 31)


def test_change_of_a_device_that_is_not_there_is_404(shared_operator):
    refused(shared_operator.delete(f"{PATH}/{ABSENT}"), 404, 32)
    refused(shared_operator.post(PATH, json={"id": NO_ID, "name": name()}), 404, 32)
    form = {"deviceId": NO_ID, "credentialsType": "ACCESS_TOKEN", "credentialsId": name()}
    refused(shared_operator.post(f"{PATH}/credentials", json=form), 404, 32)
    form = {"device": {"id": NO_ID, "name": name()}, "credentials": form}
    refused(shared_operator.post("/api/device-with-credentials", json=form), 404, 32)


def test_names_and_tokens_are_unique(shared_operator):
    token, first = name("token"), name()
    ok(shared_operator.post(f"{PATH}?accessToken={token}", json={"name": first}))
    second = new_device(shared_operator)
    taken = "Device with such name already exists!"
    refused(shared_operator.post(PATH, json={"name": first}), 400, 31, taken)
    refused(shared_operator.post(PATH, json={"name": f" {first} "}), 400, 31, taken)
    refused(shared_operator.post(PATH, json={**second, "name": first}), 400, 31, taken)
    taken = "Device credentials are already assigned to another device!"
    loser = name()
    refused(shared_operator.post(f"{PATH}?accessToken={token}", json={"name": loser}), 400, 31, taken)
    refused(shared_operator.get("/api/tenant/device", params={"deviceName": loser}), 404, 32)


def test_device_is_given_back_as_it_was_sent(shared_operator):
    profile = new_profile(shared_operator)
    form = {
        "name": name(),
        "label": "left",
        "deviceProfileId": profile["id"],
        "additionalInfo": {"gateway": True, "description": "x"},
    }
    made = ok(shared_operator.post(PATH, json=form))
    assert {key: made[key] for key in form} == form
    assert made["type"] == profile["name"]
    assert made["id"]["entityType"] == "DEVICE"
    assert made["customerId"] == {"entityType": "CUSTOMER", "id": "13814000-1dd2-11b2-8080-808080808080"}
    assert ok(shared_operator.get(f"{PATH}/{made['id']['id']}")) == made
    assert ok(shared_operator.post(PATH, json=made)) == made
    for path in ("/api/tenant/device", "/api/tenant/devices"):
        assert ok(shared_operator.get(path, params={"deviceName": made["name"]})) == made
        refused(shared_operator.get(path, params={"deviceName": "nobody"}), 404, 32)


def test_device_belongs_to_a_profile_by_name_that_is_made_if_need_be(shared_operator):
    kind = name("kind")
    made = new_device(shared_operator, type=kind)
    assert made["type"] == kind
    profile = ok(shared_operator.get(f"/api/deviceProfile/{made['deviceProfileId']['id']}"))
    assert (profile["name"], profile["provisionType"]) == (kind, "DISABLED")
    assert new_device(shared_operator, type=kind)["deviceProfileId"] == made["deviceProfileId"]
    assert new_device(shared_operator)["type"] == "default"
    assert kind in [each["type"] for each in ok(shared_operator.get("/api/device/types"))]


def test_update_keeps_the_credentials(shared_operator):
    token = name("token")
    made = ok(shared_operator.post(f"{PATH}?accessToken={token}", json={"name": name(), "label": "old"}))
    renamed = name()
    updated = ok(shared_operator.post(PATH, json={"id": made["id"], "name": renamed}))
    assert (updated["name"], updated["label"], updated["createdTime"]) == (renamed, None, made["createdTime"])
    assert ok(shared_operator.get(f"{PATH}/{made['id']['id']}/credentials"))["credentialsId"] == token


@on_both_databases
def test_devices_are_paged_searched_and_sorted(server_operator):
    for number, each in enumerate(("Alpha", "beta", "a_b", "a%b", "back\\slash")):
        new_device(server_operator, name=each, label=f"L{number}", type="kind-A" if number < 2 else "kind-B")

    def found(path="/api/tenant/devices", **query):
        page = ok(server_operator.get(path, params={"pageSize": 100, "page": 0, **query}))
        return [each["name"] for each in page["data"]]

    assert found(sortProperty="name", sortOrder="ASC") == ["Alpha", "a%b", "a_b", "back\\slash", "beta"]
    assert found(sortProperty="createdTime", sortOrder="ASC")[0] == "Alpha"
    assert found(textSearch="l4") == ["back\\slash"]
    for literal, only in (("_", "a_b"), ("%", "a%b"), ("\\", "back\\slash")):
        assert found(textSearch=literal) == [only]
    for path in ("/api/tenant/devices", "/api/tenant/deviceInfos", "/api/deviceInfos/all"):
        assert sorted(found(path, type="kind-A")) == ["Alpha", "beta"]
        assert found(path, type="kind-") == []
    profile = ok(server_operator.get("/api/tenant/device?deviceName=Alpha"))["deviceProfileId"]["id"]
    assert sorted(found("/api/tenant/deviceInfos", deviceProfileId=profile)) == ["Alpha", "beta"]
    page = ok(server_operator.get("/api/tenant/devices?pageSize=2&page=1"))
    assert (page["totalPages"], page["totalElements"], page["hasNext"], len(page["data"])) == (3, 5, True, 2)


PAGES = ["pageSize=0", "pageSize=-1", "page=-1", "pageSize=x", "sortProperty=x", "sortOrder=UP", "deviceProfileId=x"]


@pytest.mark.parametrize("wrong", PAGES)
@pytest.mark.parametrize("path", ["/api/tenant/devices", "/api/tenant/deviceInfos", "/api/deviceInfos/all"])
def test_page_that_is_none_is_400(shared_operator, path, wrong):
    query = {"pageSize": "1", "page": "0"} | dict([wrong.split("=")])
    refused(shared_operator.get(path, params=query), 400, 31)


def test_devices_by_their_ids(shared_operator):
    one, two = new_device(shared_operator), new_device(shared_operator)
    ids = ",".join([one["id"]["id"], two["id"]["id"], str(ABSENT)])
    found = ok(shared_operator.get("/api/devices", params={"deviceIds": ids}))
    assert {each["name"] for each in found} == {one["name"], two["name"]}
    refused(shared_operator.get("/api/devices", params={"deviceIds": "x"}), 400, 31)
    assert ok(shared_operator.get("/api/devices", params={"deviceIds": ""})) == []


# What devices log in with.

BAD_CREDENTIALS = {
    "no type": {"credentialsId": "x"},
    "unknown type": {"credentialsType": "SOMETHING"},
    "no token": {"credentialsType": "ACCESS_TOKEN"},
    "empty token": {"credentialsType": "ACCESS_TOKEN", "credentialsId": ""},
    "control characters": {"credentialsType": "ACCESS_TOKEN", "credentialsId": "a\nb"},
    "token of another type": {"credentialsType": "ACCESS_TOKEN", "credentialsId": 1},
    "no certificate": {"credentialsType": "X509_CERTIFICATE"},
    "no MQTT credentials": {"credentialsType": "MQTT_BASIC"},
    "an object": {"credentialsType": "MQTT_BASIC", "credentialsValue": {"userName": "a"}},
    "no JSON": {"credentialsType": "MQTT_BASIC", "credentialsValue": "{"},
    "no JSON object": {"credentialsType": "MQTT_BASIC", "credentialsValue": "[]"},
    "deep JSON": {"credentialsType": "MQTT_BASIC", "credentialsValue": "[" * 20_000},
    "parts of another type": {"credentialsType": "MQTT_BASIC", "credentialsValue": '{"userName":1}'},
    "half a surrogate pair": {"credentialsType": "MQTT_BASIC", "credentialsValue": '{"userName":"\\ud800"}'},
    "NUL": {"credentialsType": "MQTT_BASIC", "credentialsValue": '{"userName":"\\u0000"}'},
    "only a password": {"credentialsType": "MQTT_BASIC", "credentialsValue": '{"password":"p"}'},
    "password and client id": {"credentialsType": "MQTT_BASIC", "credentialsValue": '{"clientId":"c","password":"p"}'},
    "LwM2M": {"credentialsType": "LWM2M_CREDENTIALS", "credentialsId": "x", "credentialsValue": "{}"},
}


@pytest.mark.parametrize("form", BAD_CREDENTIALS.values(), ids=BAD_CREDENTIALS)
def test_credentials_that_no_device_may_have_are_400(shared_operator, form):
    device = new_device(shared_operator)
    path = f"{PATH}/{device['id']['id']}/credentials"
    before = ok(shared_operator.get(path))
    refused(shared_operator.post(f"{PATH}/credentials", json={"deviceId": device["id"], **form}), 400, 31)
    loser = name()
    form = {"device": {"name": loser}, "credentials": form}
    refused(shared_operator.post("/api/device-with-credentials", json=form), 400, 31)
    refused(shared_operator.get("/api/tenant/device", params={"deviceName": loser}), 404, 32)
    assert ok(shared_operator.get(path)) == before


def test_credentials_without_a_device_are_400(shared_operator):
    form = {"credentialsType": "ACCESS_TOKEN", "credentialsId": "x"}
    refused(shared_operator.post(f"{PATH}/credentials", json=form), 400, 31)


def test_credentials_of_another_device_are_400(shared_operator):
    token, device = name("token"), new_device(shared_operator)
    ok(shared_operator.post(f"{PATH}?accessToken={token}", json={"name": name()}))
    form = {"deviceId": device["id"], "credentialsType": "ACCESS_TOKEN", "credentialsId": token}
    message = "Device credentials are already assigned to another device!"
    refused(shared_operator.post(f"{PATH}/credentials", json=form), 400, 31, message)


PARTS = '{"clientId":"c","userName":"u","password":"p"}'
KINDS = {
    "token": ({"credentialsType": "ACCESS_TOKEN", "credentialsId": "the-token"}, "the-token", None),
    "X.509": (
        {"credentialsType": "X509_CERTIFICATE", "credentialsValue": "-----BEGIN CERTIFICATE-----\nAB\nCD\n"},
        credentials.sha3("ABCD"),
        "ABCD",
    ),
    "MQTT": ({"credentialsType": "MQTT_BASIC", "credentialsValue": PARTS}, credentials.sha3("c|u"), PARTS),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at_once", [True, False])
def test_credentials_of_every_kind(server_operator, kind, at_once):
    form, credentials_id, value = KINDS[kind]
    if at_once:
        both = {"device": {"name": name()}, "credentials": form}
        device = ok(server_operator.post("/api/device-with-credentials", json=both))
    else:
        device = new_device(server_operator)
        ok(server_operator.post(f"{PATH}/credentials", json={"deviceId": device["id"], **form}))
    stored = ok(server_operator.get(f"{PATH}/{device['id']['id']}/credentials"))
    assert stored["deviceId"] == device["id"]
    assert stored["credentialsType"] == form["credentialsType"]
    assert (stored["credentialsId"], stored["credentialsValue"]) == (credentials_id, value)
    again = {**stored, "id": {"id": stored["id"]["id"]}}
    assert ok(server_operator.post(f"{PATH}/credentials", json=again)) == stored


def test_device_with_credentials_that_exists_gets_the_new_ones(shared_operator):
    device, token = new_device(shared_operator), name("token")
    form = {"device": device, "credentials": {"credentialsType": "ACCESS_TOKEN", "credentialsId": token}}
    assert ok(shared_operator.post("/api/device-with-credentials", json=form)) == device
    assert ok(shared_operator.get(f"{PATH}/{device['id']['id']}/credentials"))["credentialsId"] == token


# What a device that is connected notices.


@pytest.mark.parametrize("change", ["credentials", "deletion"])
def test_session_ends_when_its_device_is_changed(server, change):
    with login(server) as operator:
        token = name("token")
        device = ok(operator.post(f"{PATH}?accessToken={token}", json={"name": name()}))
        received = []
        stop = server.api.presence.listen_session_end(uuid.UUID(device["id"]["id"]), received.append)
        info = f"{PATH}/info/{device['id']['id']}"
        assert ok(operator.get(info))["active"] is True
        if change == "deletion":
            ok(operator.delete(f"{PATH}/{device['id']['id']}"))
            assert received == [SessionEnd.DELETED]
            refused(operator.get(info), 404, 32)
        else:
            form = {"deviceId": device["id"], "credentialsType": "ACCESS_TOKEN", "credentialsId": name()}
            ok(operator.post(f"{PATH}/credentials", json=form))
            assert received == [SessionEnd.CREDENTIALS_CHANGED]
        stop()
    with client(server) as anonymous:
        assert anonymous.post(f"/api/v1/{token}/telemetry", json={"a": 1}).status_code == 401


def test_refused_change_ends_no_session(server):
    with login(server) as operator:
        device = new_device(operator)
        received = []
        stop = server.api.presence.listen_session_end(uuid.UUID(device["id"]["id"]), received.append)
        form = {"deviceId": device["id"], "credentialsType": "ACCESS_TOKEN", "credentialsId": ""}
        refused(operator.post(f"{PATH}/credentials", json=form), 400, 31)
        stop()
    assert received == []
