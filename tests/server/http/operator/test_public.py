"""Devices that everybody may see without an account: as ThingsBoard has them, but only to read."""

import uuid

import pytest

from bench.server.limits import Rules
from tests.support.operators import client, login, name, new_device, ok, refused
from tests.support.servers import on_both_databases

NOBODY = "13814000-1dd2-11b2-8080-808080808080"
DENIED = "You don't have permission to perform this operation!"
INVALID = "Invalid username or password"


def public_login(server, public_id):
    with client(server) as anonymous:
        return anonymous.post("/api/auth/login/public", json={"publicId": public_id})


@pytest.fixture(scope="module")
def everybody(shared_server, shared_operator):
    """A device that everybody may see, the id of the customer who stands for them, and a client of theirs."""
    device = new_device(shared_operator)
    device = ok(shared_operator.post(f"/api/customer/public/device/{device['id']['id']}"))
    public_id = device["customerId"]["id"]
    token = ok(public_login(shared_server, public_id))["token"]
    with client(shared_server, token) as anybody:
        yield device, public_id, anybody


@pytest.mark.parametrize("public_id", [str(uuid.UUID(int=1)), "x", "", None, {}], ids=str)
def test_login_by_what_is_not_public_is_401(shared_server, public_id):
    answer = public_login(shared_server, public_id)
    refused(answer, 401, 10)


def test_customer_who_is_not_public_lets_nobody_in(shared_server, shared_operator):
    for info in (None, {}, {"isPublic": False}, {"isPublic": "true"}, [True]):
        customer = ok(shared_operator.post("/api/customer", json={"title": name(), "additionalInfo": info}))
        refused(public_login(shared_server, customer["id"]["id"]), 401, 10, INVALID)


@on_both_databases
def test_device_is_shown_to_everybody_until_it_is_taken_back(server):
    with login(server) as operator:
        devices = [new_device(operator) for _ in range(2)]
        refused(operator.post(f"/api/customer/public/device/{uuid.UUID(int=1)}"), 404, 32)
        published = [ok(operator.post(f"/api/customer/public/device/{each['id']['id']}")) for each in devices]
        (public_id,) = {each["customerId"]["id"] for each in published}
        short = ok(operator.get(f"/api/customer/{public_id}/shortInfo"))
        assert short == {"title": "Public", "isPublic": True}
        tokens = ok(public_login(server, public_id))
        path = f"/api/device/{devices[0]['id']['id']}"
        with client(server, tokens["token"]) as anybody:
            assert ok(anybody.get(path))["name"] == devices[0]["name"]
            ok(operator.delete(f"/api/customer/device/{devices[0]['id']['id']}"))
            refused(anybody.get(path), 403, 20, DENIED)
            renewed = ok(anybody.post("/api/auth/token", json={"refreshToken": tokens["refreshToken"]}))
        with client(server, renewed["token"]) as anybody:
            assert ok(anybody.get("/api/auth/user"))["customerId"]["id"] == public_id
            customer = ok(operator.get(f"/api/customer/{public_id}"))
            ok(operator.post("/api/customer", json={**customer, "additionalInfo": None}))
            refused(anybody.get("/api/auth/user"), 401, 11)
            refused(anybody.post("/api/auth/token", json={"refreshToken": renewed["refreshToken"]}), 401, 11)
            other = f"/api/customer/public/device/{devices[0]['id']['id']}"
            refused(operator.post(other), 400, 31, "Customer with such title already exists!")


def test_everybody_reads_what_a_public_device_has(shared_operator, everybody):
    device, public_id, anybody = everybody
    telemetry = f"/api/plugins/telemetry/DEVICE/{device['id']['id']}"
    ok(shared_operator.post(f"{telemetry}/timeseries/ANY", json={"temperature": 21}))
    ok(shared_operator.post(f"{telemetry}/SERVER_SCOPE", json={"place": "hall"}))
    assert ok(anybody.get(f"{telemetry}/values/timeseries"))["temperature"][0]["value"] == "21"
    assert ok(anybody.get(f"{telemetry}/values/attributes"))[0]["value"] == "hall"
    found = ok(anybody.get(f"/api/customer/{public_id}/devices?pageSize=9&page=0"))["data"]
    assert device["name"] in [each["name"] for each in found]
    every = {"entityFilter": {"type": "entityType", "entityType": "DEVICE"}}
    assert ok(anybody.post("/api/entitiesQuery/count", json=every)) == len(found)
    me = ok(anybody.get("/api/auth/user"))
    assert (me["id"]["id"], me["email"], me["firstName"]) == (NOBODY, public_id, "Public")


WRITES = [
    ("POST", "/api/device", {"name": "x"}),
    ("POST", "/api/plugins/telemetry/DEVICE/{d}/SHARED_SCOPE", {"a": 1}),
    ("POST", "/api/plugins/telemetry/DEVICE/{d}/timeseries/ANY", {"a": 1}),
    ("DELETE", "/api/plugins/telemetry/DEVICE/{d}/SHARED_SCOPE?keys=a", None),
    ("POST", "/api/rpc/oneway/{d}", {"method": "a"}),
    ("POST", "/api/customer/device/x/claim", {}),
    ("DELETE", "/api/customer/device/x/claim", None),
    ("POST", "/api/auth/changePassword", {"currentPassword": "a", "newPassword": "abcdef"}),
    ("POST", "/api/relation", {}),
    ("GET", "/api/device/{d}/credentials", None),
    ("GET", "/api/device-connectivity/{d}", None),
    ("GET", "/api/users?pageSize=1&page=0", None),
    ("GET", "/api/customers?pageSize=1&page=0", None),
]


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_everybody_changes_nothing_and_sees_no_secret(everybody, method, path, body):
    device, _, anybody = everybody
    answer = anybody.request(method, path.format(d=device["id"]["id"]), json=body)
    assert (answer.status_code, DENIED in answer.text) == (403, True), answer.text


def test_everybody_may_log_out(shared_server, everybody):
    with client(shared_server, ok(public_login(shared_server, everybody[1]))["token"]) as anybody:
        ok(anybody.post("/api/auth/logout"))
        refused(anybody.get("/api/auth/user"), 401, 11)
    ok(everybody[2].get("/api/auth/user"))  # others stay


def test_guesses_are_limited(start_server):
    server = start_server(limits=Rules(per_address=3))
    guesses = [public_login(server, str(uuid.uuid4())) for _ in range(4)]
    assert [answer.status_code for answer in guesses] == [401, 401, 401, 429]
