"""`bench profile group-key`, `again` and `device-key`, and boards whose own secrets follow from a group key."""

import json

import pytest

from bench.contract.proof import claim_secret, derived_token
from tests.support.commands import bench, printed


@pytest.fixture
def data(tmp_path):
    return ("--data", str(tmp_path / "data"))


def failed(*words):
    done = bench(*words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (done.returncode or 99, "", 1), done.stderr
    return done.stderr


def test_group_key_is_shown_once(data):
    made = printed("profile", "create", "tray7", "--group-key", *data)
    assert len(made["group_key"]) == 64
    assert "--replace" in failed("profile", "group-key", "tray7", *data)
    shown = bench("profile", "show", "tray7", "--show-secrets", "--json", *data)
    assert json.loads(shown.stdout)["has_group_key"] is True
    assert made["group_key"] not in shown.stdout
    other = printed("profile", "group-key", "tray7", "--replace", *data)
    assert other["group_key"] != made["group_key"]
    assert bench("profile", "group-key", "tray7", "--remove", *data).returncode == 0
    assert printed("profile", "again", "tray7", *data)["has_group_key"] is False
    assert "choose one" in failed("profile", "group-key", "tray7", "--remove", "--replace", *data)
    assert "exclude each other" in failed("profile", "create", "off", "--strategy", "DISABLED", "--group-key", *data)


def test_policy_is_shown_and_set(data):
    assert bench("profile", "create", "tray7", *data).returncode == 0
    assert "bench profile group-key tray7" in failed("profile", "again", "tray7", "keep", *data)
    assert bench("profile", "group-key", "tray7", *data).returncode == 0
    assert printed("profile", "again", "tray7", "keep", *data)["again"] == "keep"
    assert printed("profile", "again", "tray7", *data)["again"] == "keep"
    assert printed("profile", "show", "tray7", *data)["again"] == "keep"
    assert "bench profile again tray7 refuse" in failed("profile", "group-key", "tray7", "--remove", *data)


def test_device_keys_are_the_same_with_the_server_and_with_the_group_key(data, tmp_path):
    key = printed("profile", "create", "tray7", "--group-key", *data)["group_key"]
    names = ("press-4", "5f0c9d0e-6c0b-4d5e-9a51-0a0b0c0d0e0f")
    expected = [
        {"name": name, "device_key": claim_secret(key, name), "token": derived_token(claim_secret(key, name), name)}
        for name in names
    ]
    assert printed("profile", "device-key", "tray7", *names, *data) == expected
    file = tmp_path / "group.key"
    file.write_text(key + "\n")
    assert printed("profile", "device-key", "tray7", *names, "--group-key-file", file) == expected
    file.write_text("\n")
    assert "is empty" in failed("profile", "device-key", "tray7", *names, "--group-key-file", file)


def test_board_has_the_secret_that_follows_from_the_group_key(data, tmp_path):
    key = printed("profile", "create", "tray7", "--group-key", *data)["group_key"]
    mac = "02aabbccdd01"
    made = bench("board", "new", "b1", "--mac", mac, "--profile", "tray7", "--claim", "proof", *data)
    assert made.returncode == 0, made.stderr
    flash = (tmp_path / "data" / "boards" / "b1").rglob("*")
    content = b"".join(path.read_bytes() for path in flash if path.is_file())
    assert claim_secret(key, f"firstboot-{mac}").encode() in content
    assert key.encode() not in content
