"""Templates over REST: who may, what is refused, and that devices show a change at once and keep what they have set."""

import json
from uuid import UUID

import pytest

from tests.support.operators import client, name, new_customers_user, new_device, new_profile, ok, refused

COLOR = {"type": "text", "default": "red"}
TEMPLATE = {
    "fields": {"color": COLOR, "voltage": {"type": "number", "required": True}},
    "telemetry": {"t": {"type": "number", "unit": "°C"}},
    "topics": "plant/{type}/{id}",
}


def of_profile(profile):
    return f"/api/template/deviceProfile/{profile['id']['id']}"


def of_device(device, what=""):
    return f"/api/template/device/{device['id']['id']}{what}"


@pytest.fixture
def profile(shared_operator):
    made = new_profile(shared_operator)
    ok(shared_operator.post(of_profile(made), json=TEMPLATE))
    return made


def new_of(operator, profile):
    """Make a device of a profile, with none of the values that this requires yet."""
    return new_device(operator, deviceProfileId=profile["id"], additionalInfo={"fields": {"voltage": None}})


@pytest.fixture
def device(shared_operator, profile):
    return new_of(shared_operator, profile)


def values(operator, device):
    return {key: each["value"] for key, each in ok(operator.get(of_device(device)))["fields"].items()}


def test_template_and_fields_are_changed_by_operators_alone(shared_server, shared_operator, profile, device):
    customer, user = new_customers_user(shared_server, shared_operator)
    with user:
        refused(user.get(of_device(device)), 403, 20)
        ok(shared_operator.post(f"/api/customer/{customer['id']['id']}/device/{device['id']['id']}"))
        assert ok(user.get(of_device(device)))["fields"]["color"]["value"] == "red"
        refused(user.post(of_device(device, "/fields"), json={"color": "blue"}), 403, 20)
        refused(user.get(of_profile(profile)), 403, 20)
        refused(user.post(of_profile(profile), json={}), 403, 20)
    with client(shared_server) as anonymous:
        refused(anonymous.get(of_device(device)), 401, 10)
    absent = {"id": {"id": str(UUID(int=1))}}
    for path in (of_profile(absent), of_device(absent)):
        refused(shared_operator.get(path), 404, 32)
    refused(shared_operator.post(of_device(absent, "/fields"), json={}), 404, 32)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"[]", 500, 2),
        (b"null", 500, 2),
        (b'{"fields": 1}', 400, 31),
        (b'{"colour": {}}', 400, 31),
        (b'{"topics": "iot/#/{id}"}', 400, 31),
        (b'{"topics": "{prefix}/{id}/x"}', 400, 31),
        (b'{"naming": "x"}', 400, 31),
        (b'{"fields": {"a": {"type": "text", "default": "\\u0000"}}}', 500, 2),
        (b'{"fields": {"a": {"type": "number", "default": 1e999}}}', 500, 2),
        (b'{"fields": ' * 300 + b"1" + b"}" * 300, 500, 2),
        (b'{"fields": ' * 200 + b"1" + b"}" * 200, 400, 31),
        (json.dumps({"telemetry": {f"{n:0200}": {"type": "text"} for n in range(250)}}).encode(), 400, 31),
    ],
)
def test_hostile_template_changes_nothing(shared_operator, profile, body, status, code):
    headers = {"Content-Type": "application/json"}
    refused(shared_operator.post(of_profile(profile), content=body, headers=headers), status, code)
    assert ok(shared_operator.get(of_profile(profile)))["topics"] == TEMPLATE["topics"]


@pytest.mark.parametrize(
    "changes", [{"colour": "x"}, {"color": 1}, {"color": "a\nb"}, {"color": {}}, {"voltage": "230"}, {"voltage": None}]
)
def test_value_that_does_not_fit_changes_nothing(shared_operator, device, changes):
    ok(shared_operator.post(of_device(device, "/fields"), json={"voltage": 230}))
    refused(shared_operator.post(of_device(device, "/fields"), json={"color": "blue", **changes}), 400, 31)
    assert values(shared_operator, device) == {"color": "red", "voltage": 230}


