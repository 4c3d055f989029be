"""Device profiles, as operators' clients make them."""

import json
import uuid

import pytest

from tests.support.operators import make_certificate, name, new_device, new_profile, ok, refused
from tests.support.servers import on_both_databases

PATH = "/api/deviceProfile"
ABSENT = uuid.UUID(int=1)
JSON = {"Content-Type": "application/json"}

BAD = {
    "no name": {},
    "no name but null": {"name": None},
    "name of another type": {"name": 1},
    "empty name": {"name": ""},
    "blank name": {"name": "  "},
    "name too long": {"name": "x" * 256},
    "NUL in the name": {"name": "a\0b"},
    "NUL in what is kept": {"name": "a", "profileData": {"alarms": [{"id": "a\0b"}]}},
    "NUL in a key that is kept": {"name": "a", "a\0b": 1},
    "half a surrogate pair": {"name": "\ud800"},
    "unknown strategy": {"name": "a", "provisionType": "SOMETHING"},
    "unknown transport": {"name": "a", "transportType": "SMOKE"},
    "data of another type": {"name": "a", "profileData": []},
    "malformed id": {"name": "a", "id": {"id": "1"}},
    "key too long": {"name": "a", "provisionDeviceKey": "x" * 256},
    "X.509 without certificate": {"name": "a", "provisionType": "X509_CERTIFICATE_CHAIN"},
    "malformed pattern": {
        "name": "a",
        "provisionType": "X509_CERTIFICATE_CHAIN",
        "profileData": {
            "provisionConfiguration": {
                "type": "X509_CERTIFICATE_CHAIN",
                "provisionDeviceSecret": "QUJD",
                "certificateRegExPattern": "(",
            }
        },
    },
}


@pytest.mark.parametrize("form", BAD.values(), ids=BAD)
def test_profile_that_cannot_be_stored_is_400(shared_operator, form):
    refused(shared_operator.post(PATH, content=json.dumps(form), headers=JSON), 400, 31)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"name":NaN}', b'{"name":"a","x":1e999}', b'{"name":"\xff"}', b"[" * 30_000]
)
def test_body_that_is_no_json_object_is_400(shared_operator, body):
    refused(shared_operator.post(PATH, content=body, headers=JSON), 400, 31)


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}, {"Content-Type": "application/xml"}])
def test_body_of_another_content_type_is_400(shared_operator, headers):
    refused(shared_operator.post(PATH, content=b'{"name":"a"}', headers=headers), 400, 31)


def test_body_beyond_the_limit_is_413(shared_operator):
    answer = shared_operator.post(PATH, json={"name": "a", "description": "x" * (1 << 20)})
    assert (answer.status_code, answer.json()) == (413, "Payload size exceeds the limit of 1048576 bytes")


def test_refused_strategy_quotes_no_secret(shared_operator):
    form = {"name": "a", "provisionType": "NONE", "profileData": {"provisionConfiguration": {"type": "the-secret"}}}
    assert "the-secret" not in refused(shared_operator.post(PATH, json=form), 400, 31)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_profile_that_is_not_there_is_404(shared_operator, method):
    refused(shared_operator.request(method, f"{PATH}/{ABSENT}"), 404, 32, "Requested item wasn't found!")
    refused(shared_operator.request(method, f"{PATH}/no-id"), 400, 31)


def test_update_of_a_profile_that_is_not_there_is_404(shared_operator):
    form = {"id": {"entityType": "DEVICE_PROFILE", "id": str(ABSENT)}, "name": name()}
    refused(shared_operator.post(PATH, json=form), 404, 32)
    refused(shared_operator.post(f"{PATH}/{ABSENT}/default"), 404, 32)


def test_names_and_keys_are_unique(shared_operator):
    first = new_profile(shared_operator)
    second = new_profile(shared_operator)
    taken = refused(shared_operator.post(PATH, json={"name": first["name"]}), 400, 31)
    assert taken == "Device profile with such name already exists!"
    form = {"name": name(), "provisionDeviceKey": first["provisionDeviceKey"]}
    taken = refused(shared_operator.post(PATH, json=form), 400, 31)
    assert taken == "Device profile with such provision device key already exists!"
    refused(shared_operator.post(PATH, json={**second, "name": first["name"]}), 400, 31)


def test_profile_that_has_devices_or_is_the_default_one_stays(shared_operator):
    profile = new_profile(shared_operator)
    new_device(shared_operator, deviceProfileId=profile["id"])
    kept = "The device profile referenced by the devices cannot be deleted!"
    refused(shared_operator.delete(f"{PATH}/{profile['id']['id']}"), 400, 31, kept)
    default = ok(shared_operator.get("/api/deviceProfileInfo/default"))
    kept = "Deletion of Default Device Profile is prohibited!"
    refused(shared_operator.delete(f"{PATH}/{default['id']['id']}"), 400, 31, kept)


PAGES = ["pageSize=0", "pageSize=-1", "page=-1", "pageSize=x", "pageSize=", "pageSize=99999999999", "page=99999999999"]
PAGES += ["sortProperty=password_hash", "sortOrder=UP", "textSearch=" + "x" * 256, "textSearch=a%00b"]


@pytest.mark.parametrize("wrong", PAGES)
@pytest.mark.parametrize("path", ["/api/deviceProfiles", "/api/deviceProfileInfos"])
def test_page_that_is_none_is_400(shared_operator, path, wrong):
    query = {"pageSize": "1", "page": "0"} | dict([wrong.split("=")])
    text = "&".join(f"{key}={value}" for key, value in query.items())
    refused(shared_operator.get(f"{path}?{text}"), 400, 31)


