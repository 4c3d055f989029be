"""Roles: which routes each may use, and what ends with an account."""

import asyncio
import contextlib
import re
import uuid

import pytest

from bench.registry import users
from bench.registry.roles import Role
from tests.support import role_table
from tests.support.operators import (
    client,
    login,
    name,
    new_account,
    new_customers_user,
    new_device,
    new_key,
    new_operator,
    new_profile,
    ok,
    refused,
    with_key,
)
from tests.support.role_table import CUSTOMER, CUSTOMER_KEY, KEYS, NO, NOBODY, PUBLIC
from tests.support.websockets import LiveClient, live, token_of


@pytest.fixture(scope="module")
def routes():
    return asyncio.run(role_table.of_new_server())


def test_route_without_a_guard_has_no_row():
    with pytest.raises(AssertionError, match="has no guard"):
        role_table.cells("GET", "/api/new", None)


@pytest.fixture(scope="module")
def senders(shared_server, shared_operator):
    """A client of each column of the table, and the customer whose user, or whom, it sees."""
    with contextlib.ExitStack() as stack:
        customer, user = new_customers_user(shared_server, shared_operator)
        form = {"title": name("public"), "additionalInfo": {"isPublic": True}}
        public = ok(shared_operator.post("/api/customer", json=form))["id"]["id"]
        with client(shared_server) as anonymous:
            everybody = ok(anonymous.post("/api/auth/login/public", json={"publicId": public}))["token"]
        found = {
            NOBODY: client(shared_server),
            PUBLIC: client(shared_server, everybody),
            CUSTOMER: user,
            CUSTOMER_KEY: with_key(shared_server, new_key(user)["value"]),
        }
        for role in Role:
            found[role] = new_operator(shared_server, role)
        for column, role in KEYS.items():
            found[column] = with_key(shared_server, new_key(shared_operator, role=role)["value"])
        for each in found.values():
            stack.enter_context(contextlib.closing(each))
        seen = {PUBLIC: public, **dict.fromkeys((CUSTOMER, CUSTOMER_KEY), customer["id"]["id"])}
        yield {column: (each, seen.get(column) or str(uuid.uuid4())) for column, each in found.items()}


def filled(path, customer):
    """Return a route's path with ids of nothing that exists, but for the customer."""
    known = {"customerId": customer, "entityType": "DEVICE", "scope": "SERVER_SCOPE", "deviceName": "none"}
    known |= {"otaPackageType": "FIRMWARE", "direction": "FROM", "relationType": "Contains", "enabledValue": "true"}
    known |= {"ttl": "1"}
    return re.sub(r"\{(\w+)\}", lambda found: known.get(found[1], str(uuid.uuid4())), path)


# A customer's user may change a device, and make none.
BODIES = {"/api/device": {"id": {"entityType": "DEVICE", "id": str(uuid.uuid4())}, "name": "none"}}


@pytest.mark.slow
def test_every_route_answers_each_role_as_the_page_has_it(routes, senders):
    guarded, _ = routes
    last = [each for each in guarded if each.path.endswith("/auth/logout")]  # it ends the sender's login
    wrong, sent = [], 0
    for row in [each for each in guarded if each not in last] + last:
        if row.method == "WS":
            continue
        for column, (sender, customer) in senders.items():
            path = filled(row.path, customer)
            body = {} if row.method in ("GET", "DELETE") else {"json": BODIES.get(row.path, {})}
            answer = sender.request(row.method, path, **body)
            sent += 1
            if (answer.status_code in (401, 403)) is not (row.cells[column] == NO):
                wrong.append((row.method, path, column, answer.status_code, answer.text[:80]))
    assert wrong == []
    assert sent == (len(guarded) - 3) * len(role_table.COLUMNS)


@pytest.mark.slow
def test_customers_users_get_nothing_of_what_is_another_customers(routes, senders, shared_server, shared_operator):
    guarded, _ = routes
    device = new_device(shared_operator)
    customer, stranger = new_customers_user(shared_server, shared_operator)
    stranger.close()
    ok(shared_operator.post(f"/api/customer/{customer['id']['id']}/device/{device['id']['id']}"))
    theirs = dict.fromkeys(("deviceId", "entityId"), device["id"]["id"]) | {"customerId": customer["id"]["id"]}
    theirs |= {"entityType": "DEVICE", "scope": "SERVER_SCOPE", "deviceName": device["name"], "ttl": "1"}
    for row in guarded:
        wanted = set(re.findall(r"\{(\w+)\}", row.path))
        if (
            row.method == "WS"
            or not wanted & {"deviceId", "entityId", "customerId", "deviceName"}
            or wanted - set(theirs)
        ):
            continue
        for column in (NOBODY, PUBLIC, CUSTOMER, CUSTOMER_KEY):
            path = re.sub(r"\{(\w+)\}", lambda found: theirs[found[1]], row.path)
            answer = senders[column][0].request(row.method, path, params={"pageSize": 9, "page": 0, "keys": "a"})
            assert answer.status_code in (400, 401, 403, 404), (row.method, path, column, answer.text)
    assert ok(shared_operator.get(f"/api/device/{device['id']['id']}"))["customerId"] == customer["id"]