def test_devices_show_a_changed_template_at_once_and_keep_what_they_have_set(shared_operator, profile, device):
    other = new_of(shared_operator, profile)
    ok(shared_operator.post(of_device(device, "/fields"), json={"color": "blue", "voltage": 230}))
    assert values(shared_operator, device) == {"color": "blue", "voltage": 230}
    assert values(shared_operator, other) == {"color": "red", "voltage": None}
    ok(shared_operator.post(of_profile(profile), json={"fields": {"color": {**COLOR, "default": "green"}}}))
    assert values(shared_operator, device) == {"color": "blue"}
    assert values(shared_operator, other) == {"color": "green"}
    found = ok(shared_operator.get(of_device(device)))
    assert (found["hidden"], found["telemetry"]) == ({"voltage": 230}, {})
    assert found["topics"]["data"] == f"iot/{profile['name']}/{device['name']}/data"
    ok(shared_operator.post(of_profile(profile), json={}))
    assert ok(shared_operator.get(of_device(device)))["hidden"] == {"color": "blue", "voltage": 230}
    ok(shared_operator.post(of_profile(profile), json=TEMPLATE))
    assert values(shared_operator, device) == {"color": "blue", "voltage": 230}
    ok(shared_operator.post(of_device(device, "/fields"), json={"color": None}))
    assert values(shared_operator, device) == {"color": "red", "voltage": 230}


def test_thingsboards_clients_do_not_meet_a_template(shared_operator, profile, device):
    before = ok(shared_operator.get(f"/api/deviceProfile/{profile['id']['id']}"))
    assert "template" not in before
    assert "fields" not in ok(shared_operator.get(f"/api/device/{device['id']['id']}"))
    ok(shared_operator.post("/api/deviceProfile", json={**before, "name": name("renamed")}))
    found = ok(shared_operator.get(of_profile(profile)))
    assert (found["fields"]["color"], found["topics"]) == ({**COLOR, "required": False}, TEMPLATE["topics"])


LACKING = "its profile requires the field voltage: give it a value, in additionalInfo.fields"


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (None, LACKING),
        ("voltage", LACKING),
        ({"voltage": 230}, LACKING),
        ({"fields": {}}, LACKING),
        ({"fields": {"color": "blue"}}, LACKING),
        ({"fields": [["voltage", 230]]}, "additionalInfo.fields has to be an object of fields and their values"),
        ({"fields": {"voltage": "230"}}, "the field voltage takes a number: a whole one of at most"),
        ({"fields": {"voltage": [[]]}}, "the field voltage takes a number: a whole one of at most"),
        ({"fields": {"voltage": 1, "x" * 5000: 1}}, f"its profile has no field {'x' * 80}: it has color, voltage"),
    ],
)
def test_device_without_what_its_profile_requires_is_not_made(shared_operator, profile, info, message):
    form = {"name": name("device"), "deviceProfileId": profile["id"], "additionalInfo": info}
    own = {"credentialsType": "ACCESS_TOKEN", "credentialsId": name("token")}
    for path, body in (("", form), ("-with-credentials", {"device": form, "credentials": own})):
        assert refused(shared_operator.post(f"/api/device{path}", json=body), 400, 31).startswith(message)
    refused(shared_operator.get("/api/tenant/devices", params={"deviceName": form["name"]}), 404, 32)


def test_fields_that_a_client_gives_are_the_devices_and_no_additional_information(shared_operator, profile):
    info = {"description": "a press", "fields": {"voltage": 230}}
    made = new_device(shared_operator, deviceProfileId=profile["id"], additionalInfo=info)
    assert made["additionalInfo"] == {"description": "a press"}
    assert values(shared_operator, made) == {"color": "red", "voltage": 230}
    changed = {**made, "additionalInfo": {"fields": {"voltage": 24, "color": "blue"}}}
    assert ok(shared_operator.post("/api/device", json=changed))["additionalInfo"] is None
    assert values(shared_operator, made) == {"color": "blue", "voltage": 24}
    ok(shared_operator.post("/api/device", json={**made, "version": None}))  # as a client that knows no fields has it
    assert values(shared_operator, made) == {"color": "blue", "voltage": 24}
    refused(
        shared_operator.post(
            "/api/device", json={**changed, "version": None, "additionalInfo": {"fields": {"voltage": None}}}
        ),
        400,
        31,
        "the field voltage is required: give it another value, in additionalInfo.fields",
    )


