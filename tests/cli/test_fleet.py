"""`bench fleet` as a user runs it: small fleets, and what goes wrong with them."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import paths
from tests.support.commands import FLEET_PATIENCE_S, bench_in, nothing_is_left, serving

LIGHT = ("-n", "300", "--light")


def fleet(cwd: Path, *arguments: str, code: int = 0):
    done = bench_in(cwd, "fleet", "--json", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def expect_good(found, devices: int) -> None:
    assert found["good"] is True
    assert (found["provisioned"], found["online"], found["failed"]) == (devices, devices, [])
    assert found["registry"]["devices"] == devices
    assert sum(found["attempts"].values()) == devices
    took = found["from_power_on_s"]
    assert all(statistics["n"] == devices for statistics in took.values())
    assert took["telemetry"]["max"] <= found["took_s"]  # the run is not over before the last of them is online
    order = [took[step]["p50"] for step in ("answer", "provisioned", "connected", "telemetry")]
    assert order == sorted(order)
    assert all(
        statistics["p50"] <= statistics["p95"] <= statistics["p99"] <= statistics["max"] for statistics in took.values()
    )


@pytest.mark.parametrize("arguments", [(), ("--arrival", "poisson", "--rate", "30")], ids=["all", "poisson"])
def test_boards_come_online_each_once(tmp_path, arguments):
    found = fleet(tmp_path, "-n", "6", *arguments)
    expect_good(found, 6)
    own, took, ran = found["by_own_clock_s"]["telemetry"], found["from_power_on_s"]["telemetry"], found["cpu_s"]
    assert 0 < own["p50"] < took["p50"]  # a process starts before its firmware does
    assert 0 < ran["p50"] < took["p50"]
    assert found["after_restart_s"] == {}
    assert found["attempts_after_restart"] == {}
    assert found["memory_bytes"]["devices"] > 6 * 1e6
    assert found["memory_bytes"]["server"] > 10e6
    assert found["cpu_used_s"]["server"] > 0
    assert found["consoles"] is None
    nothing_is_left(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((), id="all"),
        pytest.param(("--arrival", "poisson", "--rate", "1000"), id="poisson"),
        pytest.param(("--tls", "--leave"), marks=pytest.mark.slow, id="tls"),
    ],
)
def test_light_devices_come_online_each_once(tmp_path, arguments):
    found = fleet(tmp_path, *LIGHT, *arguments)
    expect_good(found, 300)
    assert "link_up" not in found["from_power_on_s"]
    assert found["cpu_s"] is None
    nothing_is_left(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "devices"), [(("-n", "6"), 6), (LIGHT, 300)], ids=["boards", "light"])
def test_fleet_comes_back_after_a_restart_and_none_provisions_again(tmp_path, kind, devices):
    found = fleet(tmp_path, *kind, "--arrival", "restart", "--keep")
    expect_good(found, devices)
    assert found["after_restart_s"].keys() == {"connected", "telemetry"}
    assert found["after_restart_s"]["telemetry"]["n"] == devices
    assert sum(found["attempts_after_restart"].values()) == devices
    (kept,) = tmp_path.glob(".bench/fleet-*")
    events = [json.loads(line)["event"] for line in (kept / "server.log").read_text().splitlines()]
    assert events.count("listening") == 2
    restarted = len(events) - events[::-1].index("listening")
    assert events[:restarted].count("exchange") == devices
    assert "exchange" not in events[restarted:]
    assert events[restarted:].count("online") >= devices


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("--transport", "http", "--tls", "--credentials", "X509_CERTIFICATE"),
        ("--transport", "coap", "--claim", "device", "--leave"),
        ("--claim", "proof", "--leave"),
    ],
    ids=["certificates", "claims", "proofs"],
)
def test_boards_come_online_in_other_ways(tmp_path, arguments):
    expect_good(fleet(tmp_path, "-n", "3", *arguments), 3)
    nothing_is_left(tmp_path)


# what goes wrong


@pytest.mark.slow
@pytest.mark.parametrize("kind", [(), ("--light",)], ids=["boards", "light"])
def test_wrong_secret_fails_the_fleet_and_names_which_and_why(tmp_path, kind):
    other = tmp_path / "other"
    assert bench_in(tmp_path, "profile", "create", "elsewhere", "--data", str(other)).returncode == 0
    with serving(tmp_path / "data"):
        port = json.loads((tmp_path / "ready.json").read_text())["mqtt_port"]
        there = ("--server", f"127.0.0.1:{port}", "--data", str(other), "--profile", "elsewhere")
        found = fleet(tmp_path, "-n", "3", *kind, *there, code=1)
        done = bench_in(tmp_path, "fleet", "-n", "3", *kind, *there)
    assert found["good"] is False
    assert (found["provisioned"], found["online"], len(found["failed"])) == (0, 0, 3)
    assert all("no profile has this provisioning key and secret" in each["reason"] for each in found["failed"])
    assert done.returncode == 1
    assert "3 failed" in done.stdout
    assert "no profile has this provisioning key" in done.stdout
    if not kind:
        for each in found["failed"]:
            console = tmp_path / found["consoles"] / f"{each['name']}.log"
            assert "not_found" in console.read_text()
            assert console.stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
@pytest.mark.parametrize("kind", [(), ("--light",)], ids=["boards", "light"])
def test_server_that_is_killed_in_the_middle_fails_the_fleet(tmp_path, kind):
    data = tmp_path / "data"
    with serving(data) as server:
        command = [sys.executable, "-m", "bench.cli", "fleet", "--json", "--data", str(data), *kind]
        slow = ("-n", "30", "--arrival", "poisson", "--rate", "6", "--timeout", "2")
        with subprocess.Popen(
            [*command, *slow], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as running:
            deadline = time.monotonic() + FLEET_PATIENCE_S
            while '"online"' not in (tmp_path / "journal").read_text():
                assert running.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            server.kill()
            output, complained = running.communicate(timeout=FLEET_PATIENCE_S)
    assert running.returncode == 1
    found = json.loads(output)
    assert found["online"] <= found["provisioned"] < 30
    assert len(found["failed"]) == 30 - found["online"]
    assert all("not online within 2 s" in each["reason"] for each in found["failed"])
    assert found["online"] <= found["registry"]["devices"] < 30  # its data folder tells, server or not
    made = found["registry"]["devices"]
    assert re.fullmatch(rf"deleted {made:,} devices fleet-\w+-\.\.\.\n" if made else "", complained)


@pytest.mark.slow
def test_server_of_its_own_that_dies_is_reported(tmp_path):
    command = [sys.executable, "-m", "bench.cli", "fleet", "--json", "--light", "-n", "20"]
    slow = ("--arrival", "poisson", "--rate", "4", "--timeout", "2")
    with subprocess.Popen(
        [*command, *slow], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        deadline = time.monotonic() + FLEET_PATIENCE_S
        while not any('"online"' in each.read_text() for each in tmp_path.glob(".bench/fleet-*/server.log")):
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (ready,) = tmp_path.glob(".bench/fleet-*/ready.json")
        os.kill(json.loads(ready.read_text())["pid"], signal.SIGKILL)
        output, complained = running.communicate(timeout=FLEET_PATIENCE_S)
    assert running.returncode == 1
    assert json.loads(output)["good"] is False
    assert "the server ended before its devices did" in complained
    nothing_is_left(tmp_path)


@pytest.mark.slow
def test_board_gets_the_time_that_tls_needs_from_the_server_of_the_url(tmp_path):
    data = tmp_path / "data"
    with serving(data):
        ready = json.loads((tmp_path / "ready.json").read_text())
        account = json.loads((data / "operator.json").read_text())
        (tmp_path / "password").write_text(account["password"])
        where = ("--url", f"http://localhost:{ready['http_port']}", "--user", account["username"])
        there = ("--password-file", "password", "--server", f"localhost:{ready['mqtts_port']}")
        tls = ("--tls", "--server-ca", str(data / "tls" / "ca.pem"), "--timeout", "20")
        expect_good(fleet(tmp_path, "-n", "1", *where, *there, *tls), 1)


@pytest.mark.slow
def test_devices_on_another_server_are_deleted_unless_they_are_to_stay(tmp_path):
    data = ("--data", str(tmp_path / "data"))
    with serving(tmp_path / "data"):
        assert bench_in(tmp_path, "device", "create", "mine", *data).returncode == 0
        expect_good(fleet(tmp_path, *LIGHT, *data), 300)
        assert [each["name"] for each in json.loads(bench_in(tmp_path, "device", "list", "--json", *data).stdout)] == [
            "mine"
        ]
        expect_good(fleet(tmp_path, "-n", "5", "--light", "--keep", *data), 5)
        assert len(json.loads(bench_in(tmp_path, "device", "list", "--json", *data).stdout)) == 6


@pytest.mark.slow
@pytest.mark.parametrize("kind", [("-n", "20"), LIGHT], ids=["boards", "light"])
def test_fleet_that_is_ended_leaves_nothing(tmp_path, kind):
    command = [sys.executable, "-m", "bench.cli", "fleet", *kind, "--arrival", "poisson", "--rate", "1"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as running:
        deadline = time.monotonic() + FLEET_PATIENCE_S
        while not any('"online"' in each.read_text() for each in tmp_path.glob(".bench/fleet-*/server.log")):
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        assert running.wait(FLEET_PATIENCE_S) == 128 + signal.SIGTERM
    nothing_is_left(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
def test_disk_that_is_full_is_one_line(tmp_path):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "bench.cli", "boards"]
        done = subprocess.run(
            command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=FLEET_PATIENCE_S
        )
    assert done.returncode != 0
    assert (
        done.stderr.splitlines()[0]
        == "error: a limit of this machine is reached: No space left on device: free some space"
    )
    assert "Traceback" not in done.stderr


def test_board_that_the_disk_has_no_room_for_is_named_and_leaves_nothing(tmp_path):
    """By the limit of one file, which is met as a full disk is: in the middle of writing."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*/flash.bin'"):
            paths.write_private(tmp_path / "flash.bin", b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("-n", "0"), 2, "-n"),
        (("--arrival", "never"), 2, "poisson"),
        (("--rate", "0"), 2, "--rate"),
        (("--arrival", "restart", "--leave"), 2, "leave out --leave"),
        (("--arrival", "restart", "--data", "here"), 1, "no server runs on here"),
        (("--light", "--transport", "coap"), 2, "leave out --light"),
        (("--light", "--credentials", "MQTT_BASIC"), 2, "leave out --light"),
        (("--light", "--server-made"), 2, "leave out --light"),
        (("--plot", "x.gif"), 2, ".svg or .png"),
        (("--plot", "nowhere/x.svg"), 2, "nowhere"),
        (("--certificate", "x", "--key", "y"), 2, "leave out --certificate"),
        (("--credentials", "X509_CERTIFICATE"), 2, "add --tls"),
        (("--profile", "nobody"), 1, "no profile nobody"),
    ],
)
def test_mistake_is_one_line_and_an_exit_code(tmp_path, arguments, code, message):
    done = bench_in(tmp_path, "fleet", *arguments)
    assert done.returncode == code
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    nothing_is_left(tmp_path)


def test_result_is_a_table_and_a_picture(tmp_path):
    done = bench_in(tmp_path, "fleet", "-n", "5", "--light", "--plot", "fleet.svg")
    assert done.returncode == 0
    assert "5 light devices, all at once: 5 provisioned, 5 online, 0 failed" in done.stdout
    assert "first telemetry acknowledged" in done.stdout
    picture = (tmp_path / "fleet.svg").read_text()
    assert picture.startswith("<?xml")
    assert "5 light devices, all at once" in picture
    assert "(n = 5)" in picture
