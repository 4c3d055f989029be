"""Operators who do the same thing at once, twenty at a time: each change is decided where it is made."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from bench.contract.credentials import CredentialsType
from tests.support.operators import (
    account,
    client,
    login,
    name,
    new_credentials,
    new_customer,
    new_device,
    new_profile,
    ok,
    refused,
)
from tests.support.servers import on_both_databases

pytestmark = on_both_databases

CROWD = 20
PATIENCE_S = 60
USER = "/api/auth/user"
# Too late is not an error of the server's: 400 names the reason, 401 is a token that has ended, 404 what is gone.
LATE = {400, 401, 404, 409}


def at_once(*requests):
    """Send all of these (functions) at once; return their answers in order."""
    start = threading.Barrier(len(requests))

    def send(request):
        start.wait(PATIENCE_S)
        return request()

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(send, requests))


def crowd(request):
    """Send `request(n)` twenty times at once; return the answers."""
    return at_once(*(lambda n=n: request(n) for n in range(CROWD)))


def only_one(answers):
    """Expect that one of these was let in, and that the others were too late; return it."""
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses[200] == 1, statuses
    assert set(statuses) <= {200, *LATE}, statuses
    return next(answer for answer in answers if answer.status_code == 200)


def trail(operator, what):
    rows = ok(operator.get("/api/audit/logs", params={"pageSize": 1000, "page": 0, "sortProperty": "createdTime"}))
    return Counter(row["actionStatus"] for row in rows["data"] if row["actionType"] == what)


@pytest.fixture
def operator(server):
    with login(server) as logged_in:
        yield logged_in


# One name.


def test_one_device_has_a_name(operator):
    same = name("device")
    made = only_one(crowd(lambda _: operator.post("/api/device", json={"name": same}))).json()
    assert ok(operator.get("/api/tenant/devices", params={"deviceName": same}))["id"] == made["id"]
    assert trail(operator, "ADDED") == {"SUCCESS": 1, "FAILURE": CROWD - 1}


def test_one_device_has_a_token(operator):
    token = name("token")
    only_one(crowd(lambda _: operator.post("/api/device", params={"accessToken": token}, json={"name": name()})))


def test_one_device_is_given_a_name_or_credentials(operator):
    made = [new_device(operator) for _ in range(CROWD)]
    same = name("device")
    only_one(crowd(lambda n: operator.post("/api/device", json={**made[n], "name": same})))
    token = name("token")
    forms = [new_credentials(operator, each, credentialsId=token) for each in made]
    only_one(crowd(lambda n: operator.post("/api/device/credentials", json=forms[n])))


def test_one_customer_user_and_profile_has_a_name(operator):
    same = name()
    only_one(crowd(lambda _: operator.post("/api/customer", json={"title": same})))
    form = {"email": f"{same}@example.org", "authority": "TENANT_ADMIN"}
    only_one(crowd(lambda _: operator.post("/api/user", json=form)))
    key = name("key")
    strategy = {"type": "DISABLED", "provisionDeviceSecret": "s"}
    profile = {"type": "DEFAULT", "transportType": "DEFAULT", "provisionType": "DISABLED", "provisionDeviceKey": key}
    profile["profileData"] = {"transportConfiguration": {"type": "DEFAULT"}, "provisionConfiguration": strategy}
    only_one(crowd(lambda _: operator.post("/api/deviceProfile", json={"name": name(), **profile})))


def test_import_of_one_name_makes_one_device(operator):
    same = name("device")
    mapping = {"columns": [{"type": "NAME"}, {"type": "ACCESS_TOKEN"}], "delimiter": ",", "header": False}
    form = {"mapping": {**mapping, "update": False}}
    answers = crowd(lambda n: operator.post("/api/device/bulk_import", json={**form, "file": f"{same},{name()}-{n}"}))
    results = [ok(answer) for answer in answers]
    assert sum(each["created"] for each in results) == 1
    assert sum(each["created"] + each["updated"] + each["errors"] for each in results) == CROWD


# One profile is the default one.


def test_one_profile_is_the_default_one(operator):
    made = [new_profile(operator) for _ in range(CROWD)]
    for answer in crowd(lambda n: operator.post(f"/api/deviceProfile/{made[n]['id']['id']}/default")):
        ok(answer)
    found = ok(operator.get("/api/deviceProfiles", params={"pageSize": 100, "page": 0}))["data"]
    assert [profile["default"] for profile in found].count(True) == 1


@pytest.mark.parametrize("becomes", ["the default one", "a device's"])
def test_profile_is_not_deleted_while_it_becomes(operator, becomes):
    for _ in range(3):
        made = new_profile(operator)
        path = f"/api/deviceProfile/{made['id']['id']}"
        use = partial(operator.post, f"{path}/default")
        if becomes == "a device's":
            use = partial(new_device_of, operator, made["id"])
        deleted, *rest = at_once(partial(operator.delete, path), *[use] * 5)
        assert {answer.status_code for answer in (deleted, *rest)} <= {200, *LATE}
        there = operator.get(path).status_code == 200
        assert there == (deleted.status_code != 200)
        assert there == any(answer.status_code == 200 for answer in rest)
    found = ok(operator.get("/api/deviceProfiles", params={"pageSize": 100, "page": 0}))["data"]
    assert [profile["default"] for profile in found].count(True) == 1


def new_device_of(operator, profile_id):
    return operator.post("/api/device", json={"name": name("device"), "deviceProfileId": profile_id})


# One owner.


def test_device_is_deleted_once(operator):
    path = f"/api/device/{new_device(operator)['id']['id']}"
    only_one(crowd(lambda _: operator.delete(path)))
    assert trail(operator, "DELETED") == {"SUCCESS": 1, "FAILURE": CROWD - 1}


def test_device_is_taken_back_once(operator, server):
    customer, user = new_customer(server, operator)
    user.close()
    device = new_device(operator)["id"]["id"]
    ok(operator.post(f"/api/customer/{customer['id']['id']}/device/{device}"))
    only_one(crowd(lambda _: operator.delete(f"/api/customer/device/{device}")))


def test_offer_is_claimed_by_one_customer(operator, server):
    token, claimed = name("token"), name("device")
    ok(operator.post("/api/device", params={"accessToken": token}, json={"name": claimed}))
    ok(operator.post(f"/api/v1/{token}/claim", json={"secretKey": "a secret"}))
    customers = [new_customer(server, operator) for _ in range(4)]
    path, form = f"/api/customer/device/{claimed}/claim", {"secretKey": "a secret"}
    answers = crowd(lambda n: customers[n % 4][1].post(path, json=form))
    for _, user in customers:
        user.close()
    assert Counter(answer.status_code for answer in answers) == {200: 1, 400: CROWD - 1}
    winner = next(answer for answer in answers if answer.status_code == 200).json()["device"]["customerId"]
    found = ok(operator.get("/api/tenant/devices", params={"deviceName": claimed}))
    assert found["customerId"]["id"] == winner["id"]


# Accounts.


def test_account_is_activated_once(operator, server):
    account_form = {"email": f"{name()}@example.org", "authority": "TENANT_ADMIN"}
    user = ok(operator.post("/api/user", json=account_form))
    token = operator.get(f"/api/user/{user['id']['id']}/activationLink").text.split("activateToken=")[1]
    with client(server) as anonymous:
        forms = [{"activateToken": token, "password": f"password-{n}"} for n in range(6)]  # each takes a while to hash
        answers = at_once(*(partial(anonymous.post, "/api/noauth/activate", json=form) for form in forms))
        winner = only_one(answers)
        password = forms[answers.index(winner)]["password"]
        ok(anonymous.post("/api/auth/login", json={"username": account_form["email"], "password": password}))
        with client(server, winner.json()["token"]) as new:
            ok(new.get(USER))


def test_password_is_changed_once(operator, server):
    right = account(server)
    answers = at_once(
        *(
            lambda n=n: operator.post(
                "/api/auth/changePassword",
                json={"currentPassword": right["password"], "newPassword": f"new-password-{n}"},
            )
            for n in range(6)  # an address may have no more that wait
        )
    )
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 400, 401, 409, 429}
    password = f"new-password-{statuses.index(200)}"
    login(server, {**right, "password": password}).close()


def new_operator(operator):
    """Make an operator; return the id of the account, the password and a token."""
    email = f"{name('op')}@example.org"
    user = ok(operator.post("/api/user", json={"email": email, "authority": "TENANT_ADMIN"}))["id"]["id"]
    token = operator.get(f"/api/user/{user}/activationLink").text.split("activateToken=")[1]
    return user, ok(operator.post("/api/noauth/activate", json={"activateToken": token, "password": "a-password"}))


@pytest.mark.parametrize("turn", range(3))
def test_operators_who_delete_each_other_leave_one(operator, server, turn):
    (one, first), (two, second) = new_operator(operator), new_operator(operator)
    with client(server, first["token"]) as first, client(server, second["token"]) as second:
        answers = at_once(partial(first.delete, f"/api/user/{two}"), partial(second.delete, f"/api/user/{one}"))
    assert sorted(answer.status_code for answer in answers) == [200, 401]
    assert sorted(operator.get(f"/api/user/{each}").status_code for each in (one, two)) == [200, 404]


def test_session_that_ends_takes_what_is_under_way_with_it(operator, server):
    """Whatever was answered with 200 was decided before the logout; nothing was done after it."""
    with login(server) as other:
        answers = at_once(
            lambda: other.post("/api/auth/logout"), *(lambda: other.post("/api/customer", json={"title": name()}),) * 10
        )
    statuses = [answer.status_code for answer in answers]
    assert statuses[0] == 200
    assert set(statuses[1:]) <= {200, 401}
    found = ok(operator.get("/api/customers", params={"pageSize": 100, "page": 0}))
    assert found["totalElements"] == statuses[1:].count(200)


@pytest.mark.parametrize("end", ["logout", "deletion", "password"])
def test_request_whose_body_comes_after_the_end_of_its_session_changes_nothing(operator, server, end):
    """Its token was valid with the first byte, and is not with the last one."""
    title, (user, pair) = name("customer"), new_operator(operator)
    token = pair["token"]
    begun, go_on = threading.Event(), threading.Event()

    def body():
        yield b'{"title":'
        begun.set()
        assert go_on.wait(PATIENCE_S)
        yield f'"{title}"}}'.encode()

    with client(server, token) as slow, client(server, token) as same, ThreadPoolExecutor(1) as pool:
        headers = {"Content-Type": "application/json"}
        answer = pool.submit(slow.post, "/api/customer", content=body(), headers=headers)
        try:
            assert begun.wait(PATIENCE_S)
            ok(same.get(USER))
            if end == "logout":
                ok(same.post("/api/auth/logout"))
            elif end == "deletion":
                ok(operator.delete(f"/api/user/{user}"))
            else:
                change = {"currentPassword": "a-password", "newPassword": "b-password"}
                ok(same.post("/api/auth/changePassword", json=change))
        finally:
            go_on.set()
        refused(answer.result(PATIENCE_S), 401, 11)
    refused(operator.get("/api/tenant/customers", params={"customerTitle": title}), 404, 32)


# Operators and devices.


def test_credentials_that_an_operator_sets_are_not_lost_to_a_device_that_rotates(operator, server):
    """Whichever comes last, the row is one of both as a whole: what it opens is what it shows."""
    token, made = name("token"), name("device")
    device = ok(operator.post("/api/device", params={"accessToken": token}, json={"name": made}))
    tokens = [name(f"token-{n}") for n in range(CROWD)]

    own = new_credentials(operator, device, version=None)

    def change(n):
        return operator.post("/api/device/credentials", json={**own, "credentialsId": tokens[n]})

    for answer in crowd(change):
        assert answer.status_code in (200, 409)
    stored = ok(operator.get(f"/api/device/{device['id']['id']}/credentials"))
    assert (stored["credentialsType"], stored["credentialsId"] in tokens) == (CredentialsType.ACCESS_TOKEN, True)
    for each in (*tokens, token):
        found = server.query(lambda registry, each=each: registry.token_login(each))
        assert bool(found) == (each == stored["credentialsId"])
