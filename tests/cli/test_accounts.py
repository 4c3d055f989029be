"""`bench user` and `bench customer`, and the audit log's view of who did what."""

import json
import os

import pytest

from bench.registry import own_commands
from tests.support.commands import bench, printed
from tests.support.operators import account, client, login, ok
from tests.support.terminal import on_terminal


@pytest.fixture
def data(tmp_path):
    """Options for a data folder of its own, on which no server runs."""
    assert bench("profile", "create", "default", "--data", tmp_path / "data").returncode == 0
    return "--data", str(tmp_path / "data")


@pytest.fixture
def password(tmp_path):
    """A file with a new password."""
    (tmp_path / "password").write_text("a-new-password\n")
    return str(tmp_path / "password")


def refused(code, message, *arguments, **options):
    done = bench(*arguments, **options)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
    assert message in done.stderr


def as_user(server, email, secret="a-new-password"):
    return login(server, {"username": email, "password": secret})


# Customers.


def test_customers_are_made_given_devices_and_deleted(data):
    assert printed("customer", "create", "Acme", *data)["title"] == "Acme"
    refused(1, "already exists", "customer", "create", "Acme", *data)
    assert [each["title"] for each in printed("customer", "list", *data)] == ["Acme"]
    for name in ("press-1", "press-2"):
        assert bench("device", "create", name, *data).returncode == 0
    done = bench("customer", "assign", "Acme", "press-1", "press-2", *data)
    assert done.stdout == "assigned press-1 to Acme\nassigned press-2 to Acme\n"
    assert bench("customer", "unassign", "press-1", *data).stdout == "took back press-1\n"
    refused(1, "isn't assigned", "customer", "unassign", "press-1", *data)
    refused(1, "no customer Nobody: see bench customer list", "customer", "assign", "Nobody", "press-1", *data)
    refused(2, "confirm with --yes", "customer", "delete", "Acme", *data)
    assert bench("customer", "delete", "Acme", "--yes", *data).returncode == 0
    assert printed("customer", "list", *data) == []
    assert [each["name"] for each in printed("device", "list", *data)] == ["press-1", "press-2"]
    refused(1, "no customer Acme", "customer", "delete", "Acme", "--yes", *data)


# Users.


def test_users_are_made_and_log_in(start_server, data, password, tmp_path):
    assert bench("customer", "create", "Acme", *data).returncode == 0
    made = printed("user", "create", "jo@example.com", "--customer", "Acme", "--new-password-file", password, *data)
    assert (made["role"], made["customer"]) == ("customer user", "Acme")
    assert printed("user", "create", "op@example.com", "--new-password-file", password, *data)["role"] == "operator"
    listed = [(each["email"], each["role"], each["customer"]) for each in printed("user", "list", *data)]
    assert listed == [
        ("jo@example.com", "customer user", "Acme"),
        ("op@example.com", "operator", ""),
        ("operator@firstboot.local", "operator", ""),
    ]
    server = start_server("data")
    with as_user(server, "jo@example.com") as jo:
        assert ok(jo.get("/api/auth/user"))["authority"] == "CUSTOMER_USER"
        assert jo.get("/api/users?pageSize=9&page=0").status_code == 403
    with as_user(server, "op@example.com") as operator:
        found = ok(operator.get("/api/users?pageSize=1&page=0&sortProperty=email&sortOrder=ASC"))
        assert (found["totalElements"], found["hasNext"]) == (3, True)


@pytest.mark.parametrize(
    ("content", "message", "code"),
    [(b"short", "6 to 72", 1), (b"x" * 73, "6 to 72", 1), (b"", "6 to 72", 1), (b"\0\1\2\3", "not a text", 2)],
)
def test_user_whose_password_is_refused_is_not_made(data, tmp_path, content, message, code):
    file = tmp_path / "password"
    file.write_bytes(content)
    refused(code, message, "user", "create", "jo@example.com", "--new-password-file", file, *data)
    assert [each["email"] for each in printed("user", "list", *data)] == ["operator@firstboot.local"]
    refused(2, message, "user", "password", "operator@firstboot.local", "--new-password-file", file, *data)


def test_user_without_a_terminal_needs_a_file_and_a_confirmation(data, password):
    refused(2, "--new-password-file", "user", "create", "jo@example.com", *data)
    refused(1, "Invalid email", "user", "create", "nobody", "--new-password-file", password, *data)
    refused(1, "no customer X", "user", "create", "jo@x.de", "--customer", "X", "--new-password-file", password, *data)
    assert (
        bench("user", "create", "jo@example.com", "--new-password-file", "-", *data, typed="a-password").returncode == 0
    )
    refused(2, "confirm with --yes", "user", "delete", "jo@example.com", *data)
    assert bench("user", "delete", "jo@example.com", "--yes", *data).returncode == 0
    refused(1, "no user jo@example.com", "user", "delete", "jo@example.com", "--yes", *data)
    refused(1, "own account", "user", "delete", "operator@firstboot.local", "--yes", *data)


# Forgotten passwords.


def test_password_is_reset_while_the_server_runs_and_older_tokens_end(server, password):
    data = ("--data", str(server.data))
    name = account(server)["username"]
    with login(server) as before:
        assert before.get("/api/auth/user").status_code == 200
        done = bench("user", "password", name, "--new-password-file", password, *data)
        assert (done.returncode, done.stderr) == (0, "")
        assert before.get("/api/auth/user").status_code == 401
    assert account(server) == {"username": name, "password": "a-new-password"}
    assert (server.data / "operator.json").stat().st_mode & 0o777 == 0o600
    with as_user(server, name) as operator:
        rows = ok(operator.get("/api/audit/logs?pageSize=50&page=0"))["data"]
    (reset,) = [each for each in rows if each["actionType"] == "CREDENTIALS_UPDATED"]
    assert (reset["entityName"], reset["userName"]) == (name, f"uid {os.geteuid()} on this machine")


