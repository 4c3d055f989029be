"""`bench board serve` as a user runs it."""

import contextlib
import json
import signal
import subprocess
import sys

import pytest

from bench.virtual.board import VirtualBoard
from tests.support.commands import PATIENCE_S, bench
from tests.support.esptool import esptool


@pytest.fixture
def board(tmp_path):
    return VirtualBoard.create(tmp_path / "boards" / "board", settings=b"{}", files={"main.py": b"print('hello')\n"})


@contextlib.contextmanager
def serving(tmp_path, *options, code):
    """The line printed when it is ready, and the process, which has to end with this exit code."""
    command = subprocess.Popen(
        [sys.executable, "-m", "bench.cli", "board", "serve", "board", "--data", tmp_path, "--json", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with command:
        try:
            yield json.loads(command.stdout.readline()), command
        finally:
            if code != 1:
                command.send_signal(code - 128 if code > 128 else signal.SIGINT)
            command.wait(PATIENCE_S)
    assert command.returncode == code


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nobody",), 1, "no board nobody: make it with bench board new nobody"),
        (("board", "--chip", "esp8266"), 2, "no chip esp8266; there is: esp32, "),
        (("board", "--drop", "2"), 2, "--drop"),
        (("board", "--heap", "esp8266"), 2, "--heap must be esp32 or a number of KiB"),
        (("board", "--pull-at", "101"), 2, "--pull-at"),
        (("board", "--bad-sector", "-1"), 2, "--bad-sector"),
        (("../board",), 2, "as a folder name"),
    ],
)
def test_mistake_is_one_line_and_an_exit_code(tmp_path, board, arguments, code, message):
    done = bench("board", "serve", *arguments, "--data", str(tmp_path))
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serves_until_it_is_ended(tmp_path, board, number):
    ready_file = tmp_path / "ready.json"
    with serving(tmp_path, "--ready-file", ready_file, code=128 + number) as (ready, _):
        assert ready["url"].startswith("rfc2217://127.0.0.1:")
        assert ready == {"url": ready["url"], "board": "board", "definition": "esp32_generic", "mac": board.mac}
        assert json.loads(ready_file.read_text()) == ready
        assert board.is_on()
    assert not board.is_on()


def test_a_raw_line_in_the_loader_that_is_another_chip_and_is_pulled_out(tmp_path, board):
    image = tmp_path / "image.bin"
    image.write_bytes(bytes(100_000))
    options = ("--raw", "--download", "--chip", "esp32s3", "--pull-at", "1")
    with serving(tmp_path, *options, code=1) as (ready, command):
        assert ready["url"].startswith("socket://127.0.0.1:")
        esptool(ready["url"], "--chip", "esp32s3", "write-flash", "--no-compress", 0, image, fails=True)
        assert command.stderr.read() == "error: board board was unplugged: serve it again to plug it in\n"
    assert board.flash()[:100_000].count(0) == 0x400000 // 100
