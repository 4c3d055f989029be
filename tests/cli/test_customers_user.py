"""The commands of a customer's user: what belongs to the customer, and nothing else."""

import json

import pytest

from bench.registry import claims, devices
from tests.support.commands import bench
from tests.support.operators import account


@pytest.fixture
def jo(server, tmp_path):
    """Run a command as a user of the customer Acme, who has the device `press-1`; `press-2` is somebody else's."""
    url = ("--url", f"http://127.0.0.1:{server.ports.http}")
    (tmp_path / "password").write_text(account(server)["password"])
    (tmp_path / "of-jo").write_text("a-password-of-jo")
    operator = (*url, "--user", account(server)["username"], "--password-file", tmp_path / "password")
    for words in (
        ("customer", "create", "Acme"),
        ("user", "create", "jo@example.com", "--customer", "Acme", "--new-password-file", tmp_path / "of-jo"),
        ("device", "create", "press-1"),
        ("device", "create", "press-2"),
        ("customer", "assign", "Acme", "press-1"),
    ):
        done = bench(*words, *operator)
        assert done.returncode == 0, done.stderr
    return lambda *words: bench(*words, *url, "--user", "jo@example.com", "--password-file", tmp_path / "of-jo")


@pytest.mark.parametrize(
    "words",
    [
        ("device", "show", "press-2"),
        ("device", "attributes", "press-2", "--set", "a=1"),
        ("telemetry", "press-2"),
        ("rpc", "press-2", "ping"),
        ("device", "delete", "press-2", "--yes"),
    ],
)
def test_devices_of_others_are_not_there(server, jo, words):
    done = jo(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no device press-2 of your customer: see bench device list" in done.stderr
    assert "press-2" in server.device_names()


def test_devices_of_the_customer_are_listed_shown_and_read(jo):
    assert [each["name"] for each in json.loads(jo("device", "list", "--json").stdout)] == ["press-1"]
    assert json.loads(jo("device", "list", "--search", "press-2", "--json").stdout) == []
    assert json.loads(jo("device", "attributes", "press-1", "--set", "a=1", "--json").stdout) == [
        {"key": "a", "value": 1}
    ]
    shown = json.loads(jo("device", "show", "press-1", "--json").stdout)
    assert (shown["name"], shown["attributes"]["SHARED_SCOPE"]) == ("press-1", {"a": 1})
    assert jo("telemetry", "press-1").returncode == 0
    assert jo("rpc", "press-1", "ping", "--oneway").returncode == 1  # it is not connected


def offer(session):
    return claims.offer(session, devices.by_name(session, "press-1").id, "", None)


def test_device_is_given_back_and_claimed_again(server, jo):
    assert jo("device", "give-back", "press-1").stdout.startswith("gave press-1 back")
    assert json.loads(jo("device", "list", "--json").stdout) == []
    again = jo("device", "give-back", "press-1")
    assert again.returncode != 0
    assert again.stderr.count("\n") == 1
    server.query(lambda registry: registry.write(offer))
    assert jo("device", "claim", "press-1").stdout == "claimed press-1\n"
