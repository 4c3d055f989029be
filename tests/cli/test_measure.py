"""`bench measure` as a user runs it, on every kind of target."""

import json
import subprocess
import sys

import pytest

from bench.virtual import line_server
from bench.virtual.board import VirtualBoard
from tests.support.commands import bench_in, nothing_is_left, serving

STEPS = ["boot", "link_up", "pending_stored", "answer", "provisioned", "connected", "telemetry"]


def measured(cwd, *arguments, code=0):
    done = bench_in(cwd, "measure", "--json", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def expect_good(found, rounds, target, steps=STEPS):
    assert (found["n"], found["target"], found["failed"], found["warm_up"]) == (rounds, target, [], 1)
    assert len(found["rounds_ms"]) == rounds
    for each in found["rounds_ms"]:
        assert list(each) == steps
        assert list(each.values()) == sorted(each.values())
        assert all(ms > 0 for ms in each.values())
    for kind in ("from_power_on_ms", "phases_ms", "by_own_clock_ms"):
        assert list(found[kind]) == steps
        assert all(statistics["n"] == rounds for statistics in found[kind].values())
    # the first line comes with the board's own clock at zero; what follows is on both clocks
    own = found["by_own_clock_ms"]["telemetry"]["p50"]
    assert 0 < own < found["from_power_on_ms"]["telemetry"]["p50"]
    assert found["firmware"]
    assert found["micropython"].count(".") == 2
    assert found["conditions"]["cpus"] > 0


@pytest.mark.parametrize("target", ["unix", "virtual"])
def test_virtual_boards_are_measured(tmp_path, target):
    found = measured(tmp_path, "-n", "3", "--target", target)
    expect_good(found, 3, target)
    assert (found["transport"], found["tls"], found["credentials"]) == ("mqtt", False, "ACCESS_TOKEN")
    nothing_is_left(tmp_path)


def test_key_that_a_board_makes_is_a_phase(tmp_path):
    found = measured(tmp_path, "-n", "1", "--tls", "--credentials", "X509_CERTIFICATE")
    assert found["phases_ms"]["key_made"]["p50"] > 0
    assert (found["tls"], found["credentials"]) == (True, "X509_CERTIFICATE")


def test_result_is_a_table_and_a_picture(tmp_path):
    done = bench_in(tmp_path, "measure", "-n", "2", "--plot", "boot.svg")
    assert done.returncode == 0
    assert "First boot, unix, mqtt, ACCESS_TOKEN, n = 2" in done.stdout
    assert all(word in done.stdout for word in ("first line", "pending stored", "power-on", "p95"))
    assert "(n = 2)" in (tmp_path / "boot.svg").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("raw", [False, True], ids=["rfc2217", "socket"])
def test_board_on_a_port_provisions_anew_each_round(tmp_path, raw):
    data = ("--data", str(tmp_path / "data"))
    with serving(tmp_path / "data"):
        assert bench_in(tmp_path, "board", "new", "one", *data).returncode == 0
        board = VirtualBoard(tmp_path / "data" / "boards" / "one")
        with line_server.serve(board, raw=raw) as served:
            found = measured(tmp_path, "-n", "2", "--target", served.url, *data)
        events = [json.loads(each) for each in (tmp_path / "journal").read_text().splitlines()]
        devices = json.loads(bench_in(tmp_path, "device", "list", "--json", *data).stdout)
    expect_good(found, 2, "port")
    assert (found["transport"], found["tls"], found["credentials"]) == ("mqtt", False, "ACCESS_TOKEN")
    assert found["attempts"] == [1, 1]
    assert len([each for each in events if each["event"] == "exchange"]) == 4  # as it was, a warm-up, two that count
    assert [each["name"] for each in devices] == [f"firstboot-{board.mac}"]


@pytest.mark.slow
def test_round_that_fails_is_reported_and_not_counted(tmp_path):
    data = ("--data", str(tmp_path / "data"))
    with serving(tmp_path / "data"):
        assert bench_in(tmp_path, "board", "new", "one", *data).returncode == 0
        assert bench_in(tmp_path, "profile", "create", "closed", "--strategy", "DISABLED", *data).returncode == 0
        board = VirtualBoard(tmp_path / "data" / "boards" / "one")
        with line_server.serve(board) as served:
            command = [sys.executable, "-m", "bench.cli", "measure", "--json", "-n", "2", "--timeout", "2"]
            with subprocess.Popen(
                [*command, "--target", served.url, *data], cwd=tmp_path, stdout=subprocess.PIPE, text=True
            ) as running:
                while (tmp_path / "journal").read_text().count('"exchange"') < 3:
                    assert running.poll() is None
                served.pull_out()
                running.communicate(timeout=60)
            assert running.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("-n", "0"), 2, "-n"),
        (("--plot", "x.pdf"), 2, ".svg or .png"),
        (("--target", "/dev/nothing"), 1, "no server runs"),
        (("--target", "/dev/nothing", "--transport", "http"), 2, "leave out --transport"),
        (("--data", "here"), 1, "no server runs on here"),
        (("--credentials", "X509_CERTIFICATE"), 2, "add --tls"),
    ],
)
def test_mistake_is_one_line_and_an_exit_code(tmp_path, arguments, code, message):
    done = bench_in(tmp_path, "measure", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    nothing_is_left(tmp_path)
