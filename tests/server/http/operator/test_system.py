"""The server as a whole: its release, its tenant, what there is; and customers and profiles in short."""

import pytest

from bench.contract.releases import NEWEST
from tests.support.operators import client, login, name, new_customer, new_device, new_profile, ok, refused
from tests.support.servers import on_both_databases

ABSENT = "00000000-0000-0000-0000-000000000001"


def test_release_is_that_of_the_api(shared_operator):
    found = ok(shared_operator.get("/api/system/info"))
    assert found == {"version": NEWEST.version, "artifact": "firstboot", "name": "firstboot", "type": "CE"}


def test_stranger_may_know_which_passwords_are_taken_and_nothing_else(shared_server):
    with client(shared_server) as anonymous:
        policy = ok(anonymous.get("/api/noauth/userPasswordPolicy"))
        assert (policy.pop("minimumLength"), policy.pop("maximumLength")) == (6, 72)
        assert (policy.pop("allowWhitespaces"), policy.pop("forceUserToResetPasswordIfNotValid")) == (True, False)
        assert set(policy.values()) == {None}
        for path in ("system/info", f"tenant/{ABSENT}", "usage", f"device-connectivity/{ABSENT}"):
            refused(anonymous.get(f"/api/{path}"), 401, 10)


def test_there_is_one_tenant(shared_operator):
    mine = ok(shared_operator.get("/api/auth/user"))["tenantId"]
    found = ok(shared_operator.get(f"/api/tenant/{mine['id']}"))
    assert (found["id"], found["title"], found["name"]) == (mine, "firstboot", "firstboot")
    assert found["createdTime"] > 0
    info = ok(shared_operator.get(f"/api/tenant/info/{mine['id']}"))
    assert info == {**found, "tenantProfileName": "Default"}
    for path in (f"tenant/{ABSENT}", f"tenant/info/{ABSENT}"):
        refused(shared_operator.get(f"/api/{path}"), 404, 32, f"Tenant with id [{ABSENT}] is not found")


@on_both_databases
def test_usage_counts_what_there_is(server):
    with login(server) as operator:
        before = ok(operator.get("/api/usage"))
        assert (before["devices"], before["customers"], before["users"]) == (0, 0, 1)
        new_device(operator)
        new_customer(server, operator)[1].close()
        after = ok(operator.get("/api/usage"))
    assert after == {**before, "devices": 1, "customers": 1, "users": 2}
    assert {value for key, value in after.items() if key.startswith("max")} == {0}


@on_both_databases
def test_keys_are_those_of_a_profile_s_devices(server):
    with login(server) as operator:
        profile = new_profile(operator)
        mine, other = new_device(operator, type=profile["name"]), new_device(operator)
        for device, keys in ((mine, "ba"), (other, "cb")):
            telemetry = f"/api/plugins/telemetry/DEVICE/{device['id']['id']}"
            for key in keys:
                ok(operator.post(f"{telemetry}/timeseries/ANY", json={f"t{key}": 1}))
                ok(operator.post(f"{telemetry}/SHARED_SCOPE", json={f"a{key}": 1}))
        path = "/api/deviceProfile/devices/keys"
        of_profile = {"deviceProfileId": profile["id"]["id"]}
        assert ok(operator.get(f"{path}/timeseries", params=of_profile)) == ["ta", "tb"]
        assert ok(operator.get(f"{path}/timeseries")) == ["ta", "tb", "tc"]
        assert ok(operator.get(f"{path}/attributes", params=of_profile)) == ["aa", "ab"]
        assert ok(operator.get(f"{path}/attributes")) == ["aa", "ab", "ac"]


@pytest.mark.parametrize("kind", ["timeseries", "attributes"])
def test_keys_of_a_profile_that_is_not_there_are_404(shared_operator, kind):
    path = f"/api/deviceProfile/devices/keys/{kind}"
    absent = f"Device profile with id [{ABSENT}] is not found"
    refused(shared_operator.get(path, params={"deviceProfileId": ABSENT}), 404, 32, absent)
    refused(shared_operator.get(path, params={"deviceProfileId": "x"}), 400, 31, "Invalid UUID string: x")


def test_customer_in_short(shared_operator):
    public = {"title": name("Acme <3"), "additionalInfo": {"isPublic": True}}
    for form, is_public in ((public, True), ({"title": name()}, False), ({**public, "title": name("x")}, True)):
        customer = ok(shared_operator.post("/api/customer", json=form))
        path = f"/api/customer/{customer['id']['id']}"
        assert ok(shared_operator.get(f"{path}/shortInfo")) == {"title": form["title"], "isPublic": is_public}
        answer = shared_operator.get(f"{path}/title")
        assert (answer.text, answer.headers["content-type"]) == (form["title"], "application/text")
    for path in ("shortInfo", "title"):
        refused(shared_operator.get(f"/api/customer/{ABSENT}/{path}"), 404, 32)
