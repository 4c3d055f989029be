"""Boards on lines of bytes alone, without DTR and RTS: the user is asked to reset them."""

import json
import os
import signal
import subprocess
import sys

import pytest

from bench.virtual.auto_reset import Start
from bench.virtual.board import VirtualBoard
from bench.virtual.line_server import serve
from tests.support.boards import vault_slots
from tests.support.flash_commands import IMAGE
from tests.support.servers import PATIENCE_S

pytestmark = pytest.mark.slow

BUTTONS = "now: {}: hold BOOT (IO0 low) while you press RESET: the board must be in its boot loader\n"
RESET = "now: {}: press RESET: the board must leave its boot loader\n"


class Command:
    """A command that runs. Its prompts to the user are awaited by `asks`."""

    def __init__(self, *arguments):
        self._running = subprocess.Popen(
            [sys.executable, "-m", "bench.cli", *arguments, "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "BENCH_WIFI_PASSWORD": "the air is loopback"},
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._running.terminate()
        self._running.communicate(timeout=PATIENCE_S)

    def expect_prompt(self, for_what):
        assert self._running.stderr.readline() == for_what

    def interrupt(self):
        """As by Ctrl-C."""
        self._running.send_signal(signal.SIGINT)

    def ends(self, code=0):
        """Return its result in JSON, or its error."""
        output, complaint = self._running.communicate(timeout=PATIENCE_S * 2)
        assert self._running.returncode == code
        assert code or not complaint
        return complaint if code else output


def flash(server, line, *more):
    there = ["--data", str(server.data), "--server", f"127.0.0.1:{server.ports.mqtt}", "--wifi", "bench"]
    return Command("flash", "--port", line.url, *there, "--image", str(IMAGE), *more)


@pytest.fixture
def board(tmp_path):
    return VirtualBoard.create(tmp_path / "board", blank=True)


@pytest.fixture
def line(board):
    with serve(board, raw=True) as served:
        yield served


# negative cases


def test_ctrl_c_ends_the_wait_for_the_buttons(server, line, board):
    with flash(server, line) as command:
        command.expect_prompt(BUTTONS.format(line.url))
        command.interrupt()
        assert command.ends(130) == "warning: interrupted; run the same command to continue\n"
    assert board.flash() == b"\xff" * 0x400000


def test_reset_that_nobody_presses(server, line):
    line.reset(Start.DOWNLOAD)
    with flash(server, line, "--timeout", "1") as command:
        command.expect_prompt(RESET.format(line.url))
        assert "the board is flashed, but was not online within 1 s" in command.ends(1)


@pytest.mark.parametrize("start", [Start.DOWNLOAD, Start.RUN])
def test_deploy_to_a_board_without_micropython(line, start):
    line.reset(start)
    with Command("deploy", "--port", line.url) as command:
        assert f"bench flash --port {line.url}" in command.ends(1)


# what works


@pytest.mark.parametrize("raw", [True, False])
def test_board_is_flashed_with_its_buttons_and_updated_without_them(server, board, raw):
    more = [] if raw else ["--before", "no-reset", "--after", "no-reset"]
    with serve(board, raw=raw) as line:
        with flash(server, line, *more) as command:
            command.expect_prompt(BUTTONS.format(line.url))
            line.reset(Start.DOWNLOAD)
            command.expect_prompt(RESET.format(line.url))
            line.reset()
            (result,) = json.loads(command.ends())
        assert result["name"] == f"firstboot-{board.mac}"
        assert server.device_names() == [result["name"]]

        with flash(server, line, *more) as command:
            assert json.loads(command.ends())[0]["written"] == []
        with Command("deploy", "--port", line.url) as command:
            assert json.loads(command.ends())[0]["name"] == result["name"]
        with Command("monitor", "--port", line.url, "--reset", "--until", "connected", "--timeout", "30") as command:
            last = json.loads(command.ends().splitlines()[-1])
        assert (last["event"], last["name"]) == ("connected", result["name"])


def test_image_is_mended_and_credentials_stay(server, make_board):
    board = make_board(server)
    with board.power_on() as power:
        power.expect_event("connected")
    credentials = vault_slots(board)
    with (board.folder / "flash.bin").open("r+b") as file:
        file.seek(0x10000)
        file.write(bytes(4096))
    with serve(board, raw=True) as line, flash(server, line) as command:
        command.expect_prompt(BUTTONS.format(line.url))
        line.reset(Start.DOWNLOAD)
        command.expect_prompt(RESET.format(line.url))
        line.reset()
        assert "0x10000" in json.loads(command.ends())[0]["written"]
    assert vault_slots(board) == credentials
    assert [each["status"] for each in server.events("exchange")] == ["SUCCESS"]
