"""Xively's API: devices are defined, get MQTT passwords, and are claimed with a code."""

import base64
import uuid

import pytest

from bench.server.limits import Rules
from tests.support.mqtt_packets import connack, connect
from tests.support.operators import client, login, name, new_customers_user, new_device, new_profile, ok, refused
from tests.support.raw_client import RawClient

CREDENTIALS, CODE, CLAIM = (
    "/api/v1/access/mqtt-credentials",
    "/api/v1/association/create-association-code",
    "/api/v1/association/start-association-with-code",
)


@pytest.fixture(scope="module")
def account(shared_operator):
    return ok(shared_operator.get("/api/auth/user"))["tenantId"]["id"]


@pytest.fixture(scope="module")
def buyer(shared_server, shared_operator):
    """A customer, and a client of their user."""
    customer, user = new_customers_user(shared_server, shared_operator)
    with user:
        yield customer["id"]["id"], user


def defined(operator, account, **fields):
    answer = operator.post("/api/v1/devices", json={"accountId": account, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()["device"]


def issued(operator, account, device_id):
    form = {"accountId": account, "entityId": device_id, "entityType": "device"}
    answer = ok(operator.post(CREDENTIALS, json=form))["mqttCredential"]
    assert {key: answer[key] for key in form} == form
    return answer["secret"]


def logs_in(server, username, password):
    with RawClient(server.ports.mqtt) as raw:
        raw.send(connect("any", username, password.encode()))
        return raw.read(4) == connack(0)


def code_of(operator, device_id, **fields):
    return ok(operator.post(CODE, json={"deviceId": device_id, **fields}))["associationCode"]


# --- refused


@pytest.mark.parametrize(
    ("path", "form", "status"),
    [
        ("/api/v1/devices", {}, 400),
        ("/api/v1/devices", {"accountId": str(uuid.UUID(int=1))}, 400),
        (CREDENTIALS, {"accountId": "{account}", "entityId": str(uuid.UUID(int=1)), "entityType": "endUser"}, 500),
        (CREDENTIALS, {"accountId": str(uuid.UUID(int=1)), "entityId": "{device}", "entityType": "device"}, 400),
        (CODE, {}, 400),
        (CODE, {"deviceId": "{device}", "durationMs": 0}, 500),
        (CODE, {"deviceId": "{device}", "durationMs": 1 << 60}, 500),
    ],
)
def test_forms_that_cannot_be_are_refused(shared_operator, account, path, form, status):
    device = new_device(shared_operator)["id"]["id"]
    values = {"{account}": account, "{device}": device}
    answer = shared_operator.post(path, json={key: values.get(each, each) for key, each in form.items()})
    refused(answer, status, {400: 31, 500: 2}[status])


def test_absent_device_gets_no_credentials_and_no_code(shared_operator, account):
    absent = str(uuid.UUID(int=1))
    form = {"accountId": account, "entityId": absent, "entityType": "device"}
    refused(shared_operator.post(CREDENTIALS, json=form), 404, 32)
    refused(shared_operator.post(CODE, json={"deviceId": absent}), 404, 32)


def test_roles_are_those_of_the_routes(shared_server, shared_operator, buyer):
    with client(shared_server) as nobody:
        for path in ("/api/v1/devices", CREDENTIALS, CODE, CLAIM, "/api/things/x/devices/y/provision/"):
            refused(nobody.post(path, json={}), 401, 10)
    _, user = buyer
    device = new_device(shared_operator)["id"]["id"]
    for path in ("/api/v1/devices", CREDENTIALS, CODE, "/api/things/x/devices/y/provision/"):
        form = {"accountId": device, "entityId": device, "entityType": "device", "deviceId": device}
        refused(user.post(path, json=form), 403, 20)
    refused(shared_operator.post(CLAIM, json={"associationCode": "x"}), 403, 20)


# --- devices and passwords


def test_device_goes_from_defined_to_associated(shared_server, shared_operator, account, buyer):
    profile = new_profile(shared_operator)
    device = defined(shared_operator, account, deviceTemplateId=profile["id"]["id"], serialNumber="S-1", name=name("x"))
    assert device["provisioningState"] == "defined"
    assert (device["accountId"], device["deviceTemplateId"]) == (account, profile["id"]["id"])
    assert device["serialNumber"] == "S-1"
    secret = issued(shared_operator, account, device["id"])
    assert len(base64.b64decode(secret, validate=True)) == 32
    assert logs_in(shared_server, device["id"], secret)
    again = issued(shared_operator, account, device["id"])
    assert not logs_in(shared_server, device["id"], secret)
    assert logs_in(shared_server, device["id"], again)
    _, user = buyer
    code = code_of(shared_operator, device["id"])
    answer = ok(user.post(CLAIM, json={"associationCode": code}))
    assert (answer["deviceId"], answer["provisioningState"]) == (device["id"], "associated")
    assert ok(user.get(f"/api/device/{device['id']}"))["name"] == device["name"]


def test_serial_number_may_repeat_and_a_name_is_the_id_unless_given(shared_operator, account):
    one, two = (defined(shared_operator, account, serialNumber="same") for _ in range(2))
    assert one["name"] == one["id"] != two["id"]
    assert one["serialNumber"] == two["serialNumber"] == "same"
    refused(shared_operator.post("/api/v1/devices", json={"accountId": account, "name": one["name"]}), 400, 31)


# --- association codes


def test_code_is_used_once_by_whoever_types_it(shared_operator, buyer):
    customer, user = buyer
    device = new_device(shared_operator)["id"]["id"]
    code = code_of(shared_operator, device)
    typed = code.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    answer = ok(user.post(CLAIM, json={"associationCode": typed}))
    assert ok(shared_operator.get(f"/api/device/{device}"))["customerId"]["id"] == customer
    assert answer["endUserId"] == ok(user.get("/api/auth/user"))["id"]["id"]
    refused(user.post(CLAIM, json={"associationCode": code}), 400, 31, "Association code is wrong, used or expired!")


def test_code_that_was_replaced_or_expired_is_worth_nothing(shared_operator, buyer):
    _, user = buyer
    device = new_device(shared_operator)["id"]["id"]
    old, new = code_of(shared_operator, device), code_of(shared_operator, device, durationMs=1)
    for code in (old, new, "", "x" * 64):
        refused(user.post(CLAIM, json={"associationCode": code}), 400, 31)
    assert ok(shared_operator.get(f"/api/device/{device}"))["customerId"]["id"].startswith("13814000")


def test_code_of_somebody_else_s_device_hands_it_to_nobody(shared_server, shared_operator, buyer):
    customer, user = buyer
    device = new_device(shared_operator)["id"]["id"]
    other, other_user = new_customers_user(shared_server, shared_operator)
    ok(shared_operator.post(f"/api/customer/{other['id']['id']}/device/{device}"))
    code = code_of(shared_operator, device)
    with other_user:
        refused(user.post(CLAIM, json={"associationCode": code}), 400, 31)
        assert ok(other_user.post(CLAIM, json={"associationCode": code}))["provisioningState"] == "associated"
    assert customer != other["id"]["id"]


def test_user_cannot_claim_for_another_one(buyer):
    _, user = buyer
    refused(user.post(CLAIM, json={"associationCode": "x", "endUserId": str(uuid.UUID(int=1))}), 403, 20)


def test_guesses_are_counted(start_server):
    server = start_server(limits=Rules(per_caller=3))
    with login(server) as operator:
        _, user = new_customers_user(server, operator)
        with user:
            answers = [user.post(CLAIM, json={"associationCode": "0000-0000-0000"}).status_code for _ in range(5)]
            code = code_of(operator, new_device(operator)["id"]["id"])
            assert answers[-1] == user.post(CLAIM, json={"associationCode": code}).status_code == 429
            assert answers[:3] == [400, 400, 400]


# --- templates


@pytest.fixture
def templated(shared_operator):
    """A profile with a template, and its path."""
    profile = new_profile(shared_operator)
    template = {
        "fields": {
            "modelNumber": {"type": "text", "default": "WM-3000"},
            "voltage": {"type": "number", "required": True},
        },
        "naming": "{type}/{NN}",
    }
    ok(shared_operator.post(f"/api/template/deviceProfile/{profile['id']['id']}", json=template))
    return profile


@pytest.mark.parametrize(
    "fields", [{}, {"voltage": None}, {"voltage": "230"}, {"voltage": 230, "modelNumber": 1}, {"voltage": {}}]
)
def test_device_without_what_its_template_requires_is_not_defined(shared_operator, account, templated, fields):
    form = {"accountId": account, "deviceTemplateId": templated["id"]["id"], **fields}
    refused(shared_operator.post("/api/v1/devices", json=form), 400, 31)
    found = ok(shared_operator.get(f"/api/tenant/devices?pageSize=9&page=0&type={templated['name']}"))
    assert found["data"] == []


def test_device_inherits_fields_and_a_name_from_its_template(shared_operator, account, templated):
    template = {"deviceTemplateId": templated["id"]["id"]}
    for name_given, expected in (("", "01"), ("", "02"), (f"{templated['name']}/41", "41"), ("", "42")):
        made = defined(shared_operator, account, **template, voltage=230, name=name_given or None, other="not a field")
        assert made["name"] == f"{templated['name']}/{expected}"
        assert (made["modelNumber"], made["voltage"], "other" in made) == ("WM-3000", 230, False)
    found = ok(shared_operator.get(f"/api/template/device/{made['id']}"))["fields"]
    assert (found["modelNumber"]["own"], found["voltage"]["own"]) == (False, True)


def test_name_of_a_decommissioned_device_is_passed_over(shared_operator, account, templated):
    template = {"deviceTemplateId": templated["id"]["id"], "voltage": 1}
    for _ in range(2):
        made = defined(shared_operator, account, **template)
    ok(shared_operator.post(f"/api/lifecycle/device/{made['id']}/decommission"))
    ok(shared_operator.delete(f"/api/device/{made['id']}"))
    assert defined(shared_operator, account, **template)["name"] == f"{templated['name']}/03"