# Roles.


def test_read_only_operator_reads_no_secret_of_a_profile(shared_server, shared_operator):
    profile = new_profile(shared_operator, "ALLOW_CREATE_NEW_DEVICES")
    secret = profile["profileData"]["provisionConfiguration"]["provisionDeviceSecret"]
    paths = (f"/api/deviceProfile/{profile['id']['id']}", "/api/deviceProfiles?pageSize=100&page=0")
    with (
        new_operator(shared_server, Role.READ_ONLY) as reader,
        new_operator(shared_server, Role.LINE) as line,
        with_key(shared_server, new_key(shared_operator, role=Role.READ_ONLY)["value"]) as key,
    ):
        for path in paths:
            assert secret in line.get(path).text
            for each in (reader, key):
                assert profile["provisionDeviceKey"] in each.get(path).text
                assert secret not in each.get(path).text
        device = new_device(shared_operator)["id"]["id"]
        token = ok(shared_operator.get(f"/api/device/{device}/credentials"))["credentialsId"]
        for each in (reader, line, key):
            commands = each.get(f"/api/device-connectivity/{device}").text
            assert "HIDDEN" in commands
            assert token not in commands
        assert token in shared_operator.get(f"/api/device-connectivity/{device}").text


def test_key_has_no_more_rights_than_its_account(shared_server, shared_operator):
    with new_operator(shared_server, Role.LINE) as line:
        me = ok(line.get("/api/auth/user"))["id"]
    key = new_key(shared_operator, user=me, role=Role.OPERATOR)
    with with_key(shared_server, key["value"]) as program:
        assert ok(program.get("/api/tenant/devices?pageSize=1&page=0"))
        refused(program.get("/api/users?pageSize=1&page=0"), 403, 20)
        refused(program.post("/api/device", json={"name": name()}), 403, 20)


def test_role_of_an_account_cannot_be_changed(shared_server, shared_operator):
    with new_operator(shared_server, Role.READ_ONLY) as reader:
        me = ok(reader.get("/api/auth/user"))
        assert me["role"] == "read-only"
        refused(reader.post("/api/user", json={**me, "role": "operator"}), 403, 20)
        raised = shared_operator.post("/api/user", json={**me, "role": "operator"})
        refused(raised, 400, 31, "Can't change the role of a user!")
        assert (
            ok(shared_operator.post("/api/user", json={**me, "firstName": "Jo", "role": None}))["role"] == "read-only"
        )
    refused(shared_operator.post("/api/user", json={**me, "id": None, "role": "king"}), 500, 2)


def test_customers_user_has_no_role(shared_server, shared_operator):
    customer, user = new_customers_user(shared_server, shared_operator)
    with user:
        assert ok(user.get("/api/auth/user"))["role"] is None
    form = {"email": "x@example.com", "authority": "CUSTOMER_USER", "customerId": customer["id"], "role": "line"}
    refused(shared_operator.post("/api/user", json=form), 400, 31, "Only operators have roles!")


def raise_role(session, email):
    """As whoever can write to the database, and has no key to it."""
    users.by_email(session, email).role = Role.OPERATOR


def test_row_with_another_role_lets_nobody_in(server, server_operator):
    who = new_account(server, Role.LINE)
    with login(server, who) as line:
        server.query(lambda registry: registry.write(raise_role, who["username"]))
        refused(line.get("/api/auth/user"), 401, 11)
    with client(server) as anonymous:
        refused(anonymous.post("/api/auth/login", json=who), 401, 10)


def test_line_has_no_websocket(shared_server, shared_operator):
    with new_operator(shared_server, Role.LINE) as line, LiveClient(shared_server) as socket:
        socket.send({"authCmd": {"cmdId": 0, "token": token_of(line)}})
        socket.expect_closed(1007)
    with new_operator(shared_server, Role.READ_ONLY) as reader, live(shared_server, reader) as socket:
        every = {"entityFilter": {"type": "entityType", "entityType": "DEVICE"}}
        assert "count" in socket.request(type="ENTITY_COUNT", cmd_id=1, query=every)


