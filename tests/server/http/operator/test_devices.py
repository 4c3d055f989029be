"""Devices and what they log in with, as operators' clients make them."""

import json
import re
import uuid

import pytest

from bench.registry import credentials
from bench.server.http.operator.schemas.common import NOBODY as NULL_UUID
from bench.server.presence import SessionEnd
from tests.support.operators import client, login, name, new_credentials, new_device, new_profile, ok, refused
from tests.support.servers import on_both_databases

PATH = "/api/device"
ABSENT = uuid.UUID(int=1)
NOBODY = str(NULL_UUID)
NO_ID = {"entityType": "DEVICE", "id": str(ABSENT)}
JSON = {"Content-Type": "application/json"}

BAD = {
    "no name": {},
    "name that is null": {"name": None},
    "empty name": {"name": ""},
    "blank name": {"name": " \t "},
    "name too long": {"name": "x" * 256},
    "emoji too long": {"name": "\N{PARTY POPPER}" * 128},
    "template": {"name": "{{constructor}}"},
    "markup": {"name": "<script>x</script>"},
    "label too long": {"name": "a", "label": "x" * 256},
    "markup in the label": {"name": "a", "label": "<b>x"},
    "template in what is kept": {"name": "a", "additionalInfo": {"a": ["{{x}}"]}},
    "markup in the profile's name": {"name": "a", "type": "<b>x"},
    "profile that is not there": {"name": "a", "deviceProfileId": {"entityType": "DEVICE_PROFILE", "id": str(ABSENT)}},
    "customer who is not there": {"name": "a", "customerId": {"entityType": "CUSTOMER", "id": str(ABSENT)}},
    "firmware that is not there": {"name": "a", "firmwareId": {"entityType": "OTA_PACKAGE", "id": str(ABSENT)}},
}
# What ThingsBoard cannot read: it fails, and so its clients have to see here.
UNREADABLE = {
    "NUL": {"name": "a\0b"},
    "NUL in the label": {"name": "a", "label": "a\0b"},
    "NUL in a key": {"name": "a", "additionalInfo": {"a\0b": 1}},
    "NUL in the profile's name": {"name": "a", "type": "x\0"},
    "half a surrogate pair": {"name": "a\ud800"},
    "name that is a list": {"name": ["a"]},
    "id of another type": {"name": "a", "id": "x"},
    "profile's id without its type": {"name": "a", "deviceProfileId": {"id": str(ABSENT)}},
    "customer's id of another type": {"name": "a", "customerId": NO_ID},
}


@pytest.mark.parametrize("form", BAD.values(), ids=BAD)
def test_device_that_cannot_be_stored_is_400(shared_operator, form):
    refused(shared_operator.post(PATH, content=json.dumps(form), headers=JSON), 400, 31)


@pytest.mark.parametrize("form", UNREADABLE.values(), ids=UNREADABLE)
def test_device_that_cannot_be_read_is_500(shared_operator, form):
    refused(shared_operator.post(PATH, content=json.dumps(form), headers=JSON), 500, 2)


@pytest.mark.parametrize("kind", ["ASSET", "device", "", None])
def test_id_of_another_kind_changes_no_device(shared_operator, kind):
    made = new_device(shared_operator)
    other = {"id": made["id"]["id"]} if kind is None else {"id": made["id"]["id"], "entityType": kind}
    refused(shared_operator.post(PATH, json={**made, "id": other, "name": name()}), 500, 2)
    both = {
        "device": {**made, "id": other},
        "credentials": {"credentialsType": "ACCESS_TOKEN", "credentialsId": name()},
    }
    refused(shared_operator.post("/api/device-with-credentials", json=both), 500, 2)
    form = new_credentials(shared_operator, made, deviceId=other, credentialsId=name())
    refused(shared_operator.post(f"{PATH}/credentials", json=form), 500, 2)
    assert ok(shared_operator.get(f"{PATH}/{made['id']['id']}")) == made


SCALARS = {"name": 12, "label": True, "type": 1.5}


def test_any_scalar_is_text(shared_operator):
    form = {**SCALARS, "name": uuid.uuid4().int >> 70, "additionalInfo": ["a", 1]}
    made = ok(shared_operator.post(PATH, json=form))
    assert (made["name"], made["label"], made["type"]) == (str(form["name"]), "true", "1.5")
    assert made["additionalInfo"] == ["a", 1]


