"""Authentication: logins, tokens, and requests without one."""

import json
import os
import stat
import time
import uuid
import warnings

import jwt
import pytest

from bench.registry import user_sessions, users
from bench.server.limits import Rules
from tests.support.operators import account, client, login, ok, refused
from tests.support.servers import RunningServer, on_both_databases

USER = "/api/auth/user"
FAILED = "Authentication failed"
EXPIRED = "Token has expired"


def forge(server, seconds=60, key=None, algorithm="HS256", **claims):
    """A token that is right, but for what is told."""
    user = server.query(lambda registry: registry.read(users.by_email, account(server)["username"]))
    secret_box = server.registry.secret_box
    content = {
        "sub": user.email,
        "userId": str(user.id),
        "scopes": ["TENANT_ADMIN"],
        "sessionId": "s",
        "stamp": secret_box.digest("stamp", user.password_hash)[:32],
        "iss": "firstboot",
        "iat": int(time.time()),
        "exp": int(time.time()) + seconds,
        **claims,
    }
    content = {name: value for name, value in content.items() if value is not None}
    with warnings.catch_warnings(action="ignore"):  # the key is short for SHA-512
        return jwt.encode(content, None if algorithm == "none" else key or secret_box.signing_key, algorithm)


def test_forged_token_that_is_right_is_taken(shared_server):
    with client(shared_server, forge(shared_server)) as forged:
        assert ok(forged.get(USER))["authority"] == "TENANT_ADMIN"


BAD_HEADERS = {
    "none": {},
    "empty": {"X-Authorization": ""},
    "no scheme": {"X-Authorization": "abc"},
    "no token": {"X-Authorization": "Bearer"},
    "garbage": {"X-Authorization": "Bearer a.b.c"},
    "basic": {"Authorization": "Basic b3BlcmF0b3I6cGFzc3dvcmQ="},
    "API key": {"X-Authorization": "ApiKey tb_key"},
    "not ASCII": {"X-Authorization": "Bearer \xe9".encode("latin-1")},
}


