"""`bench rollout`: what it begins, shows and refuses."""

import signal
import subprocess
import sys
import threading

import pytest

from bench.cli.options import rollout_rules
from bench.errors import UsageError
from bench.server import rollouts
from tests.support.commands import PATIENCE_S, bench, printed, refused
from tests.support.operators import login, new_device, new_profile, ok
from tests.support.packages import new_package


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(rollouts, "_TURN_S", 0.01)


@pytest.fixture
def operator(server):
    with login(server) as client:
        yield client


@pytest.fixture
def words(operator):
    """A package and a profile with two devices, as `bench rollout start` is given them."""
    profile, package = new_profile(operator), new_package(operator, version="2.0.0")
    for number in range(2):
        new_device(operator, name=f"press-{number}", type=profile["name"])
    return package["title"], "2.0.0", "--profile", profile["name"]


def report(operator, **values):
    """Have the devices of the newest rollout that are under way report something, as soon as one is."""
    ended = False
    while not ended:
        (newest,) = ok(operator.get("/api/rollouts", params={"pageSize": 1, "page": 0}))["data"]
        path = f"/api/rollouts/{newest['id']}/devices"
        under_way = ok(operator.get(path, params={"pageSize": 9, "page": 0, "state": "updating"}))["data"]
        for each in under_way:
            ok(operator.post(f"/api/plugins/telemetry/DEVICE/{each['id']}/timeseries/ANY", json=values))
        ended = newest["endedTime"] is not None


def test_rollout_is_begun_shown_paused_resumed_and_stopped(url, words):
    begun = printed("rollout", "start", *words, "--where", "site=A", "--no-wait", *url)
    assert (begun["devices"], begun["where"], begun["stop_at"], begun["rate"]) == (
        0,
        {"site": "A"},
        "2.0%",
        "60 in 60 s",
    )
    rules = ("--canary", "0", "--at-most", "1", "--rate", "5/h", "--stop-at", "3", "--timeout", "2h", "--kind", "fw")
    begun = printed("rollout", "start", *words, *rules, "--no-wait", *url)
    assert (begun["package"], begun["profile"]) == (f"{words[0]} 2.0.0", words[3])
    assert (begun["at_most"], begun["rate"], begun["stop_at"], begun["timeout_s"]) == (1, "5 in 3600 s", "3", 7200)
    refused(1, "is running: stop it first", "rollout", "start", *words, *url)
    shown = printed("rollout", "show", begun["id"], *url)
    assert {each["name"] for each in shown["device_results"]} == {"press-0", "press-1"}
    assert bench("rollout", "pause", begun["id"], *url).stdout.startswith(f"rollout {begun['id']} is paused: 0 updated")
    assert bench("rollout", "resume", words[3], *url).returncode == 0
    assert f"rollout {begun['id']} is stopped" in bench("rollout", "stop", words[3], *url).stdout
    listed = printed("rollout", "list", *url)
    assert [(each["state"], each["pending"] + each["left_out"]) for each in listed] == [("stopped", 2), ("finished", 0)]
    assert "by an operator" in bench("rollout", "show", words[3], "--state", "pending", *url).stdout
    refused(1, "is stopped, and not paused", "rollout", "resume", begun["id"], *url)


def test_rollout_goes_to_its_end_and_then_there_is_nothing_to_do(url, words, operator):
    reports = {"fw_state": "UPDATED", "current_fw_title": words[0], "current_fw_version": "2.0.0"}
    begun = printed("rollout", "start", *words, "--canary", "1", "--no-wait", *url)
    report(operator, **reports)
    assert printed("rollout", "show", begun["id"], *url)["state"] == "finished"
    again = bench("rollout", "start", *words, *url)
    assert again.stdout.endswith("finished: 0 updated\n")


def test_command_ends_with_the_cause_of_a_failure(url, words, operator):
    started = threading.Thread(
        target=lambda: refused(
            1, "one of the first devices failed: press-0: no room", "rollout", "start", *words, "--canary", "1", *url
        )
    )
    started.start()
    while not ok(operator.get("/api/rollouts", params={"pageSize": 1, "page": 0}))["data"]:
        pass
    report(operator, fw_state="FAILED", fw_error="no room")
    started.join()
    table = bench("rollout", "show", words[3], *url).stdout
    assert "no room" in table.splitlines()[-1]


def test_end_of_the_display_is_not_the_end_of_the_rollout(url, words, operator):
    arguments = [sys.executable, "-m", "bench.cli", "rollout", "start", *words, *url]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("rollout ")
        assert process.stdout.readline().startswith("running: ")  # it follows
        process.send_signal(signal.SIGINT)
        _, note = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert note.count("\n") == 1
    assert "goes on: bench rollout show" in note
    assert printed("rollout", "list", *url)[0]["state"] == "running"


def test_rollout_that_no_server_drives_is_an_error(words, server):
    data = server.data
    server.stop()
    arguments = ["rollout", "start", *words, "--data", str(data)]
    code = (
        "from bench.cli.commands import rollout as r; r._SILENCE_S = r._POLL_S = 0; from bench import cli; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "start bench serve, which goes on with it" in done.stderr


@pytest.mark.parametrize("text", ["", "x", "0/min", "60", "60/day", "-1/s", "1/s/s", "1e3/s"])
def test_rate_that_is_not_one_is_refused(text):
    with pytest.raises(UsageError, match="is not a rate: write 60/min"):
        rollout_rules.rate(text)


@pytest.mark.parametrize("text", ["", "x", "0", "0%", "101%", "-1", "2 %", "1.5", "nan%"])
def test_limit_of_failures_that_is_not_one_is_refused(text):
    with pytest.raises(UsageError, match="write 2% or 10"):
        rollout_rules.stop_at(text)


def test_values_of_attributes_are_json_or_text():
    texts = ["a=1", "b=1.5", "c=true", 'd="1"', "e=hall 2", "f=x=y", "g=", "h=null", "i=NaN", f"j={'9' * 400}"]
    assert rollout_rules.attributes(texts) == {
        "a": 1,
        "b": 1.5,
        "c": True,
        "d": "1",
        "e": "hall 2",
        "f": "x=y",
        "g": "",
        "h": "null",
        "i": "NaN",
        "j": "9" * 400,
    }
    for text in ("a", "=1"):
        with pytest.raises(UsageError, match="write ATTRIBUTE=VALUE"):
            rollout_rules.attributes([text])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--timeout", "soon"), "is not a time: write 30m"),
        (("--kind", "image"), "choose fw or sw"),
        (("--kind", "sw"), "is a package of the other kind"),
        (("--where", "a=1", "--then-profile"), "for some of its devices only"),
    ],
)
def test_start_is_refused(url, words, more, message):
    done = bench("rollout", "start", *words, *more, *url)
    assert done.returncode in (1, 2)
    assert message in done.stderr


def test_package_or_rollout_that_is_not_there_is_an_error(url, words):
    refused(1, "no package press 9.9: see bench package list", "rollout", "start", "press", "9.9", *words[2:], *url)
    refused(1, "no rollout x", "rollout", "show", "x", *url)
    refused(2, "choose from pending", "rollout", "show", "x", "--state", "gone", *url)