def test_what_follows_the_object_is_ignored(shared_operator):
    text = json.dumps({"name": name()})
    ok(shared_operator.post(PATH, content=f" {text} }} trailing", headers=JSON))


def test_device_is_saved_as_a_whole(shared_operator):
    customer = ok(shared_operator.post("/api/customer", json={"title": name()}))
    made = new_device(shared_operator, customerId=customer["id"], label="left", additionalInfo={"a": 1})
    assert made["customerId"] == customer["id"]
    kept = ok(shared_operator.post(PATH, json=made))
    assert kept == made
    bare = ok(shared_operator.post(PATH, json={"id": made["id"], "name": made["name"]}))
    assert (bare["customerId"]["id"], bare["label"], bare["additionalInfo"]) == (NOBODY, None, None)
    assert ok(shared_operator.post(PATH, json={**bare, "customerId": customer["id"]}))["customerId"] == customer["id"]


def test_change_of_what_was_changed_since_is_409(shared_operator):
    made = new_device(shared_operator)
    assert made["version"] == 1
    assert ok(shared_operator.post(PATH, json=made))["version"] == 1  # nothing was changed
    second = ok(shared_operator.post(PATH, json={**made, "label": "second"}))
    assert second["version"] == 2
    message = "Device was already changed by someone else"
    refused(shared_operator.post(PATH, json={**made, "label": "third"}), 409, 35, message)
    forced = ok(shared_operator.post(PATH, json={**made, "label": "third", "version": None}))
    assert (forced["label"], forced["version"]) == ("third", 3)


@pytest.mark.parametrize("token", ["a%00b", "a%0Ab", "%7f"])
def test_token_with_control_characters_is_400(shared_operator, token):
    refused(shared_operator.post(f"{PATH}?accessToken={token}", json={"name": name()}), 400, 31)


def test_name_that_is_taken_is_made_unique_if_requested(shared_operator):
    first = name()

    def make(**query):
        return shared_operator.post(PATH, params=query, json={"name": first})

    assert ok(make(nameConflictPolicy="UNIQUIFY"))["name"] == first
    refused(make(nameConflictPolicy="FAIL"), 400, 31, "Device with such name already exists!")
    refused(make(nameConflictPolicy="SOMETIMES"), 400, 31)
    random = ok(make(nameConflictPolicy="UNIQUIFY"))["name"]
    assert re.fullmatch(re.escape(first) + "_[A-Za-z0-9]{6}", random)
    counted = {"nameConflictPolicy": "UNIQUIFY", "uniquifyStrategy": "INCREMENTAL", "uniquifySeparator": "-"}
    assert [ok(make(**counted))["name"] for _ in range(2)] == [f"{first}-1", f"{first}-2"]
    made = ok(shared_operator.get("/api/tenant/device", params={"deviceName": first}))
    assert ok(shared_operator.post(PATH, params=counted, json=made))["name"] == first  # its own


PLACES = ["/api/device/{}", "/api/device/info/{}", "/api/device/{}/credentials"]


@pytest.mark.parametrize("path", PLACES)
def test_device_that_is_not_there_is_404(shared_operator, path):
    refused(shared_operator.get(path.format(ABSENT)), 404, 32, f"Device with id [{ABSENT}] is not found")
    refused(shared_operator.get(path.format("no-id")), 400, 31, "Invalid UUID string: no-id")
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


def test_devices_of_a_profile_are_counted(shared_operator):
    profile = new_profile(shared_operator)["id"]
    for _ in range(2):
        new_device(shared_operator, deviceProfileId=profile)
    for kind in ("FIRMWARE", "SOFTWARE"):
        assert ok(shared_operator.get(f"/api/devices/count/{kind}/{profile['id']}")) == 2


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
    for wildcards, only in (
        ("\\_", "a_b"),
        ("\\%", "a%b"),
        ("back\\\\s", "back\\slash"),
        ("be_a", "beta"),
        ("A%ha", "Alpha"),
    ):
        assert found(textSearch=wildcards) == [only]
    by_age = ["Alpha", "beta", "a_b", "a%b", "back\\slash"]
    assert found() == found(sortProperty="createdTime") == found(sortProperty="id") == found(sortOrder="DESC") == by_age
    assert found(sortProperty="createdTime", sortOrder="desc") == by_age[::-1]
    for path in ("/api/tenant/devices", "/api/tenant/deviceInfos", "/api/deviceInfos/all"):
        assert sorted(found(path, type="kind-A")) == ["Alpha", "beta"]
        assert found(path, type="kind-") == []
    profile = ok(server_operator.get("/api/tenant/device?deviceName=Alpha"))["deviceProfileId"]["id"]
    assert sorted(found("/api/tenant/deviceInfos", deviceProfileId=profile)) == ["Alpha", "beta"]
    page = ok(server_operator.get("/api/tenant/devices?pageSize=2&page=1"))
    assert (page["totalPages"], page["totalElements"], page["hasNext"], len(page["data"])) == (3, 5, True, 2)