@pytest.mark.parametrize("headers", BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_request_without_a_token_is_401(shared_server, headers):
    with client(shared_server) as anonymous:
        refused(anonymous.get(USER, headers=headers), 401, 10, FAILED)


FORGERIES = {
    "another key": {"key": b"0" * 32},
    "no signature": {"algorithm": "none"},
    "another algorithm": {"algorithm": "HS512"},
    "refresh token": {"scopes": ["REFRESH_TOKEN"]},
    "activation token": {"scopes": ["ACTIVATE"]},
    "unknown scope": {"scopes": ["SYS_ADMIN"]},
    "no scope": {"scopes": None},
    "scope of another type": {"scopes": 1},
    "nobody": {"userId": str(uuid.uuid4())},
    "no id": {"userId": "x"},
    "id of another type": {"userId": 1},
    "another password": {"stamp": "0" * 32},
    "no stamp": {"stamp": None},
    "another issuer": {"iss": "x"},
    "no expiry": {"exp": None},
}


# Of a token that was once right, or is badly signed, ThingsBoard says what has its clients renew theirs.
ENDED = ("another key", "nobody", "another password")


@pytest.mark.parametrize("forgery", FORGERIES)
def test_token_that_is_wrong_is_401(shared_server, forgery):
    with client(shared_server, forge(shared_server, **FORGERIES[forgery])) as forged:
        code, message = (11, EXPIRED) if forgery in ENDED else (10, FAILED)
        refused(forged.get(USER), 401, code, message)


def test_token_signed_with_the_key_in_the_data_folder_is_401(shared_server):
    key = (shared_server.data / "secrets.key").read_bytes()
    with client(shared_server, forge(shared_server, key=key)) as forged:
        refused(forged.get(USER), 401, 11, EXPIRED)


def test_expired_token_is_401_with_the_reason(shared_server):
    with client(shared_server, forge(shared_server, seconds=-1)) as forged:
        refused(forged.get(USER), 401, 11, EXPIRED)


@pytest.mark.parametrize("ahead_s", [5, 86_400])
def test_token_from_before_the_clock_was_set_back_is_taken(shared_server, ahead_s):
    issued = int(time.time()) + ahead_s
    with client(shared_server, forge(shared_server, iat=issued, exp=issued + 9_000)) as forged:
        ok(forged.get(USER))
    refresh = forge(shared_server, iat=issued, exp=issued + 9_000, scopes=["REFRESH_TOKEN"])
    with client(shared_server) as anonymous:
        ok(anonymous.post("/api/auth/token", json={"refreshToken": refresh}))


def test_token_comes_before_what_is_requested(shared_server):
    with client(shared_server) as anonymous:
        refused(anonymous.post("/api/device", content=b"{"), 401, 10)
        refused(anonymous.post("/api/device", content=b"x" * (2 << 20)), 401, 10)
        refused(anonymous.get("/api/device/no-id"), 401, 10)


WRONG = {
    "password": lambda right: {**right, "password": "wrong"},
    "empty password": lambda right: {**right, "password": ""},
    "user": lambda right: {**right, "username": "nobody@firstboot.local"},
    "empty user": lambda right: {**right, "username": ""},
    "case": lambda right: {**right, "username": right["username"].upper()},
    "LIKE": lambda right: {**right, "username": "%"},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_wrong_login_is_401_and_does_not_reveal_what_is_wrong(shared_server, change):
    with client(shared_server) as anonymous:
        wrong = anonymous.post("/api/auth/login", json=change(account(shared_server)))
        refused(wrong, 401, 10, "Invalid username or password")


UNREADABLE = [b"", b"{}", b"[]", b"{", b"null", b'{"username":[],"password":2}', b'{"username":"a"}']
UNREADABLE += [b'{"username":"a\\u0000b","password":"x"}', b'{"username":"a","password":"x","colour":"red"}']


@pytest.mark.parametrize("body", UNREADABLE)
def test_login_that_cannot_be_read_is_401(shared_server, body):
    with client(shared_server) as anonymous:
        answer = anonymous.post("/api/auth/login", content=body, headers={"Content-Type": "application/json"})
        refused(answer, 401, 10, "Authentication failed")


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}, {"Content-Type": "application/xml"}])
def test_login_may_have_any_content_type(shared_server, headers):
    with client(shared_server) as anonymous:
        body = json.dumps(account(shared_server))
        assert ok(anonymous.post("/api/auth/login", content=body, headers=headers))["token"]


def test_login_beyond_the_limit_is_413(shared_server):
    with client(shared_server) as anonymous:
        answer = anonymous.post("/api/auth/login", json={"username": "a", "password": "x" * 65536})
    assert (answer.status_code, answer.json()) == (413, "Payload size exceeds the limit of 65536 bytes")


def test_failed_logins_are_limited(start_server):
    server = start_server(limits=Rules(per_caller=3))
    wrong = {**account(server), "password": "wrong"}
    with client(server) as anonymous:
        statuses = [anonymous.post("/api/auth/login", json=wrong).status_code for _ in range(4)]
        assert statuses == [401, 401, 401, 429]
        limited = anonymous.post("/api/auth/login", json=account(server))  # even if it is right now
        refused(limited, 429, 33, "Too many requests!")
        assert 1 <= int(limited.headers["Retry-After"]) <= 61
    assert server.wait_for("limited")["peer"] == "127.0.0.1"


def test_login_gives_tokens_with_thingsboards_claims(shared_server):
    with client(shared_server) as anonymous:
        pair = ok(anonymous.post("/api/auth/login", json=account(shared_server)))
    assert set(pair) == {"token", "refreshToken"}
    access, refresh = (jwt.decode(pair[name], options={"verify_signature": False}) for name in pair)
    assert access["sub"] == refresh["sub"] == "operator@firstboot.local"
    assert (access["scopes"], refresh["scopes"]) == (["TENANT_ADMIN"], ["REFRESH_TOKEN"])
    assert (access["enabled"], access["isPublic"]) == (True, False)
    assert {"userId", "tenantId", "customerId", "iss"} <= set(access)
    assert access["exp"] - access["iat"] == 9_000
    assert refresh["exp"] - refresh["iat"] == 604_800


