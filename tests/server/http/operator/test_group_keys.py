"""The routes of group keys: shown once, to operators; and devices' own keys, for whoever makes boards."""

import pytest

from bench.contract.proof import claim_secret
from bench.registry.roles import Role
from tests.support.operators import name, new_operator, new_profile, ok, refused

CREATE, CHECK = "ALLOW_CREATE_NEW_DEVICES", "CHECK_PRE_PROVISIONED_DEVICES"


def path(profile, what=""):
    return f"/api/provisioning/deviceProfile/{profile['id']['id']}{what}"


def trail(operator, profile):
    """The actions on a profile, oldest first."""
    found = operator.get(
        f"/api/audit/logs/entity/DEVICE_PROFILE/{profile['id']['id']}?pageSize=50&page=0&sortProperty=createdTime&sortOrder=ASC"
    )
    return [(each["actionType"], each["userName"]) for each in ok(found)["data"]]


@pytest.fixture
def profile(shared_operator):
    return new_profile(shared_operator, CREATE)


def test_group_key_is_shown_when_it_is_made_and_never_again(shared_operator, profile):
    assert ok(shared_operator.get(path(profile))) == {"again": "refuse", "hasGroupKey": False}
    made = ok(shared_operator.post(path(profile, "/groupKey")))
    assert (made["again"], made["hasGroupKey"], len(made["groupKey"])) == ("refuse", True, 64)
    assert ok(shared_operator.get(path(profile))) == {"again": "refuse", "hasGroupKey": True}
    shown = [
        shared_operator.get(f"/api/deviceProfile/{profile['id']['id']}"),
        shared_operator.get("/api/deviceProfiles?pageSize=100&page=0"),
        shared_operator.get("/api/audit/logs?pageSize=100&page=0"),
    ]
    assert not any(made["groupKey"] in each.text for each in shown)
    again = ok(shared_operator.post(path(profile, "/groupKey")))
    assert again["groupKey"] != made["groupKey"]
    me = account_of(shared_operator)
    assert trail(shared_operator, profile)[-3:] == [
        ("CREDENTIALS_UPDATED", me),
        ("CREDENTIALS_READ", me),
        ("CREDENTIALS_UPDATED", me),
    ]


def account_of(operator):
    return ok(operator.get("/api/auth/user"))["email"]


def test_profile_keeps_its_group_key_and_policy_when_it_is_saved_as_thingsboard_has_it(shared_operator, profile):
    ok(shared_operator.post(path(profile, "/groupKey")))
    ok(shared_operator.post(path(profile), json={"again": "keep"}))
    saved = ok(shared_operator.get(f"/api/deviceProfile/{profile['id']['id']}"))
    assert set(saved) == set(profile)
    ok(shared_operator.post("/api/deviceProfile", json={**saved, "description": "changed"}))
    assert ok(shared_operator.get(path(profile))) == {"again": "keep", "hasGroupKey": True}


def test_policy_is_refused_without_a_group_key_and_unless_it_is_one(shared_operator, profile):
    refused(shared_operator.post(path(profile), json={"again": "keep"}), 400, 31)
    assert shared_operator.post(path(profile), json={"again": "always"}).status_code in (400, 500)
    ok(shared_operator.post(path(profile, "/groupKey")))
    assert ok(shared_operator.post(path(profile), json={"again": "reset"}))["again"] == "reset"
    refused(shared_operator.delete(path(profile, "/groupKey")), 400, 31)
    ok(shared_operator.post(path(profile), json={"again": "refuse"}))
    assert ok(shared_operator.delete(path(profile, "/groupKey"))) == {"again": "refuse", "hasGroupKey": False}
    ahead = new_profile(shared_operator, CHECK)
    ok(shared_operator.post(path(ahead, "/groupKey")))
    refused(shared_operator.post(path(ahead), json={"again": "reset"}), 400, 31)
    refused(shared_operator.post(path(new_profile(shared_operator), "/groupKey")), 400, 31)


def test_line_gets_the_keys_of_single_devices_and_not_the_group_key(shared_server, shared_operator, profile):
    key = ok(shared_operator.post(path(profile, "/groupKey")))["groupKey"]
    names = [name("press") for _ in range(3)]
    with new_operator(shared_server, Role.LINE) as line, new_operator(shared_server, Role.READ_ONLY) as reader:
        found = ok(line.post(path(profile, "/deviceKeys"), json={"deviceNames": names}))
        assert found == {"deviceKeys": [claim_secret(key, each) for each in names]}
        assert ok(line.get(path(profile)))["hasGroupKey"] is True
        for operator in (line, reader):
            for answer in (
                operator.post(path(profile, "/groupKey")),
                operator.delete(path(profile, "/groupKey")),
                operator.post(path(profile), json={"again": "keep"}),
            ):
                refused(answer, 403, 20)
        refused(reader.post(path(profile, "/deviceKeys"), json={"deviceNames": names}), 403, 20)
        assert trail(shared_operator, profile)[-1] == ("CREDENTIALS_READ", account_of(line))


@pytest.mark.parametrize("names", [[], ["x"] * 1001, [" "], None, "press-4"])
def test_names_that_nobody_has_get_no_keys(shared_operator, profile, names):
    ok(shared_operator.post(path(profile, "/groupKey")))
    answer = shared_operator.post(path(profile, "/deviceKeys"), json={"deviceNames": names})
    assert answer.status_code in (400, 500)


def test_profile_without_a_group_key_gives_no_keys(shared_operator, profile):
    refused(shared_operator.post(path(profile, "/deviceKeys"), json={"deviceNames": ["press-4"]}), 400, 31)
    missing = {"id": {"id": "784f394c-42b6-435a-983c-b7beff2784f9"}}
    refused(shared_operator.get(path(missing)), 404, 32)