PAGES = ["pageSize=0", "pageSize=-1", "page=-1", "pageSize=x", "sortOrder=UP", "deviceProfileId=x"]


@pytest.mark.parametrize("wrong", PAGES)
@pytest.mark.parametrize("path", ["/api/tenant/devices", "/api/tenant/deviceInfos", "/api/deviceInfos/all"])
def test_page_that_is_none_is_400(shared_operator, path, wrong):
    query = {"pageSize": "1", "page": "0"} | dict([wrong.split("=")])
    refused(shared_operator.get(path, params=query), 400, 31)


@pytest.mark.parametrize("path", ["/api/tenant/devices", "/api/tenant/deviceInfos", "/api/deviceInfos/all"])
def test_list_without_a_page_is_400_and_by_an_unknown_property_500(shared_operator, path):
    for query in ({}, {"pageSize": "1"}, {"page": "0"}):
        refused(shared_operator.get(path, params=query), 400, 31)
    refused(shared_operator.get(path, params={"pageSize": "1", "page": "0", "sortProperty": "x"}), 500, 46)


@on_both_databases
def test_infos_are_only_of_devices_that_have_a_session_if_requested(server, server_operator):
    here, gone = new_device(server_operator), new_device(server_operator)
    stop = server.api.presence.listen_session_end(uuid.UUID(here["id"]["id"]), lambda _: None)
    for path in ("/api/tenant/deviceInfos", "/api/deviceInfos/all"):
        for active, only in (("true", here), ("false", gone)):
            found = ok(server_operator.get(path, params={"pageSize": 9, "page": 0, "active": active}))
            assert [each["name"] for each in found["data"]] == [only["name"]]
        assert ok(server_operator.get(path, params={"pageSize": 9, "page": 0}))["totalElements"] == 2
    stop()


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
    "no token": {"credentialsType": "ACCESS_TOKEN"},
    "empty token": {"credentialsType": "ACCESS_TOKEN", "credentialsId": ""},
    "control characters": {"credentialsType": "ACCESS_TOKEN", "credentialsId": "a\nb"},
    "no certificate": {"credentialsType": "X509_CERTIFICATE"},
    "no MQTT credentials": {"credentialsType": "MQTT_BASIC"},
    "no JSON": {"credentialsType": "MQTT_BASIC", "credentialsValue": "{"},
    "no JSON object": {"credentialsType": "MQTT_BASIC", "credentialsValue": "[]"},
    "deep JSON": {"credentialsType": "MQTT_BASIC", "credentialsValue": "[" * 20_000},
    "a part that is a list": {"credentialsType": "MQTT_BASIC", "credentialsValue": '{"userName":[]}'},
    "an unknown part": {"credentialsType": "MQTT_BASIC", "credentialsValue": '{"userName":"u","user":"u"}'},
    "half a surrogate pair": {"credentialsType": "MQTT_BASIC", "credentialsValue": '{"userName":"\\ud800"}'},
    "NUL": {"credentialsType": "MQTT_BASIC", "credentialsValue": '{"userName":"\\u0000"}'},
    "only a password": {"credentialsType": "MQTT_BASIC", "credentialsValue": '{"password":"p"}'},
    "password and client id": {"credentialsType": "MQTT_BASIC", "credentialsValue": '{"clientId":"c","password":"p"}'},
    "LwM2M of nothing": {"credentialsType": "LWM2M_CREDENTIALS", "credentialsId": "x", "credentialsValue": "{}"},
    "LwM2M without an endpoint": {
        "credentialsType": "LWM2M_CREDENTIALS",
        "credentialsValue": '{"client":{"securityConfigClientMode":"NO_SEC"},"bootstrap":{}}',
    },
}


