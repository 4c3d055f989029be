"""A tray of boards, flashed side by side by one `bench flash`."""

import csv
import json
import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path

import pytest

from bench import paths
from bench.flash import filesystem
from bench.virtual.board import VirtualBoard
from bench.virtual.line_server import LineServer, serve
from bench.virtual.uart_timing import LineFaults
from tests.support import tripwires
from tests.support.flash_commands import WIFI_PASSWORD, bench, options
from tests.support.servers import PATIENCE_S, RunningServer
from tests.support.tripwires import Moment, Tripwire

pytestmark = pytest.mark.slow

BOARDS = 8
PULLED, WRONG = 2, 5
QUERY_SIZE = 100  # bytes that it takes to ask a board what it is called


def tray(server: RunningServer, lines: list[LineServer]) -> tuple[str, list[dict]]:
    """Flash the tray, of whose boards some fail; what is said about that, and the results."""
    ports = [word for line in lines for word in ("--port", line.url)]
    done = bench("flash", *ports, *options(server, "--json", "--serials", "press-0001", "--claimable"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert WIFI_PASSWORD not in done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr, json.loads(done.stdout)


def kept(folder: Path) -> list[dict]:
    """Return the results in the tray's folder."""
    return [json.loads(file.read_text()) for file in folder.glob("board-*.json")]


def stickers(folder: Path) -> dict[str, dict[str, str]]:
    """The rows of the label sheet, by MAC. As many are on the page."""
    with (folder / "labels.csv").open(newline="") as file:
        rows = {row["mac"].replace(":", ""): row for row in csv.DictReader(file)}
    assert (folder / "labels.html").read_text().count("<svg") == len(rows)
    return rows


def result_of(done: subprocess.CompletedProcess[str]) -> list[dict]:
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def interrupted(wire: Tripwire, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the bench, which gets Ctrl-C from the tripwire."""
    command = [sys.executable, "-m", "bench.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(paths.CHECKOUT / "host"), "BENCH_WIFI_PASSWORD": WIFI_PASSWORD}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        wire.act = lambda: process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert wire.tripped.is_set()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def settings_of(board: VirtualBoard) -> dict[str, dict]:
    return json.loads(filesystem.read_files(board.flash())["settings.json"])


def test_numbers_that_are_too_few_or_there_twice_touch_no_board(server, tmp_path):
    boards = [VirtualBoard.create(tmp_path / name, blank=True) for name in ("a", "b")]
    numbers = tmp_path / "numbers.csv"
    with ExitStack() as stack:
        lines = [stack.enter_context(serve(each)) for each in boards]
        ports = [word for line in lines for word in ("--port", line.url)]
        for rows, error in (("press-1\n", "2 boards and 1 serial numbers"), ("a\nb\na\n", "a is there twice")):
            numbers.write_text(f"serial\n{rows}")
            done = bench("flash", *ports, *options(server, "--serials", str(numbers)))
            assert done.returncode == 2
            assert error in done.stderr
        assert [line.traffic.to_board for line in lines] == [0, 0]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("press", "cannot all be called press"),
        ("{serial}", "give the serial numbers with --serials"),
        ("{foo}", "--name knows {mac} and {serial} only"),
        ("{mac}-{prefix", "--name knows {mac} and {serial} only"),
    ],
)
def test_name_that_several_boards_would_have_is_refused(server, name, error):
    ports = ["--port", "rfc2217://127.0.0.1:1", "--port", "rfc2217://127.0.0.1:2"]
    done = bench("flash", *ports, *options(server, "--name", name))
    assert done.returncode == 2
    assert error in done.stderr


def test_tray_of_another_place_is_refused(server):
    before = set(server.data.parent.iterdir())
    done = bench("flash", "--port", "rfc2217://127.0.0.1:1", *options(server, "--tray", "../../x"))
    assert done.returncode == 2
    assert "a name, not a path" in done.stderr
    assert set(server.data.parent.iterdir()) == before


@pytest.mark.parametrize("address", ["mqtt://127.0.0.1:1883", "127.0.0.300:1883", "[::1]:1883", "two words:1"])
def test_server_that_is_not_a_host_is_refused_before_anything_is_written(server, address):
    named = options(server)
    named[named.index("--server") + 1] = address
    done = bench("flash", "--port", "rfc2217://127.0.0.1:1", *named)
    assert done.returncode == 2
    assert f"not an address: {address}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_tray_with_a_board_pulled_out_and_one_of_the_wrong_chip(server, tmp_path, report):
    folder = server.data / "trays" / "tray"
    boards = [VirtualBoard.create(tmp_path / f"board{at}", blank=True) for at in range(BOARDS)]
    faults = {PULLED: LineFaults(pull_at=20), WRONG: LineFaults(chip="esp32s3")}
    good = [at for at in range(BOARDS) if at not in faults]
    with ExitStack() as stack:
        lines = [stack.enter_context(serve(each, faults=faults.get(at))) for at, each in enumerate(boards)]

        began = time.monotonic()
        output, results = tray(server, lines)
        spent = time.monotonic() - began
        assert "2 of 8 boards are not online" in output
        assert [at for at in range(BOARDS) if not results[at]["error"]] == good
        assert [each["port"] for each in results] == [line.url for line in lines]
        assert [each["mac"] for each in results] == [
            board.mac if at != WRONG else "" for at, board in enumerate(boards)
        ]
        names = {results[at]["name"] for at in good}
        assert len(names) == len(good)
        assert names < {f"press-{number:04}" for number in range(1, BOARDS + 1)}
        assert set(server.device_names()) == names
        assert "plug it in again" in results[PULLED]["error"]
        assert "This chip is ESP32-S3, not ESP32: name the right board with --board" in results[WRONG]["error"]
        assert boards[WRONG].flash() == b"\xff" * 0x400000
        key = itemgetter("port")
        assert sorted(kept(folder), key=key) == sorted(results, key=key)
        first = stickers(folder)
        assert set(first) == {boards[at].mac for at in good}

        assert lines[PULLED].wait_pulled_out(PATIENCE_S)
        lines[PULLED].plug_in()
        before = [line.traffic.to_board for line in lines]
        powers = [line.power for line in lines]
        began = time.monotonic()
        output, again = tray(server, lines)
        report(f"a tray of 8: {spent:.0f} s, and {time.monotonic() - began:.0f} s to go on with one board of it")
        assert "1 of 8 boards are not online" in output
        for at in good:
            assert again[at] == results[at]
            assert lines[at].power is powers[at]
            assert lines[at].traffic.to_board - before[at] < QUERY_SIZE
        assert again[PULLED]["error"] == ""
        assert again[PULLED]["name"] not in names
        assert set(server.device_names()) == names | {again[PULLED]["name"]}
        assert "ESP32-S3" in again[WRONG]["error"]
        assert sorted(kept(folder), key=key) == sorted(again, key=key)

        labels = stickers(folder)
        assert {mac: labels[mac] for mac in first} == first
        assert set(labels) - set(first) == {boards[PULLED].mac}
        for label in labels.values():
            server.wait_for("claim", device=label["name"], result="offered")
    for board in (boards[at] for at in (*good, PULLED)):
        settings, label = settings_of(board), labels[board.mac]
        assert label["name"] == label["serial"] == settings["identity"]["name"]
        assert label["claim_secret"] == settings["claim"]["secret"]
    assert len({label["claim_secret"] for label in labels.values()}) == len(labels)
    assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}


def test_tray_that_is_interrupted_goes_on_with_what_is_left(server, tmp_path):
    folder = server.data / "trays" / "tray"
    finished, other = (VirtualBoard.create(tmp_path / name, blank=True) for name in ("finished", "other"))
    wire = Tripwire(Moment("in the image's middle", b"\xc0\x00\x11", 36))
    with serve(finished) as line, tripwires.serve(other, wire) as other_line:
        shared = options(server, "--json", "--serials", "press-0001")
        (first,) = result_of(bench("flash", "--port", line.url, *shared))
        assert first["name"] == "press-0001"
        before, power = line.traffic.to_board, line.power

        both = ["--port", line.url, "--port", other_line.url, *shared]
        done = interrupted(wire, "flash", *both)
        assert done.returncode == 130
        assert done.stderr == "warning: interrupted; run the same command to continue\n"
        assert json.loads((folder / "tray.json").read_text())["serials"][other.mac] == "press-0002"
        assert kept(folder) == [first]

        again = result_of(bench("flash", *both))
        assert [each["name"] for each in again] == ["press-0001", "press-0002"]
        assert again[0] == first
        assert line.power is power
        assert line.traffic.to_board - before < 2 * QUERY_SIZE
    assert set(stickers(folder)) == {finished.mac, other.mac}
