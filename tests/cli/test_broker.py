"""`bench broker` and `bench serve --broker-api`: what they print and write, and what they refuse."""

import base64
import stat

import pytest

from tests.support.commands import bench, printed, refused

RABBITMQ = 'kind = "rabbitmq"\nurl = "http://127.0.0.1:15672"\nuser = "bench"\n'
WRONG = {
    "no TOML": ("x", "is not TOML"),
    "incomplete": (RABBITMQ, "password is missing"),
    "another kind": (RABBITMQ.replace("rabbitmq", "other") + 'password = "p"', "kind is not one of emqx, rabbitmq"),
    "no text": (RABBITMQ + "password = 1", "password must be a text in quotes"),
    "unknown": (RABBITMQ + 'password = "p"\nmore = "x"', "more is not one of kind, url, user, password, ca"),
    "no URL": (RABBITMQ.replace("http://", "") + 'password = "p"', "not a URL"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Options for a data folder without a server."""
    where = ("--data", str(tmp_path_factory.mktemp("data") / "registry"))
    assert bench("profile", "create", "tray", *where).returncode == 0
    return where


def test_key_is_printed_once_and_listed_by_its_name_alone(data):
    made = printed("broker", "key", "plant", *data)
    assert made.keys() == {"broker", "key", "header"}
    shown = base64.b64decode(made["header"].removeprefix("Authorization: Basic "))
    assert shown.decode() == f"plant:{made['key']}"
    assert [each["broker"] for each in printed("broker", "list", *data)] == ["plant"]
    again = bench("broker", "key", "plant", "--for", "mosquitto", "--server", "https://bench.example:8443", *data)
    assert "the key that plant had before is over" in again.stderr
    assert "auth_opt_http_host plant:" in again.stdout
    assert "auth_opt_http_port 8443\nauth_opt_http_with_tls true\nauth_opt_http_verify_peer true\n" in again.stdout
    assert made["key"] not in again.stdout
    assert bench("broker", "revoke", "plant", *data).returncode == 0
    refused(1, "no broker plant has a key: see bench broker list", "broker", "revoke", "plant", *data)
    assert printed("broker", "list", *data) == []
    audit = [each["what"] for each in printed("audit", *data) if each["entity"] == "plant"]
    assert audit == ["KEY_REVOKED", "KEY_ISSUED", "KEY_ISSUED"]


def test_configuration_is_a_private_file_that_is_not_replaced_without_a_word(data, tmp_path):
    file = tmp_path / "bench.conf"
    to_file = ("broker", "key", "plant", "--for", "emqx", "--output", str(file), *data)
    done = bench(*to_file)
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert 'url = "http://127.0.0.1:8080/iot/broker/auth/"' in file.read_text()
    assert "no_match = deny" in file.read_text()
    refused(2, "exists: name another file, or replace it with --force", *to_file)


def test_wrong_use_changes_no_key(data):
    before = printed("broker", "list", *data)
    for arguments, message in (
        (("a b",), "a broker's name has 1 to 64 letters, digits, _ and -"),
        (("other", "--server", "10.0.0.5"), "not a URL"),
        (("other", "--for", "emqx", "--json"), "--json is not for a broker's configuration"),
    ):
        refused(2, message, "broker", "key", *arguments, *data)
    assert printed("broker", "list", *data) == before


def test_export_needs_its_files(data, tmp_path):
    refused(2, "name the files", "broker", "export", *data)
    refused(2, "name the files", "broker", "export", "--passwords", tmp_path / "p", *data)
    file = tmp_path / "dynamic.json"
    file.write_text("[]")
    refused(2, "not a file of mosquitto's dynamic security", "broker", "export", "--dynamic-security", file, *data)
    for device in ("good", "with colon"):
        done = bench("device", "create", "--profile", "tray", device, *data)
        assert done.returncode == 0, done.stderr
    files = ("--passwords", tmp_path / "p", "--acl", tmp_path / "a")
    assert printed("broker", "export", *map(str, files), *data) == {"devices": 2, "left_out": {}}
    assert "topic write iot/tray/with%20colon/data\n" in (tmp_path / "a").read_text()


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_wrong_file_of_a_brokers_api_is_one_line(tmp_path, text, message):
    file = tmp_path / "api.toml"
    file.touch(0o600)
    file.write_text(text)
    refused(2, message, "serve", "--data", tmp_path / "data", "--broker-api", file)


def test_file_of_a_brokers_api_that_others_can_read_is_refused(tmp_path):
    file = tmp_path / "api.toml"
    file.write_text(RABBITMQ + 'password = "p"')
    file.chmod(0o644)
    refused(2, "others can read it: chmod 600", "serve", "--data", tmp_path / "data", "--broker-api", file)
    refused(2, "no file", "serve", "--data", tmp_path / "data", "--broker-api", tmp_path / "none")
    refused(2, "not a prefix of topics", "serve", "--data", tmp_path / "data", "--topic-prefix", "a/#")
