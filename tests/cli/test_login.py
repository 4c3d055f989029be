"""`bench login`: one login for all commands that follow, and what ends it."""

import json
import stat

import pytest

from tests.support.commands import bench
from tests.support.operators import account


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user's folder for configuration."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "firstboot" / "login.json"


@pytest.fixture
def log_in(server, tmp_path, home):
    url = f"http://127.0.0.1:{server.ports.http}"
    (tmp_path / "password").write_text(account(server)["password"])
    return lambda: bench(
        "login", url, "--user", account(server)["username"], "--password-file", tmp_path / "password", cwd=tmp_path
    )


def run(folder, *words):
    return bench(*words, cwd=folder)


def test_wrong_password_keeps_no_login(log_in, tmp_path, home):
    (tmp_path / "password").write_text("not-the-password")
    done = log_in()
    assert done.returncode == 1
    assert "check the user and the password" in done.stderr
    assert not home.exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"url": "a"}', "\0"])
def test_damaged_file_is_one_line_with_the_cure(tmp_path, home, content):
    home.parent.mkdir(parents=True)
    home.write_text(content)
    home.chmod(0o600)
    done = run(tmp_path, "device", "list")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "is damaged: bench logout" in done.stderr
    assert run(tmp_path, "logout").stdout == "logged out\n"
    assert not home.exists()


def test_file_that_others_may_read_is_not_used(log_in, tmp_path, home):
    log_in()
    home.chmod(0o644)
    assert "others may read" in run(tmp_path, "device", "list").stderr


def test_commands_without_a_login_are_for_the_data_folder(tmp_path, home):
    assert "no registry in" in run(tmp_path, "device", "list").stderr
    assert "not logged in: bench login URL" in run(tmp_path, "login").stderr
    assert run(tmp_path, "logout").stdout == "you were not logged in\n"


def test_login_serves_the_commands_that_follow_until_logout(server, log_in, tmp_path, home):
    done = log_in()
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(home.stat().st_mode) == 0o600
    assert account(server)["password"] not in home.read_text()
    url = f"http://127.0.0.1:{server.ports.http}"
    made = run(tmp_path, "device", "create", "press-4", "--json")
    assert json.loads(made.stdout)["name"] == "press-4"
    assert made.stderr == f"at {url} as {account(server)['username']}\n"
    assert server.device_names() == ["press-4"]
    assert "no registry in" in run(tmp_path, "device", "list", "--data", tmp_path / "mine").stderr
    assert "Password of me is needed" in run(tmp_path, "device", "list", "--url", url, "--user", "me").stderr
    assert "go with --url: you are logged in" in run(tmp_path, "device", "list", "--user", "me").stderr
    assert run(tmp_path, "login").stdout == f"logged in at {url} as {account(server)['username']}\n"
    token = json.loads(home.read_text())["token"]
    assert run(tmp_path, "logout").stdout == f"logged out of {url}\n"
    assert not home.exists()
    home.write_text(json.dumps({"url": url, "user": "me", "token": token, "refresh_token": token}))
    home.chmod(0o600)
    assert "has ended: bench login" in run(tmp_path, "device", "list").stderr  # at the server, too


def test_token_that_has_ended_is_renewed(log_in, tmp_path, home):
    log_in()
    kept = json.loads(home.read_text())
    home.write_text(json.dumps({**kept, "token": kept["token"][:-4] + "AAAA"}))
    home.chmod(0o600)
    assert run(tmp_path, "device", "list").returncode == 0
    renewed = json.loads(home.read_text())
    assert renewed["token"][-4:] != "AAAA"
    assert stat.S_IMODE(home.stat().st_mode) == 0o600
