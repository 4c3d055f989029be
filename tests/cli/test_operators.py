"""`bench operator`: operators with roles, API keys, and commands that use one."""

import json
import stat

import pytest

from tests.support import secrecy
from tests.support.commands import bench, printed, refused
from tests.support.operators import account, client, login, new_key, ok, options

OPERATOR = "operator@firstboot.local"


@pytest.fixture
def data(server):
    """Options for the data folder of a running server."""
    return "--data", str(server.data)


@pytest.fixture
def password(tmp_path):
    """A file with a new password."""
    (tmp_path / "new-password").write_text("a-new-password\n")
    return "--new-password-file", str(tmp_path / "new-password")


def test_operators_are_added_with_roles_listed_and_removed(server, data, password):
    refused(2, "king", "operator", "add", "jo@example.com", "--role", "king", *password, *data)
    made = printed("operator", "add", "jo@example.com", "--role", "line", *password, *data)
    assert (made["email"], made["role"]) == ("jo@example.com", "line")
    assert printed("operator", "add", "al@example.com", *password, *data)["role"] == "operator"
    refused(1, "already present", "operator", "add", "jo@example.com", *password, *data)
    roles = {each["email"]: each["role"] for each in printed("operator", "list", *data)}
    assert roles == {"al@example.com": "operator", "jo@example.com": "line", OPERATOR: "operator"}
    with login(server, {"username": "jo@example.com", "password": "a-new-password"}) as jo:
        assert jo.get("/api/users?pageSize=9&page=0").status_code == 403
        refused(2, "confirm with --yes", "operator", "remove", "jo@example.com", *data)
        removed = bench("operator", "remove", "jo@example.com", "--yes", *data)
        assert removed.stdout == "removed jo@example.com; their logins and API keys have ended\n"
        assert jo.get("/api/auth/user").status_code == 401
    refused(1, "own account", "operator", "remove", OPERATOR, "--yes", *data)


def test_key_is_shown_once_and_nowhere_else(server, data, tmp_path):
    refused(2, "is past", "operator", "key", "add", OPERATOR, "ci", "--expires", "2020-01-01", *data)
    refused(2, "is not a time", "operator", "key", "add", OPERATOR, "ci", "--expires", "soon", *data)
    made = printed("operator", "key", "add", OPERATOR, "ci", "--role", "read-only", "--expires", "90d", *data)
    key = made["key"]
    secrecy.issued.add(key)
    assert (made["name"], made["role"], made["state"]) == ("ci", "read-only", "valid")
    refused(1, "has an API key ci already", "operator", "key", "add", OPERATOR, "ci", *data)
    file = tmp_path / "file.key"
    written = bench("operator", "key", "add", OPERATOR, "in a file", "--key-file", str(file), *data)
    second = file.read_text().strip()
    secrecy.issued.add(second)
    assert (written.returncode, stat.S_IMODE(file.stat().st_mode)) == (0, 0o600)
    refused(2, "exists", "operator", "key", "add", OPERATOR, "again", "--key-file", str(file), *data)
    shown = [written, bench("operator", "key", "list", OPERATOR, *data), bench("audit", "--json", *data)]
    shown.append(bench("operator", "key", "list", OPERATOR, "--json", *data))
    for each in shown:
        assert each.returncode == 0, each.stderr
        for secret in (key, second, key[36:], second[36:]):
            assert secret not in each.stdout + each.stderr
    listed = json.loads(shown[-1].stdout)
    assert [(each["name"], each["expires"] == "never") for each in listed] == [("ci", False), ("in a file", True)]
    assert bench("operator", "key", "revoke", OPERATOR, made["id"], *data).returncode == 0
    done = bench("operator", "key", "revoke", OPERATOR, "in a file", *data)
    assert done.stdout == f"revoked the API key in a file of {OPERATOR}\n"
    refused(1, "no API key ci", "operator", "key", "revoke", OPERATOR, "ci", *data)
    with client(server) as program:
        for each in (key, second):
            assert program.get("/api/auth/user", headers={"X-Authorization": f"ApiKey {each}"}).status_code == 401


def test_commands_read_a_key_from_a_file_the_environment_or_a_login(server, server_operator, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    made = new_key(server_operator, role="read-only")
    file, url = tmp_path / "key", f"http://127.0.0.1:{server.ports.http}"
    file.write_text(f"{made['value']}\n")
    by_file = ("--url", url, "--api-key-file", str(file))
    assert printed("operator", "list", *by_file)[0]["email"] == OPERATOR
    refused(1, "permission", "device", "create", "press-1", "--profile", "default", *by_file)
    refused(2, "exclude each other", "device", "list", *by_file, "--user", "me")
    refused(2, "go with --url", "device", "list", "--api-key-file", str(file))
    refused(2, "needs --user, or --api-key-file", "device", "list", "--url", url)
    assert bench("device", "list", "--url", url, env={"BENCH_API_KEY": made["value"]}).returncode == 0
    for wrong in ("", "two words", "d\xe9j\xe0", "a\nb", "a-secret \x1b[31m"):
        (tmp_path / "wrong").write_text(wrong)
        error = refused(2, "has no API key", "device", "list", "--url", url, "--api-key-file", str(tmp_path / "wrong"))
        assert "secret" not in error
    by_password = options(server, tmp_path)  # a user who is named counts, whatever the environment has
    assert bench("device", "list", *by_password, env={"BENCH_API_KEY": "wrong"}).returncode == 0
    refused(1, "the server denies it", "device", "list", "--url", url, BENCH_API_KEY="wrong")
    logged_in = bench("login", url, "--api-key-file", str(file), cwd=tmp_path)
    assert (
        logged_in.stdout
        == f"logged in at {url} as {account(server)['username']}, for all commands until bench logout\n"
    )
    kept = tmp_path / "config" / "firstboot" / "login.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert bench("device", "list", cwd=tmp_path).returncode == 0
    out = bench("logout", cwd=tmp_path)
    assert out.stdout == f"logged out of {url}\n"
    assert "stays valid" in out.stderr
    assert not kept.exists()
    with client(server) as program:
        ok(program.get("/api/auth/user", headers={"X-Authorization": f"ApiKey {made['value']}"}))