def test_profile_that_requires_nothing_leaves_additional_information_alone(shared_operator, profile):
    ok(shared_operator.post(of_profile(profile), json={"fields": {"color": COLOR}}))
    for info in ({"fields": {"color": 1, "colour": []}}, {"fields": 7}):
        made = new_device(shared_operator, deviceProfileId=profile["id"], additionalInfo=info)
        assert made["additionalInfo"] == info
        assert values(shared_operator, made) == {"color": "red"}


def test_customers_user_changes_a_device_and_none_of_its_fields(shared_server, shared_operator, device):
    customer, user = new_customers_user(shared_server, shared_operator)
    with user:
        mine = ok(shared_operator.post(f"/api/customer/{customer['id']['id']}/device/{device['id']['id']}"))
        refused(user.post("/api/device", json={**mine, "additionalInfo": {"fields": {"voltage": 1}}}), 403, 20)
        ok(user.post("/api/device", json={**mine, "label": "mine"}))
    assert values(shared_operator, device)["voltage"] is None


def test_field_is_a_column_of_imports(shared_operator, profile):
    one, other = name("one"), name("other")
    columns = [{"type": "NAME"}, {"type": "TYPE"}, *({"type": "FIELD", "key": each} for each in ("color", "voltage"))]

    def load(*lines):
        text = "".join(f"{device},{profile['name']},{color},{voltage}\n" for device, color, voltage in lines)
        mapping = {"columns": columns, "delimiter": ",", "update": True, "header": False}
        return ok(shared_operator.post("/api/device/bulk_import", json={"file": text, "mapping": mapping}))

    def shown(device):
        found = ok(shared_operator.get("/api/tenant/devices", params={"deviceName": device}))
        return values(shared_operator, found)

    wrong = load((one, "", ""), (one, "red", "high"), (one, "a\x07", "1"))
    assert [each.partition(": ")[2].partition(": ")[2] for each in wrong["errorsList"]] == [
        "its profile requires the field voltage: give it a value",
        "the field voltage takes a number: a whole one of at most 9,007,199,254,740,992, or with a point",
        "the field color takes text of at most 1,024 characters, on one line",
    ]
    assert (wrong["created"], wrong["updated"]) == (0, 0)
    assert load((one, "blue", "230"), (other, "", "1.5"))["created"] == 2
    assert (shown(one), shown(other)) == ({"color": "blue", "voltage": 230}, {"color": "red", "voltage": 1.5})
    assert load((one, "", "12"), (other, "007", ""))["updated"] == 2  # an empty cell changes nothing
    assert (shown(one), shown(other)) == ({"color": "blue", "voltage": 12}, {"color": "007", "voltage": 1.5})
    assert load((one, "", "high"))["errors"] == 1
    assert shown(one)["voltage"] == 12


def test_devices_are_found_by_fields_and_shown_with_them(shared_operator, profile, device):
    ok(shared_operator.post(of_device(device, "/fields"), json={"voltage": 230}))
    new_of(shared_operator, profile)
    key = {"type": "ENTITY_FIELD", "key": "field.voltage"}

    def query(key, **predicate):
        return {
            "entityFilter": {"type": "deviceType", "deviceTypes": [profile["name"]], "deviceNameFilter": ""},
            "keyFilters": [{"key": key, "predicate": predicate}],
            "pageLink": {"pageSize": 10},
            "entityFields": [{"type": "ENTITY_FIELD", "key": each} for each in ("name", "field.color", "field.none")],
            "latestValues": [key],
        }

    wanted = query(key, type="NUMERIC", operation="GREATER", value={"defaultValue": 200})
    (found,) = ok(shared_operator.post("/api/entitiesQuery/find", json=wanted))["data"]
    shown = {name: each["value"] for name, each in found["latest"]["ENTITY_FIELD"].items()}
    assert shown == {"name": device["name"], "field.color": "red", "field.none": "", "field.voltage": "230"}
    assert ok(shared_operator.post("/api/entitiesQuery/count", json=wanted)) == 1
    wrong = query({**key, "key": "field.a'b"}, type="STRING", operation="EQUAL", value={"defaultValue": ""})
    refused(shared_operator.post("/api/entitiesQuery/find", json=wrong), 400, 31)
