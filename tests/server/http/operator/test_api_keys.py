"""API keys of accounts: as ThingsBoard has them since 4.3, and with roles."""

import contextlib
import re
import time
import uuid

import httpx
import pytest

from bench.contract.releases import release
from bench.registry import api_keys
from bench.registry.api_keys import ShownKey
from bench.registry.model import ApiKey
from bench.registry.roles import Role
from bench.server.limits import Rules
from tests.support.at_rest import everything, holding
from tests.support.operators import (
    account,
    client,
    login,
    name,
    new_customers_user,
    new_key,
    new_operator,
    ok,
    refused,
    with_key,
)
from tests.support.servers import on_both_databases
from tests.support.websockets import live

USER = "/api/auth/user"
EVERY = {"entityFilter": {"type": "entityType", "entityType": "DEVICE"}}
SECRET = "A" * 43


def me(operator):
    return ok(operator.get(USER))["id"]


def rows(operator, *actions, kind="API_KEY"):
    found = ok(operator.get(f"/api/audit/logs?pageSize=50&page=0&actionTypes={','.join(actions)}"))["data"]
    return [each for each in found if each["entityId"]["entityType"] == kind]


# Keys that let nobody in.


def wrong_keys(right):
    other = uuid.uuid4().hex
    return {
        "garbage": "tb_key",
        "another secret": right[:-1] + ("A" if right[-1] != "A" else "B"),
        "another id": right.replace(right[3:35], other),
        "secret alone": right[36:],
        "upper case": right.upper(),
        "longer": right + "A",
        "shorter": right[:-1],
        "two": f"{right} {right}",
        "LIKE": f"fb_{'%' * 32}_{SECRET}",
        "long": "fb_" + "0" * 4000,
    }


def test_key_that_is_wrong_is_401_and_does_not_reveal_what_is_wrong(shared_server, shared_operator):
    right = new_key(shared_operator)["value"]
    for wrong in wrong_keys(right).values():
        with with_key(shared_server, wrong) as program:
            refused(program.get(USER), 401, 10, "Authentication failed")
    with client(shared_server) as program:
        for scheme in ("Bearer ", "Basic ", "Token ", "ApiKey:", ""):
            assert program.get(USER, headers={"X-Authorization": f"{scheme}{right}"}).status_code == 401
        assert program.get(USER, headers={"X-Authorization": "ApiKey"}).status_code == 401
    with client(shared_server) as anonymous:
        refused(anonymous.post("/api/auth/token", json={"refreshToken": right}), 401, 10)


@pytest.mark.parametrize("header", ["X-Authorization", "Authorization"])
@pytest.mark.parametrize("scheme", ["ApiKey", "apikey"])
def test_key_is_taken_in_either_header(shared_server, shared_operator, header, scheme):
    made = new_key(shared_operator)
    with client(shared_server) as program:
        assert ok(program.get(USER, headers={header: f"{scheme} {made['value']}"}))["id"] == made["userId"]


def test_older_releases_have_no_keys(start_server):
    server = start_server(like=release("4.2.2"))
    with login(server) as operator:
        for method, path in (("GET", f"/api/apiKeys/{uuid.uuid4()}"), ("DELETE", f"/api/apiKey/{uuid.uuid4()}")):
            refused(operator.request(method, path), 404, 32)
    with with_key(server, f"fb_{'0' * 32}_{SECRET}") as program:
        refused(program.get(USER), 401, 10)


def test_key_that_is_disabled_expired_or_revoked_is_401(server, server_operator):
    keys = [new_key(server_operator, expirationTime=at) for at in (0, 0, int(time.time() * 1000) + 3_600_000, 1, -1)]
    disabled, revoked, valid, past, negative = keys
    off = ok(server_operator.put(f"/api/apiKey/{disabled['id']['id']}/enabled/false"))
    assert (off["enabled"], off["expired"], valid["expired"], past["expired"]) == (False, False, False, True)
    ok(server_operator.delete(f"/api/apiKey/{revoked['id']['id']}"))
    refused(server_operator.delete(f"/api/apiKey/{revoked['id']['id']}"), 404, 32)
    messages = {
        disabled["value"]: "API key auth is not active",
        revoked["value"]: "Authentication failed",
        past["value"]: "API key is expired",
        negative["value"]: "API key is expired",
    }
    for value, message in messages.items():
        with with_key(server, value) as program:
            refused(program.get(USER), 401, 10, message)
    with with_key(server, valid["value"]) as program:
        ok(program.get(USER))
        ok(program.post("/api/auth/logout"))  # a key has no session that could end
        ok(program.get(USER))
    ok(server_operator.put(f"/api/apiKey/{disabled['id']['id']}/enabled/true"))
    with with_key(server, disabled["value"]) as program:
        ok(program.get(USER))
    refusals = [each for each in rows(server_operator, "LOGIN", kind="TENANT") if "apiKey" in each["actionData"]]
    assert {each["actionData"]["apiKey"] for each in refusals} == {
        f"{each['description']} ({each['id']['id'][:8]})" for each in (disabled, past, negative)
    }