@pytest.mark.parametrize("header", ["X-Authorization", "Authorization"])
def test_token_is_taken_in_either_header(shared_server, header):
    with client(shared_server) as anonymous:
        user = ok(anonymous.get(USER, headers={header: f"Bearer {forge(shared_server)}"}))
    assert user["email"] == account(shared_server)["username"]


def test_refresh_token_gives_new_ones(shared_server):
    with client(shared_server) as anonymous:
        pair = ok(anonymous.post("/api/auth/login", json=account(shared_server)))
        refused(anonymous.post("/api/auth/token", json={"refreshToken": pair["token"]}), 401, 10)
        refused(anonymous.post("/api/auth/token", json={"refreshToken": "x"}), 401, 10)
        renewed = ok(anonymous.post("/api/auth/token", json={"refreshToken": pair["refreshToken"]}))
    with client(shared_server, renewed["token"]) as operator:
        ok(operator.get(USER))


def test_logout_ends_both_tokens(shared_server):
    with client(shared_server) as anonymous:
        pair = ok(anonymous.post("/api/auth/login", json=account(shared_server)))
        with client(shared_server, pair["token"]) as operator:
            renewed = ok(anonymous.post("/api/auth/token", json={"refreshToken": pair["refreshToken"]}))
            ok(operator.post("/api/auth/logout"))
            refused(operator.get(USER), 401, 11, EXPIRED)
            refused(operator.post("/api/auth/logout"), 401, 11, EXPIRED)
            with client(shared_server, renewed["token"]) as other:  # the same session
                refused(other.get(USER), 401, 11, EXPIRED)
        for each in (pair, renewed):
            refused(anonymous.post("/api/auth/token", json={"refreshToken": each["refreshToken"]}), 401, 11, EXPIRED)


def test_logout_leaves_other_sessions_and_those_of_the_same_second(shared_server):
    with login(shared_server) as earlier, login(shared_server) as operator:
        ok(operator.post("/api/auth/logout"))
        with login(shared_server) as later:
            for each in (earlier, later):
                ok(each.get(USER))


@on_both_databases
def test_logged_out_tokens_stay_so_after_a_restart_and_on_another_server(start_server, tmp_path, database):
    first = start_server("same")
    with client(first) as anonymous:
        pair, other = (ok(anonymous.post("/api/auth/login", json=account(first))) for _ in range(2))
    with client(first, pair["token"]) as operator:
        ok(operator.post("/api/auth/logout"))
    servers = []
    if database:
        (tmp_path / "other").mkdir(mode=0o700)
        for name in ("secrets.key", "operator.json"):
            (tmp_path / "other" / name).write_bytes((first.data / name).read_bytes())
        servers.append(start_server("other"))
    else:
        first.close()
    servers.append(start_server("same") if not database else first)
    for server in servers:
        with client(server, pair["token"]) as operator:
            refused(operator.get(USER), 401, 11, EXPIRED)
            refused(operator.post("/api/auth/token", json={"refreshToken": pair["refreshToken"]}), 401, 11, EXPIRED)
        with client(server, other["token"]) as operator:
            ok(operator.get(USER))


def test_sessions_that_were_ended_are_forgotten_only_long_after_their_tokens(run, monkeypatch):
    day_ms = 86_400_000

    async def scenario(registry):
        now = user_sessions.now_ms()
        for days, session_id in ((0, "a"), (30, "b"), (7 + 30, "c"), (7 + 30 + 1, "d")):
            monkeypatch.setattr(user_sessions, "now_ms", lambda days=days: now + days * day_ms)
            await registry.write(user_sessions.end, session_id, 7 * day_ms)
            assert await registry.read(user_sessions.is_ended, session_id)
        known = [await registry.read(user_sessions.is_ended, each) for each in "abcd"]
        assert known == [False, True, True, True]

    run(scenario)


