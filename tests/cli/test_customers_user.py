"""The commands of a customer's user: what belongs to the customer, and nothing else."""

import json

import pytest

from bench.registry import claims, devices
from tests.support.commands import bench
from tests.support.operators import customer_user, new_device, ok, options


@pytest.fixture(scope="module")
def jo(shared_server, shared_operator, tmp_path_factory):
    """Run a command as a customer's user, who has the device `press-1`; `press-2` is somebody else's."""
    customer, who = customer_user(shared_server, shared_operator)
    first, _ = (new_device(shared_operator, name=each)["id"]["id"] for each in ("press-1", "press-2"))
    ok(shared_operator.post(f"/api/customer/{customer['id']['id']}/device/{first}"))
    where = options(shared_server, tmp_path_factory.mktemp("jo"), who)
    return lambda *words: bench(*words, *where)


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
def test_devices_of_others_are_not_there(shared_server, jo, words):
    done = jo(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no device press-2 of your customer: see bench device list" in done.stderr
    assert "press-2" in shared_server.device_names()


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


def test_device_is_given_back_and_claimed_again(shared_server, jo):
    assert jo("device", "give-back", "press-1").stdout.startswith("gave press-1 back")
    assert json.loads(jo("device", "list", "--json").stdout) == []
    again = jo("device", "give-back", "press-1")
    assert again.returncode != 0
    assert again.stderr.count("\n") == 1
    shared_server.query(lambda registry: registry.write(offer))
    assert jo("device", "claim", "press-1").stdout == "claimed press-1\n"


def test_device_is_claimed_with_the_code_on_its_label_once(shared_operator, jo, tmp_path):
    made = new_device(shared_operator, name="press-3")["id"]["id"]
    body = {"deviceId": made, "durationMs": 60_000}
    code = ok(shared_operator.post("/api/v1/association/create-association-code", json=body))["associationCode"]
    (tmp_path / "wrong").write_text("0000-0000-0000\n")
    (tmp_path / "code").write_text(f"{code.lower()}\n")
    refused = jo("device", "claim", "--code-file", tmp_path / "wrong")
    assert refused.returncode == 1
    assert "Association code is wrong, used or expired" in refused.stderr
    assert jo("device", "claim", "--code-file", tmp_path / "code").stdout == "claimed press-3\n"
    again = jo("device", "claim", "--code-file", tmp_path / "code")
    assert (again.returncode, code in again.stderr) == (1, False)


@pytest.mark.parametrize("words", [(), ("press-1", "--code-file", "{}"), ("--secret-file", "{}", "--code-file", "{}")])
def test_claim_by_name_and_by_code_at_once_is_refused(jo, tmp_path, words):
    (tmp_path / "file").write_text("x")
    done = jo("device", "claim", *(each.format(tmp_path / "file") for each in words))
    assert done.returncode == 2
    assert "or --code-file alone" in done.stderr