# Forms.


def test_form_that_is_wrong_makes_no_key(shared_server, shared_operator):
    own = me(shared_operator)
    form = {"userId": own, "description": "x", "enabled": True}
    before = ok(shared_operator.get(f"/api/apiKeys/{own['id']}?pageSize=1&page=0"))["totalElements"]
    wrong = [
        ({**form, "userId": None}, 400, "API key should be assigned to user!"),
        ({**form, "userId": {**own, "id": str(uuid.uuid4())}}, 404, None),
        ({**form, "userId": {**own, "entityType": "DEVICE"}}, 500, None),
        ({**form, "description": " "}, 400, "API key description should be specified!"),
        ({**form, "description": None}, 400, "API key description should be specified!"),
        ({**form, "description": "x" * 256}, 400, None),
        ({**form, "description": "<b>"}, 400, None),
        ({**form, "role": "king"}, 500, None),
        ({**form, "expirationTime": 1 << 63}, 500, None),
        ({**form, "id": {"entityType": "API_KEY", "id": str(uuid.uuid4())}}, 404, None),
    ]
    for body, status, message in wrong:
        answer = shared_operator.post("/api/apiKey", json=body)
        assert answer.status_code == status, (body, answer.text)
        assert message is None or answer.json()["message"] == message
    assert ok(shared_operator.get(f"/api/apiKeys/{own['id']}?pageSize=1&page=0"))["totalElements"] == before


def test_key_is_shown_once_and_listed_without_itself(server, server_operator):
    made = new_key(server_operator, description="build server", role="line")
    assert re.fullmatch(r"fb_[0-9a-f]{32}_[A-Za-z0-9_-]{43}", made["value"])
    own = me(server_operator)["id"]
    (listed,) = ok(server_operator.get(f"/api/apiKeys/{own}?pageSize=9&page=0&sortProperty=expirationTime"))["data"]
    assert listed == {key: value for key, value in made.items() if key != "value"}
    assert (listed["role"], listed["enabled"], listed["expirationTime"]) == ("line", True, 0)
    assert ok(server_operator.get(f"/api/apiKeys/{own}?pageSize=9&page=0&textSearch=zzz"))["data"] == []
    form = {**listed, "description": "another name", "enabled": False}
    changed = ok(server_operator.post("/api/apiKey", json=form))
    assert (changed["value"], changed["description"], changed["enabled"]) == (None, "another name", False)
    for other in ({"expirationTime": 5}, {"role": "operator"}):
        refused(server_operator.post("/api/apiKey", json={**form, **other}), 400, 31)
    path = f"/api/apiKey/{made['id']['id']}/description"
    assert ok(server_operator.put(path, json="a name"))["description"] == "a name"
    refused(server_operator.put(path, content=b"a name", headers={"Content-Type": "application/json"}), 500, 2)
    refused(server_operator.put(path, content=b""), 400, 31)
    assert [each["actionType"] for each in rows(server_operator, "ADDED", "UPDATED")][:2] == ["ADDED", "UPDATED"]


def test_account_has_so_many_keys_and_no_more(server, server_operator, monkeypatch):
    monkeypatch.setattr(api_keys, "KEYS", 2)
    for _ in range(2):
        new_key(server_operator)
    form = {"userId": me(server_operator), "description": "x", "enabled": True}
    refused(server_operator.post("/api/apiKey", json=form), 400, 31, "An account can have 2 API keys!")


def test_customers_user_has_keys_of_their_own_alone(shared_server, shared_operator):
    _, user = new_customers_user(shared_server, shared_operator)
    with user:
        own, others = new_key(user), new_key(shared_operator)
        form = {"userId": others["userId"], "description": "x", "enabled": True}
        refused(user.post("/api/apiKey", json=form), 403, 20)
        refused(user.get(f"/api/apiKeys/{others['userId']['id']}?pageSize=1&page=0"), 403, 20)
        for method, path in (("DELETE", ""), ("PUT", "/description"), ("PUT", "/enabled/false")):
            answer = user.request(method, f"/api/apiKey/{others['id']['id']}{path}", content=b"x")
            refused(answer, 403, 20)
        with with_key(shared_server, own["value"]) as program:
            assert ok(program.get(USER))["authority"] == "CUSTOMER_USER"
            refused(program.get("/api/users?pageSize=1&page=0"), 403, 20)
            ok(program.delete(f"/api/apiKey/{own['id']['id']}"))
            refused(program.get(USER), 401, 10)


# At rest.