def test_changed_password_ends_all_older_tokens(server):
    right = account(server)
    with login(server) as operator, login(server) as other:
        wrong = {"currentPassword": "wrong", "newPassword": "new-password"}
        refused(operator.post("/api/auth/changePassword", json=wrong), 400, 31, "Current password doesn't match!")
        for new in ("short", "x" * 73):
            form = {"currentPassword": right["password"], "newPassword": new}
            refused(operator.post("/api/auth/changePassword", json=form), 400, 31)
        change = {"currentPassword": right["password"], "newPassword": "new-password"}
        pair = ok(operator.post("/api/auth/changePassword", json=change))
        for old in (operator, other):
            refused(old.get(USER), 401, 11, EXPIRED)
    with client(server, pair["token"]) as operator:
        ok(operator.get(USER))
    with client(server) as anonymous:
        refused(anonymous.post("/api/auth/login", json=right), 401, 10)
    login(server, {**right, "password": "new-password"}).close()


def test_every_answer_has_a_request_id_that_the_journal_has_too(server):
    with client(server) as anonymous:
        answer = anonymous.post("/api/auth/login", json={"username": "a", "password": "b"})
        ids = {anonymous.get(path).headers["X-Request-Id"] for path in ("/healthz", "/api/nothing", USER)}
    assert len(ids) == 3
    assert server.wait_for("operator", what="user.login")["request"] == answer.headers["X-Request-Id"]


# The first account.


def test_first_start_makes_an_account_for_its_owner_alone(server):
    path = server.data / "operator.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(account(server)) == {"username", "password"}
    assert len(account(server)["password"]) >= 20
    stored = server.query(lambda registry: registry.read(users.by_email, account(server)["username"])).password_hash
    assert stored.startswith("scrypt$")
    assert account(server)["password"] not in stored


def _stored(server):
    return server.query(lambda registry: registry.read(users.by_email, account(server)["username"])).password_hash


@pytest.mark.usefixtures("real_passwords")
def test_first_password_is_slow_to_guess_if_a_user_chose_it_and_else_random(start_server, tmp_path):
    folder = tmp_path / "chosen"
    folder.mkdir(mode=0o700)
    (folder / "operator.json").write_text('{"username": "me@example.org", "password": "short enough to guess"}')
    chosen = start_server("chosen")
    assert _stored(chosen).startswith("scrypt$16384$8$5$")
    login(chosen, account(chosen)).close()
    made = start_server("made")
    assert _stored(made).startswith("scrypt$16$8$1$")
    login(made, account(made)).close()


def test_two_servers_have_different_passwords(start_server):
    assert account(start_server("one"))["password"] != account(start_server("two"))["password"]


def test_file_that_was_deleted_stays_so(tmp_path):
    first = RunningServer(tmp_path / "data")
    right = account(first)
    first.close()
    (tmp_path / "data" / "operator.json").unlink()
    second = RunningServer(tmp_path / "data")
    try:
        assert not (tmp_path / "data" / "operator.json").exists()
        login(second, right).close()
    finally:
        second.close()


def test_start_goes_on_where_one_was_killed_between_file_and_account(tmp_path):
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    right = {"username": "operator@firstboot.local", "password": "written-before"}
    descriptor = os.open(data / "operator.json", os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(descriptor, json.dumps(right).encode())
    os.close(descriptor)
    server = RunningServer(data)
    try:
        login(server, right).close()
    finally:
        server.close()


def test_secrets_are_in_no_event(server):
    right = account(server)
    with client(server) as anonymous, login(server) as operator:
        anonymous.post("/api/auth/login", json={**right, "password": "wrong-password"})
        token = operator.headers["X-Authorization"]
    events = json.dumps(server.events())
    assert right["password"] not in events
    assert "wrong-password" not in events
    assert token not in events


def test_paths_and_methods_that_are_none_have_thingsboards_errors(shared_server):
    with client(shared_server) as anonymous:
        refused(anonymous.get("/api/nothing"), 404, 32)
        refused(anonymous.get("/api/device/"), 404, 32)
        assert refused(anonymous.put("/api/auth/login"), 405, 31)


def test_name_of_a_refused_login_is_kept_no_longer_than_any_account_has_one(server):
    with client(server) as anonymous:
        form = {"username": "x" * 60_000, "password": "wrong-password"}
        refused(anonymous.post("/api/auth/login", json=form), 401, 10)
    with login(server) as operator:
        rows = ok(operator.get("/api/audit/logs", params={"pageSize": 10, "page": 0}))["data"]
    assert max(len(row["userName"]) for row in rows) == 255
    assert max(len(event.get("user", "")) for event in server.events()) == 255