def test_profile_is_given_back_as_it_was_sent(shared_operator):
    form = {
        "name": name(),
        "description": "presses",
        "image": "data:image/png;base64,AAAA",
        "type": "DEFAULT",
        "transportType": "MQTT",
        "provisionType": "CHECK_PRE_PROVISIONED_DEVICES",
        "provisionDeviceKey": name("key"),
        "defaultQueueName": "Main",
        "profileData": {
            "configuration": {"type": "DEFAULT"},
            "transportConfiguration": {"type": "MQTT", "deviceTelemetryTopic": "v1/devices/me/telemetry"},
            "alarms": [{"id": "a", "alarmType": "hot"}],
            "provisionConfiguration": {"type": "CHECK_PRE_PROVISIONED_DEVICES", "provisionDeviceSecret": "secret"},
        },
    }
    made = ok(shared_operator.post(PATH, json=form))
    assert {key: made[key] for key in form} == form
    assert made["default"] is False
    assert made["id"]["entityType"] == "DEVICE_PROFILE"
    assert ok(shared_operator.get(f"{PATH}/{made['id']['id']}")) == made
    assert ok(shared_operator.post(PATH, json=made)) == made


def test_profile_without_a_strategy_is_disabled(shared_operator):
    made = ok(shared_operator.post(PATH, json={"name": name()}))
    assert made["provisionType"] == "DISABLED"
    assert made["transportType"] == "DEFAULT"
    assert made["profileData"]["provisionConfiguration"]["type"] == "DISABLED"
    assert made["provisionDeviceKey"] is None


def test_update_replaces_all(shared_operator):
    made = new_profile(shared_operator, "ALLOW_CREATE_NEW_DEVICES", description="old")
    new = name()
    updated = ok(shared_operator.post(PATH, json={"id": made["id"], "name": new}))
    assert (updated["name"], updated["provisionType"], updated["description"]) == (new, "DISABLED", None)
    assert updated["id"] == made["id"]
    assert updated["provisionDeviceKey"] is None


def test_certificates_are_stored_as_thingsboard_stores_them(shared_operator):
    pem = make_certificate()
    configuration = {
        "type": "X509_CERTIFICATE_CHAIN",
        "provisionDeviceSecret": pem,
        "certificateRegExPattern": "(.*)",
        "allowCreateNewDevicesByX509Certificate": True,
    }
    form = {
        "name": name(),
        "provisionType": "X509_CERTIFICATE_CHAIN",
        "profileData": {"provisionConfiguration": configuration},
    }
    made = ok(shared_operator.post(PATH, json=form))
    stored = made["profileData"]["provisionConfiguration"]
    trimmed = "".join(line for line in pem.splitlines() if "-----" not in line)
    assert stored == {**configuration, "provisionDeviceSecret": trimmed}
    assert len(made["provisionDeviceKey"]) == 64
    assert ok(shared_operator.post(PATH, json=made)) == made
    taken = "Device profile with such certificate already exists!"
    refused(shared_operator.post(PATH, json={**form, "name": name()}), 400, 31, taken)


def test_default_profile_is_one(server_operator):
    profile = new_profile(server_operator)
    assert ok(server_operator.post(f"{PATH}/{profile['id']['id']}/default"))["default"] is True
    every = ok(server_operator.get("/api/deviceProfiles?pageSize=100&page=0"))["data"]
    assert [each["name"] for each in every if each["default"]] == [profile["name"]]
    assert ok(server_operator.get("/api/deviceProfileInfo/default"))["id"] == profile["id"]
    assert new_device(server_operator)["type"] == profile["name"]


@on_both_databases
def test_profiles_are_paged_searched_and_sorted(server_operator):
    for each in ("Alpha", "beta", "a_b", "a%b", "back\\slash"):
        new_profile(server_operator, name=each)

    def found(**query):
        page = ok(server_operator.get("/api/deviceProfileInfos", params={"pageSize": 100, "page": 0, **query}))
        return [each["name"] for each in page["data"]]

    assert found(sortProperty="name", sortOrder="ASC") == ["Alpha", "a%b", "a_b", "back\\slash", "beta", "default"]
    assert found(textSearch="ALPHA") == ["Alpha"]
    for literal, only in (("_", "a_b"), ("%", "a%b"), ("\\", "back\\slash")):
        assert found(textSearch=literal) == [only]
    page = ok(server_operator.get("/api/deviceProfiles?pageSize=4&page=1&sortProperty=createdTime&sortOrder=ASC"))
    assert (page["totalPages"], page["totalElements"], page["hasNext"], len(page["data"])) == (2, 6, False, 2)
    assert ok(server_operator.get("/api/deviceProfiles?pageSize=4&page=9"))["data"] == []


def test_profiles_in_short(shared_operator):
    made = new_profile(shared_operator, image="data:,")
    short = ok(shared_operator.get(f"/api/deviceProfileInfo/{made['id']['id']}"))
    assert (short["id"], short["name"], short["image"]) == (made["id"], made["name"], "data:,")
    assert "profileData" not in short
    assert ok(shared_operator.get(f"/api/deviceProfileInfos/list?deviceProfileIds={made['id']['id']},{ABSENT}")) == [
        short
    ]
    refused(shared_operator.get("/api/deviceProfileInfos/list?deviceProfileIds=x"), 400, 31)
    names = ok(shared_operator.get("/api/deviceProfile/names"))
    assert {"id": made["id"], "name": made["name"]} in names


def test_deleted_profile_is_gone(shared_operator):
    made = new_profile(shared_operator)
    path = f"{PATH}/{made['id']['id']}"
    assert ok(shared_operator.delete(path)) is None
    refused(shared_operator.get(path), 404, 32)
