"""A virtual board behind a serial line boots as a chip does: the ROM prints its lines, and typed bytes are lost."""

import contextlib
import time

import pytest

from bench.serial.connection import SerialConnection
from bench.serial.raw_repl import RawRepl
from bench.virtual import line_server, uart
from bench.virtual.auto_reset import Start
from bench.virtual.board import VirtualBoard
from bench.virtual.environment import Conditions

ECHO = {"main.py": b"import sys\nprint('up')\nwhile True:\n  print('heard', repr(sys.stdin.readline()))\n"}
BITTEN = b"import machine\nprint('up')\nif machine.reset_cause() == 1: machine.WDT(timeout=300)\n"
POWER_ON, SOFTWARE = "rst:0x1 (POWERON", "rst:0xc ("


@pytest.fixture
def board(tmp_path):
    return VirtualBoard.create(tmp_path / "board", settings=b"{}", files=ECHO)


@contextlib.contextmanager
def on_a_line(board, conditions=None):
    """Yield the server of a board's line, and a connection with the board, which is still held in reset."""
    with (
        line_server.serve(board, conditions=conditions, start=Start.HELD) as served,
        SerialConnection(served.url) as line,
    ):
        served.reset(Start.HELD)
        yield served, line


def text(line, part, timeout_s=10.0):
    """Return the next line of text with this part."""
    found = next((each for each in line.follow(timeout_s) if part in each.get("text", "")), None)
    assert found, f"no {part!r} in {[each.get('text') for each in line.events]}"
    return found["text"]


@pytest.mark.parametrize("typed", [b"hello\n", b"\x03", b"\x03\x03\r\x01", b"x" * 3000 + b"\n"], ids=repr)
def test_typed_while_booting_is_lost(board, typed):
    with on_a_line(board) as (served, line):
        served.reset(Start.RUN)
        text(line, "rst:")
        line.port.write(typed)
        text(line, "up")
        line.port.write(b"now\n")
        assert text(line, "heard") == r"heard 'now\n'"


def test_typed_before_a_reset_is_lost(board):
    deaf = b"import time, machine\nprint('up')\ntime.sleep(1)\nmachine.reset()\n"
    board.install({"main.py": deaf})
    with on_a_line(board, Conditions(boot_s=0.1)) as (served, line):
        served.reset(Start.RUN)
        text(line, "up")
        line.port.write(b"print('late')\n")
        board.install(ECHO)  # found at the next start
        assert SOFTWARE in text(line, "rst:")
        text(line, "up")
        line.port.write(b"now\n")
        assert text(line, "heard") == r"heard 'now\n'"


def test_boot_takes_as_long_as_a_chips_by_default(board):
    with on_a_line(board) as (served, line):
        served.reset(Start.RUN)
        began_s = served.power.started_s
        text(line, "up")
        assert time.monotonic() - began_s >= uart.BOOT_S >= 0.6


def test_conditions_for_something_else_do_not_make_the_boot_shorter(board):
    with on_a_line(board, Conditions(heap="256k")) as (served, line):
        served.reset(Start.RUN)
        text(line, "rst:")
        served.reset(Start.RUN, Conditions(wifi_failures=1))
        assert POWER_ON in text(line, "rst:")


@pytest.mark.parametrize("reset", ["en", "rts", "machine", "watchdog"])
def test_every_reset_boots(board, reset):
    board.install({"main.py": BITTEN})
    with on_a_line(board, Conditions(boot_s=0.1)) as (served, line):
        served.reset(Start.RUN)
        assert POWER_ON in text(line, "rst:")
        text(line, "up")
        if reset == "en":
            served.reset(Start.RUN)
        elif reset == "rts":
            line.reset()
        elif reset == "machine":
            RawRepl(line.port, timeout_s=5).reset()
        assert (POWER_ON if reset in ("en", "rts") else SOFTWARE) in text(line, "rst:")
        text(line, "up")


def test_soft_reset_loses_nothing(board):
    board.install({"main.py": b"print('up')\n"})
    with on_a_line(board, Conditions(boot_s=0.1)) as (served, line):
        served.reset(Start.RUN)
        text(line, "up")
        text(line, "Type")
        line.port.write(b"\x04print('typed ahead')\r")
        text(line, "soft reboot")
        text(line, "up")
        assert text(line, "typed ahead") == ">>> print('typed ahead')"
        assert not any("rst:" in each.get("text", "") for each in list(line.events)[-5:])


@pytest.mark.parametrize("definition", ["esp32_generic", "esp32_s2", "esp32_s3_8mb", "esp32_c3", "esp32_c6"])
def test_rom_of_each_chip_prints_its_lines(tmp_path, definition):
    board = VirtualBoard.create(tmp_path / "board", board=definition, blank=True)
    board.install({"main.py": b"print('up')\n"})
    with on_a_line(board, Conditions(boot_s=0.01)) as (served, line):
        served.reset(Start.RUN)
        text(line, "up")
        seen = [each["text"] for each in line.events]
    assert any("(SPI_FAST_FLASH_BOOT)" in each for each in seen)
    assert any(each.startswith("entry 0x") for each in seen)


def test_board_without_a_line_boots_at_once(board):
    with board.power_on() as power:
        assert power.expect_event("console")["text"] == "up"