@pytest.mark.parametrize("form", BAD_CREDENTIALS.values(), ids=BAD_CREDENTIALS)
def test_credentials_that_no_device_may_have_are_400(shared_operator, form):
    device = new_device(shared_operator)
    path = f"{PATH}/{device['id']['id']}/credentials"
    before = ok(shared_operator.get(path))
    own = {"id": before["id"], "deviceId": device["id"]}
    refused(shared_operator.post(f"{PATH}/credentials", json={**own, **form}), 400, 31)
    loser = name()
    form = {"device": {"name": loser}, "credentials": form}
    refused(shared_operator.post("/api/device-with-credentials", json=form), 400, 31)
    refused(shared_operator.get("/api/tenant/device", params={"deviceName": loser}), 404, 32)
    assert ok(shared_operator.get(path)) == before


def test_credentials_that_cannot_be_read_are_500(shared_operator):
    device = new_device(shared_operator)
    for wrong in ({"credentialsType": "SOMETHING"}, {"credentialsValue": {"userName": "a"}}):
        form = new_credentials(shared_operator, device, **wrong)
        refused(shared_operator.post(f"{PATH}/credentials", json=form), 500, 2)


def test_credentials_are_replaced_only_by_their_own_id_and_version(shared_operator):
    device, other = new_device(shared_operator), new_device(shared_operator)
    form = new_credentials(shared_operator, device, credentialsId=name())
    assert form["id"].keys() == {"id"}
    taken = "Credentials for this device are already specified!"
    refused(shared_operator.post(f"{PATH}/credentials", json={**form, "id": None}), 400, 31, taken)
    foreign = new_credentials(shared_operator, other)["id"]
    refused(shared_operator.post(f"{PATH}/credentials", json={**form, "id": foreign}), 400, 31)
    saved = ok(shared_operator.post(f"{PATH}/credentials", json=form))
    assert saved == {**form, "version": 2}
    refused(shared_operator.post(f"{PATH}/credentials", json={**form, "credentialsId": name()}), 409, 35)


def test_credentials_without_a_device_are_400(shared_operator):
    form = {"credentialsType": "ACCESS_TOKEN", "credentialsId": "x"}
    refused(shared_operator.post(f"{PATH}/credentials", json=form), 400, 31)


def test_credentials_of_another_device_are_400(shared_operator):
    token, device = name("token"), new_device(shared_operator)
    ok(shared_operator.post(f"{PATH}?accessToken={token}", json={"name": name()}))
    form = new_credentials(shared_operator, device, credentialsId=token)
    message = "Device credentials are already assigned to another device!"
    refused(shared_operator.post(f"{PATH}/credentials", json=form), 400, 31, message)


LWM2M = '{"client":{"securityConfigClientMode":"NO_SEC","endpoint":"endpoint"},"bootstrap":{}}'
PSK = '{"client":{"securityConfigClientMode":"PSK","endpoint":"e","identity":"identity","key":"00"},"bootstrap":{}}'
PARTS = '{"clientId":"c","userName":"u","password":"p"}'
KINDS = {
    "token": ({"credentialsType": "ACCESS_TOKEN", "credentialsId": "the-token"}, "the-token", None),
    "X.509": (
        {"credentialsType": "X509_CERTIFICATE", "credentialsValue": "-----BEGIN CERTIFICATE-----\nAB\nCD\n"},
        credentials.sha3("ABCD"),
        "ABCD",
    ),
    "MQTT": ({"credentialsType": "MQTT_BASIC", "credentialsValue": PARTS}, credentials.sha3("c|u"), PARTS),
    "LwM2M": ({"credentialsType": "LWM2M_CREDENTIALS", "credentialsValue": LWM2M}, "endpoint", LWM2M),
    "LwM2M with a key": ({"credentialsType": "LWM2M_CREDENTIALS", "credentialsValue": PSK}, "identity", PSK),
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
        ok(server_operator.post(f"{PATH}/credentials", json=new_credentials(server_operator, device, **form)))
    stored = ok(server_operator.get(f"{PATH}/{device['id']['id']}/credentials"))
    assert stored["deviceId"] == device["id"]
    assert stored["credentialsType"] == form["credentialsType"]
    assert (stored["credentialsId"], stored["credentialsValue"]) == (credentials_id, value)
    assert ok(server_operator.post(f"{PATH}/credentials", json=stored)) == stored


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
            ok(operator.post(f"{PATH}/credentials", json=new_credentials(operator, device)))  # what it has already
            assert received == []
            form = new_credentials(operator, device, credentialsId=name())
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
        form = new_credentials(operator, device, credentialsId="")
        refused(operator.post(f"{PATH}/credentials", json=form), 400, 31)
        stop()
    assert received == []
