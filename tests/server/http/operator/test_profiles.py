"""Device profiles, as operators' clients make them."""

import json
import uuid

import pytest

from tests.support.operators import make_certificate, name, new_device, new_profile, ok, refused
from tests.support.servers import on_both_databases

PATH = "/api/deviceProfile"
ABSENT = uuid.UUID(int=1)
ABSENT_PROFILE = f"Device profile with id [{ABSENT}] is not found"
RULES = {"MAJOR": {"condition": {"condition": [{"key": {"type": "TIME_SERIES", "key": "t"}}]}}}
MQTT = {
    "transportConfiguration": {
        "type": "MQTT",
        "deviceTelemetryTopic": "v1/devices/me/telemetry",
        "deviceAttributesTopic": "v1/devices/me/attributes",
        "deviceAttributesSubscribeTopic": "v1/devices/me/attributes",
        "transportPayloadTypeConfiguration": {"transportPayloadType": "JSON"},
        "sparkplug": False,
        "sparkplugAttributesMetricNames": None,
        "sendAckOnValidationException": False,
    }
}
JSON = {"Content-Type": "application/json"}

DATA = {"transportConfiguration": {"type": "DEFAULT"}}


def form_of(**fields):
    """A form with all that a profile needs."""
    return {"name": name(), "type": "DEFAULT", "transportType": "DEFAULT", "profileData": DATA, **fields}


def alarms(*rules):
    return {"name": "a", "profileData": {**DATA, "alarms": list(rules)}}


BAD = {
    "no name but null": {"name": None},
    "no type": {"type": None},
    "no transport": {"transportType": None},
    "empty name": {"name": ""},
    "blank name": {"name": "  "},
    "name too long": {"name": "x" * 256},
    "markup in the name": {"name": "<b>a"},
    "markup in the description": {"name": "a", "description": "{{x}}"},
    "alarm without a type": alarms({"createRules": {}}),
    "alarm without a condition": alarms({"alarmType": "a", "createRules": {"MAJOR": {}}}),
    "alarms of one type": alarms({"alarmType": "hot"}, {"alarmType": "hot"}),
    "another default profile": {"name": "a", "default": True},
    "queue that is not there": {"name": "a", "defaultQueueName": "Slow"},
    **{
        f"{field} that is not there": {"name": "a", field: {"entityType": kind, "id": str(ABSENT)}}
        for field, kind in (
            ("defaultRuleChainId", "X"),
            ("defaultDashboardId", "X"),
            ("defaultEdgeRuleChainId", "X"),
            ("firmwareId", "OTA_PACKAGE"),
            ("softwareId", "OTA_PACKAGE"),
        )
    },
    "key too long": {"name": "a", "provisionDeviceKey": "x" * 256},
    "X.509 without certificate": {"name": "a", "provisionType": "X509_CERTIFICATE_CHAIN"},
    "malformed pattern": {
        "name": "a",
        "provisionType": "X509_CERTIFICATE_CHAIN",
        "profileData": {
            **DATA,
            "provisionConfiguration": {
                "type": "X509_CERTIFICATE_CHAIN",
                "provisionDeviceSecret": "QUJD",
                "certificateRegExPattern": "(",
            },
        },
    },
}
UNREADABLE = {
    "only a name": {"type": None, "transportType": None, "profileData": None},
    "no data": {"profileData": None},
    "no transport configuration": {"profileData": {}},
    "name that is a list": {"name": ["a"]},
    "NUL in the name": {"name": "a\0b"},
    "NUL in what is kept": alarms({"id": "a\0b"}),
    "NUL in a key": {"a\0b": 1},
    "half a surrogate pair": {"name": "\ud800"},
    "unknown strategy": {"provisionType": "SOMETHING"},
    "unknown type": {"type": "OTHER"},
    "unknown transport": {"transportType": "SMOKE"},
    "unknown transport of its configuration": {"profileData": {"transportConfiguration": {"type": "SMOKE"}}},
    "data of another type": {"profileData": []},
    "alarms of another type": {"profileData": {**DATA, "alarms": {}}},
    "alarm of an unknown severity": alarms(
        {"alarmType": "a", "createRules": {"BAD": {"condition": {"condition": []}}}}
    ),
    "malformed id": {"id": {"entityType": "DEVICE_PROFILE", "id": "1"}},
    "id without a type": {"id": {"id": str(ABSENT)}},
}


@pytest.mark.parametrize("form", BAD.values(), ids=BAD)
def test_profile_that_cannot_be_stored_is_400(shared_operator, form):
    refused(shared_operator.post(PATH, content=json.dumps(form_of(**form)), headers=JSON), 400, 31)


@pytest.mark.parametrize("form", UNREADABLE.values(), ids=UNREADABLE)
def test_profile_that_cannot_be_read_is_500(shared_operator, form):
    refused(shared_operator.post(PATH, content=json.dumps(form_of(**form)), headers=JSON), 500, 2)


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"null", b'{"name":NaN}', b'{"name":"a","x":1e999}', b'{"name":"\xff"}', b"[" * 30_000]
)
def test_body_that_is_no_json_object_is_500(shared_operator, body):
    refused(shared_operator.post(PATH, content=body, headers=JSON), 500, 2)


def test_missing_body_is_400(shared_operator):
    refused(shared_operator.post(PATH, content=b"", headers=JSON), 400, 31)


def test_profile_saved_without_its_data_stays_as_it_was(shared_operator):
    made = new_profile(shared_operator, "ALLOW_CREATE_NEW_DEVICES")
    path = f"{PATH}/{made['id']['id']}"
    for left_out in ("profileData", "type", "transportType"):
        form = {key: value for key, value in made.items() if key != left_out}
        refused(shared_operator.post(PATH, json=form), *((500, 2) if left_out == "profileData" else (400, 31)))
        assert ok(shared_operator.get(path)) == made