@on_both_databases
def test_key_is_stored_nowhere_and_its_row_cannot_be_changed(start_server, database):
    server = start_server()
    with login(server) as operator:
        made = [new_key(operator, role=role, expirationTime=1 << 50) for role in Role]
        values = [each["value"] for each in made]
        assert holding(everything(server.data, database), [*values, *(each[36:] for each in values)]) == []
        shown = ShownKey.of(values[2])
        assert shown is not None
        assert shown.secret not in repr(shown)
        changes = (
            {"role": "operator"},
            {"expires_ms": 0},
            {"user_id": uuid.UUID(new_user(server, operator)["id"]["id"])},
        )
        for change in changes:
            assert server.query(lambda registry, change=change: registry.write(changed, shown, change)) is None
        digest = server.query(
            lambda registry: registry.read(lambda session: session.get(ApiKey, shown.id).secret_digest)
        )
        other = {"secret_digest": digest}
        moved = ShownKey(uuid.UUID(made[0]["id"]["id"]), shown.secret)
        assert server.query(lambda registry: registry.write(changed, moved, other)) is None


def new_user(server, operator):
    with new_operator(server, Role.OPERATOR) as other:
        return ok(other.get(USER))


def changed(session, shown, change):
    """Change a row behind the server's back, look for the key, and change it back."""
    key = session.get(ApiKey, shown.id)
    before = {column: getattr(key, column) for column in change}
    for column, value in change.items():
        setattr(key, column, value)
    found = api_keys.find(session, shown)
    for column, value in before.items():
        setattr(key, column, value)
    return found


# What ends with a key.


@pytest.mark.parametrize("how", ["revoke", "disable", "account"])
def test_end_of_a_key_ends_what_was_got_with_it(server, server_operator, how):
    _, user = new_customers_user(server, server_operator)
    owner = new_user(server, server_operator)
    key, stays = (new_key(server_operator, user=owner["id"]) for _ in range(2))
    user_id = me(user)["id"]
    pairs = []
    for each in (key, stays):
        with with_key(server, each["value"]) as program:
            pairs.append(ok(program.get(f"/api/user/{user_id}/token")))
    with contextlib.closing(user), client(server, pairs[0]["token"]) as acting, live(server, acting) as socket:
        assert socket.request(type="ENTITY_COUNT", cmd_id=1, query=EVERY)["count"] == 0
        if how == "revoke":
            ok(server_operator.delete(f"/api/apiKey/{key['id']['id']}"))
        elif how == "disable":
            ok(server_operator.put(f"/api/apiKey/{key['id']['id']}/enabled/false"))
        else:
            ok(server_operator.delete(f"/api/user/{owner['id']['id']}"))
        socket.expect_closed(1008)
        with with_key(server, key["value"]) as program:
            assert program.get(USER).status_code == 401
        assert acting.get(USER).status_code == 401
        with client(server) as anonymous:
            statuses = [
                anonymous.post("/api/auth/token", json={"refreshToken": pair["refreshToken"]}).status_code
                for pair in pairs
            ]
        assert statuses == [401, 401 if how == "account" else 200]
        ok(user.get(USER))


def test_request_that_was_under_way_when_its_key_ended_changes_nothing(server, server_operator):
    made = new_key(server_operator)

    def body():
        ok(server_operator.delete(f"/api/apiKey/{made['id']['id']}"))
        yield b'{"title": "x"}'

    with with_key(server, made["value"]) as program:
        headers = {"Content-Type": "application/json"}
        assert program.post("/api/customer", content=body(), headers=headers).status_code == 401
    assert ok(server_operator.get("/api/customers?pageSize=9&page=0"))["data"] == []


# The audit trail, and guesses.


def test_what_is_done_with_a_key_has_its_name(server, server_operator):
    made = new_key(server_operator, description="build server")
    with with_key(server, made["value"]) as program:
        ok(program.post("/api/customer", json={"title": name("customer")}))
        refused(program.post("/api/customer", json={"title": ""}), 400, 31)
    found = rows(server_operator, "ADDED", kind="CUSTOMER")
    (added,) = found
    assert (added["userName"], added["actionData"]["apiKey"]) == (
        account(server)["username"],
        f"build server ({made['id']['id'][:8]})",
    )
    (key_row,) = rows(server_operator, "ADDED")
    assert (key_row["entityName"], key_row["entityId"]["id"]) == ("build server", made["id"]["id"])
    assert "apiKey" not in key_row["actionData"]


def test_guesses_at_keys_are_limited_and_lock_out_no_key_that_was_used(start_server):
    server = start_server(limits=Rules(per_caller=3, per_address=8, per_key=1000))
    with login(server) as operator:
        used, fresh = (new_key(operator)["value"] for _ in range(2))
        with with_key(server, used) as program:
            ok(program.get(USER))

            def guess(key):
                return httpx.get(f"{program.base_url}{USER}", headers={"X-Authorization": f"ApiKey {key}"}).status_code

            wrong = used[:-1] + ("A" if used[-1] != "A" else "B")
            assert [guess(wrong) for _ in range(5)] == [401, 401, 401, 429, 429]  # for a name, as for a password
            ids = [guess(f"fb_{uuid.uuid4().hex}_{SECRET}") for _ in range(8)]
            assert ids == [401] * 5 + [429] * 3  # for an address, whatever ids it makes up
            assert guess(fresh) == 429
            ok(operator.get(USER))
    assert server.wait_for("operator", what="api_key.login", result="limited")["peer"] == "127.0.0.1"