def test_what_a_role_is_refused_is_in_the_audit_trail(server, server_operator):
    who = new_account(server, Role.READ_ONLY)
    with login(server, who) as reader:
        refused(reader.post("/api/device", json={"name": name()}), 403, 20)
    rows = ok(server_operator.get("/api/audit/logs?pageSize=9&page=0&actionTypes=LOCKOUT"))["data"]
    assert [(each["userName"], each["entityName"]) for each in rows] == [(who["username"], "POST /api/device")]


# The last operator.


def test_last_operator_can_be_neither_removed_nor_disabled(server, server_operator):
    first = ok(server_operator.get("/api/auth/user"))["id"]["id"]
    new_operator(server, Role.READ_ONLY).close()
    form = {"email": "new@example.com", "authority": "TENANT_ADMIN"}
    invited = ok(server_operator.post("/api/user", json=form))  # without a password: nobody can log in as them
    disable = "userCredentialsEnabled?userCredentialsEnabled=false"
    with with_key(server, new_key(server_operator, user=invited["id"])["value"]) as program:
        last = "The last operator cannot be removed!"
        refused(program.delete(f"/api/user/{first}"), 400, 31, last)
        refused(program.post(f"/api/user/{first}/{disable}"), 400, 31, last)
        own = "Nobody can delete their own account!"
        refused(server_operator.delete(f"/api/user/{first}"), 400, 31, own)
        new_operator(server, Role.OPERATOR).close()
        ok(program.post(f"/api/user/{first}/{disable}"))
        refused(server_operator.get("/api/auth/user"), 401, 10)
        ok(program.delete(f"/api/user/{first}"))


# What ends with a login, an account, or a key.


def test_logout_ends_what_was_issued_to_that_login_and_nothing_else(server, server_operator):
    _, user = new_customers_user(server, server_operator)
    with contextlib.closing(user), login(server) as other:
        me = ok(user.get("/api/auth/user"))["id"]["id"]
        pairs = [ok(each.get(f"/api/user/{me}/token")) for each in (server_operator, other)]
        with client(server) as anonymous:
            renewed = ok(anonymous.post("/api/auth/token", json={"refreshToken": pairs[0]["refreshToken"]}))
            with client(server, renewed["token"]) as acting, live(server, acting) as socket:
                every = {"entityFilter": {"type": "entityType", "entityType": "DEVICE"}}
                assert socket.request(type="ENTITY_COUNT", cmd_id=1, query=every)["count"] == 0
                refused(acting.get(f"/api/user/{me}/token"), 403, 20)
                ok(server_operator.post("/api/auth/logout"))
                socket.expect_closed(1008, "Token has expired")
                refused(acting.get("/api/auth/user"), 401, 11)
            for pair in (pairs[0], renewed):
                body = {"refreshToken": pair["refreshToken"]}
                refused(anonymous.post("/api/auth/token", json=body), 401, 11)
            with client(server, pairs[1]["token"]) as acting:
                ok(acting.get("/api/auth/user"))
        ok(user.get("/api/auth/user"))
        ok(other.get("/api/auth/user"))


@pytest.mark.parametrize("how", ["delete", "disable", "password"])
def test_end_of_an_operator_ends_what_they_got_for_others(server, server_operator, how):
    _, user = new_customers_user(server, server_operator)
    who = new_account(server)
    with user, login(server, who) as operator:
        me = ok(operator.get("/api/auth/user"))["id"]["id"]
        pair = ok(operator.get(f"/api/user/{ok(user.get('/api/auth/user'))['id']['id']}/token"))
        if how == "delete":
            ok(server_operator.delete(f"/api/user/{me}"))
        elif how == "disable":
            ok(server_operator.post(f"/api/user/{me}/userCredentialsEnabled?userCredentialsEnabled=false"))
        else:
            form = {"currentPassword": who["password"], "newPassword": "another-password"}
            ok(operator.post("/api/auth/changePassword", json=form))
        with client(server, pair["token"]) as acting:
            assert acting.get("/api/auth/user").status_code == 401
            body = {"refreshToken": pair["refreshToken"]}
            assert acting.post("/api/auth/token", json=body).status_code == 401
        ok(user.get("/api/auth/user"))