def test_transport_of_a_profile_in_use_stays(shared_operator):
    made = new_profile(shared_operator)
    moved = {**made, "transportType": "MQTT", "profileData": {**made["profileData"], **MQTT}}
    device = new_device(shared_operator, deviceProfileId=made["id"])
    message = "Can't change device profile transport type because devices referenced it!"
    refused(shared_operator.post(PATH, json=moved), 400, 31, message)
    ok(shared_operator.delete(f"/api/device/{device['id']['id']}"))
    changed = ok(shared_operator.post(PATH, json=moved))
    topics = changed["profileData"]["transportConfiguration"]
    assert (changed["transportType"], topics["deviceTelemetryTopic"]) == ("MQTT", "v1/devices/me/telemetry")


def test_profile_changed_since_is_409(shared_operator):
    made = new_profile(shared_operator)
    assert ok(shared_operator.post(PATH, json={**made, "description": "new"}))["version"] == 2
    message = "Device profile was already changed by someone else"
    refused(shared_operator.post(PATH, json={**made, "description": "other"}), 409, 35, message)


def test_unknown_fields_are_dropped(shared_operator):
    made = ok(shared_operator.post(PATH, json=form_of(colour="red", profileData={**DATA, "colour": "red"})))
    assert "red" not in json.dumps(made)
    assert made["profileData"]["alarms"] is None
    assert made["externalId"] is None


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}, {"Content-Type": "application/xml"}])
def test_body_of_another_content_type_is_500(shared_operator, headers):
    refused(shared_operator.post(PATH, content=b'{"name":"a"}', headers=headers), 500, 2)


def test_body_beyond_the_limit_is_413(shared_operator):
    answer = shared_operator.post(PATH, content=b"x" * ((16 << 20) + 1))
    assert (answer.status_code, answer.json()) == (413, "Payload size exceeds the limit of 16777216 bytes")


def test_large_body_is_taken(shared_operator):
    assert len(ok(shared_operator.post(PATH, json=form_of(image="x" * (2 << 20))))["image"]) == 2 << 20


def test_refused_strategy_quotes_no_secret(shared_operator):
    form = form_of(profileData={**DATA, "provisionConfiguration": {"type": "the-secret"}})
    assert "the-secret" not in refused(shared_operator.post(PATH, json=form), 500, 2)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_profile_that_is_not_there_is_404(shared_operator, method):
    refused(shared_operator.request(method, f"{PATH}/{ABSENT}"), 404, 32, ABSENT_PROFILE)
    refused(shared_operator.request(method, f"{PATH}/no-id"), 400, 31, "Invalid UUID string: no-id")


def test_update_of_a_profile_that_is_not_there_is_404(shared_operator):
    form = form_of(id={"entityType": "DEVICE_PROFILE", "id": str(ABSENT)})
    refused(shared_operator.post(PATH, json=form), 404, 32)
    refused(shared_operator.post(f"{PATH}/{ABSENT}/default"), 404, 32)


def test_names_and_keys_are_unique(shared_operator):
    first = new_profile(shared_operator)
    second = new_profile(shared_operator)
    taken = refused(shared_operator.post(PATH, json=form_of(name=first["name"])), 400, 31)
    assert taken == "Device profile with such name already exists!"
    form = form_of(provisionDeviceKey=first["provisionDeviceKey"])
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
PAGES += ["sortOrder=UP", "textSearch=" + "x" * 256, "textSearch=a%00b"]


@pytest.mark.parametrize("path", ["/api/deviceProfiles", "/api/deviceProfileInfos"])
def test_page_sorted_by_what_is_no_property_is_500(shared_operator, path):
    refused(shared_operator.get(f"{path}?pageSize=1&page=0&sortProperty=password_hash"), 500, 46)


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
            **MQTT,
            "alarms": [{"id": "a", "alarmType": "hot", "createRules": RULES, "clearRule": None}],
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
    made = ok(shared_operator.post(PATH, json=form_of()))
    assert made["provisionType"] == "DISABLED"
    assert made["transportType"] == "DEFAULT"
    assert made["profileData"]["provisionConfiguration"]["type"] == "DISABLED"
    assert made["provisionDeviceKey"] is None


def test_update_replaces_all(shared_operator):
    made = new_profile(shared_operator, "ALLOW_CREATE_NEW_DEVICES", description="old")
    new = name()
    updated = ok(shared_operator.post(PATH, json=form_of(id=made["id"], name=new)))
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
    form = form_of(
        provisionType="X509_CERTIFICATE_CHAIN", profileData={**DATA, "provisionConfiguration": configuration}
    )
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
    for wildcards, only in (("\\_", "a_b"), ("\\%", "a%b"), ("back\\\\s", "back\\slash"), ("be_a", "beta")):
        assert found(textSearch=wildcards) == [only]
    assert found() == ["default", "Alpha", "beta", "a_b", "a%b", "back\\slash"]
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
    names = "/api/deviceProfile/names"
    known = {"id": made["id"], "name": made["name"]}
    assert known in ok(shared_operator.get(names))
    assert known not in ok(shared_operator.get(names, params={"activeOnly": "true"}))
    new_device(shared_operator, deviceProfileId=made["id"])
    assert known in ok(shared_operator.get(names, params={"activeOnly": "true"}))


def test_deleted_profile_is_gone(shared_operator):
    made = new_profile(shared_operator)
    path = f"{PATH}/{made['id']['id']}"
    assert ok(shared_operator.delete(path)) is None
    refused(shared_operator.get(path), 404, 32)