@pytest.mark.parametrize("damage", [None, "", "{}", "no JSON"])
def test_lost_operator_json_is_made_anew(data, tmp_path, damage):
    file = tmp_path / "data" / "operator.json"
    old = json.loads(file.read_text())["password"]
    file.unlink()
    if damage is not None:
        file.write_text(damage)
    done = bench("user", "password", *data)
    assert (done.returncode, done.stderr) == (0, "")
    made = json.loads(file.read_text())
    assert made["username"] == "operator@firstboot.local"
    assert made["password"] != old
    assert made["password"] not in done.stdout
    assert printed("device", "list", *data) == []


def test_password_of_somebody_else_leaves_operator_json_alone(start_server, data, password, tmp_path):
    before = (tmp_path / "data" / "operator.json").read_text()
    (tmp_path / "first").write_text("their-first-one")
    made = bench("user", "create", "jo@example.com", "--new-password-file", tmp_path / "first", *data)
    assert made.returncode == 0, made.stderr
    assert bench("user", "password", "jo@example.com", "--new-password-file", password, *data).returncode == 0
    assert (tmp_path / "data" / "operator.json").read_text() == before
    refused(1, "no user x@example.com", "user", "password", "x@example.com", "--new-password-file", password, *data)
    refused(1, "no registry in", "user", "password", "--data", tmp_path / "none")
    server = start_server("data")
    as_user(server, "jo@example.com").close()
    with client(server) as anonymous:
        old = {"username": "jo@example.com", "password": "their-first-one"}
        assert anonymous.post("/api/auth/login", json=old).status_code == 401


# The audit log.


def whats(*options):
    return [each["what"] for each in printed("audit", *options)]


def test_commands_on_the_data_folder_leave_no_logins_in_the_audit_log(data):
    for _ in range(3):
        assert bench("device", "list", *data).returncode == 0
    assert bench("device", "create", "press-1", *data).returncode == 0
    found = whats(*data)
    assert (found.count("ADDED"), found.count("LOGIN")) == (2, 0)


def test_logins_without_the_folders_key_are_in_the_audit_log(server):
    data = ("--data", str(server.data))
    for headers in ({}, {"X-Bench-Command": "x"}, {"X-Bench-Command": b"\xff"}):
        with client(server) as anonymous:
            assert anonymous.post("/api/auth/login", json=account(server), headers=headers).status_code == 200
    wrong = {**account(server), "password": "not-the-password"}
    with client(server) as anonymous:
        mark = own_commands.headers(server.data)
        assert anonymous.post("/api/auth/login", json=wrong, headers=mark).status_code == 401
        assert anonymous.post("/api/auth/login", json=account(server), headers=mark).status_code == 200
        assert anonymous.get("/api/auth/user", headers=mark).status_code == 401
    found = [(each["what"], each["result"]) for each in printed("audit", *data)]
    assert found == [("LOGIN", "FAILURE"), *[("LOGIN", "SUCCESS")] * 3]


def test_audit_log_is_filtered(server, tmp_path):
    data = ("--data", str(server.data))
    with login(server) as operator:
        for name in ("press-1", "press-2", "press-10"):
            ok(operator.post("/api/device", json={"name": name}))
        assert operator.post("/api/device", json={"name": "press-1"}).status_code == 400
        for n in range(120):  # more than a page
            ok(operator.post("/api/customer", json={"title": f"c{n}"}))
    with client(server) as anonymous:
        anonymous.post("/api/auth/login", json={"username": "guess@x.de", "password": "x"})
    entity = printed("audit", "--entity", "press-1", *data)
    assert [(each["what"], each["result"]) for each in entity] == [("ADDED", "FAILURE"), ("ADDED", "SUCCESS")]
    assert [each["entity"] for each in printed("audit", "--search", "press-1", "--limit", "9", *data)] == [
        "press-1",
        "press-10",
        "press-1",
    ]
    assert whats("--failed", *data) == ["LOGIN", "ADDED"]
    assert whats("--who", "guess@x.de", *data) == ["LOGIN"]
    assert whats("--what", "login", *data) == ["LOGIN", "LOGIN"]
    assert whats("--what", "LOGIN", "--what", "ADDED", "--limit", "3", *data) == ["LOGIN", "ADDED", "ADDED"]
    assert len(whats("--limit", "1000", *data)) == 126
    assert len(whats("--limit", "110", "--since", "1h", *data)) == 110
    assert whats("--until", "1h", *data) == whats("--since", "2099-01-01", *data) == []
    assert len(whats("--since", "2020-01-01T00:00:00+02:00", *data)) == 50
    assert "no such entries" in bench("audit", "--who", "nobody", *data).stdout
    for text in ("yesterday", "2026-13-01", "5y", "-1h", "99999999999d"):
        refused(2, "write 2h (ago", "audit", f"--since={text}", *data)


def test_audit_log_fits_a_terminal(server):
    with login(server) as operator:
        ok(operator.post("/api/device", json={"name": "firstboot-0242ac110002"}))
    code, shown = on_terminal("audit", "--data", server.data, columns=80)
    assert code == 0, shown
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80
    (added,) = [each for each in lines if "ADDED" in each]
    assert added.split()[2:4] == ["operator", "ADDED"]
    assert "http 127.0.0.1" in added
