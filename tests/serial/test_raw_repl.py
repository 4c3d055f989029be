"""The raw REPL of boards that are slow to answer, that boot, or whose program holds on."""

import contextlib
import time

import pytest

from bench.serial.connection import SerialConnection
from bench.serial.raw_repl import RawRepl, ReplError
from bench.virtual import line_server
from bench.virtual.auto_reset import Start
from bench.virtual.board import VirtualBoard
from bench.virtual.environment import Conditions

ANSWERS = {
    b"\r\x01": b"raw REPL; CTRL-B to exit\r\n>",
    b"\x05A\x01": b"R\x01\x08\x00",  # takes 8 bytes at a time
    b"print(42": b"\x01",
    b"\x04": b"\x0442\r\n\x04\x04>",
}


class SlowLine:
    """A board that gives the right answers, whose bytes come only when they are asked for again."""

    port = "slow"

    def __init__(self) -> None:
        self._coming = b""
        self._late = True

    def write(self, data: bytes) -> None:
        self._coming += ANSWERS.get(data, b"")

    def inWaiting(self) -> int:  # noqa: N802 - pyserial's name
        return len(self._coming)

    def read(self, size: int = 1) -> bytes:
        """Return one byte at most, and every other time none: its time was up."""
        self._late = not self._late
        if self._late:
            return b""
        data = self._coming[: min(size, 1)]
        self._coming = self._coming[len(data) :]
        return data


def test_late_answer_is_the_answer():
    assert RawRepl(SlowLine(), timeout_s=5).run("print(42)") == "42\r\n"


class Line:
    """A port that counts what is typed; the board behind it may boot."""

    def __init__(self, line):
        self._line = line
        self.port = line.name
        self.typed = b""

    def __getattr__(self, name):
        return getattr(self._line.port, name)

    def write(self, data):
        self.typed += data
        return self._line.port.write(data)


@contextlib.contextmanager
def booting(folder, program, boot_s):
    """Yield the line of a board that was reset just now."""
    board = VirtualBoard.create(folder, blank=True)
    board.install({"main.py": program})
    with (
        line_server.serve(board, conditions=Conditions(boot_s=boot_s), start=Start.HELD) as served,
        SerialConnection(served.url) as line,
    ):
        served.reset(Start.RUN)
        yield Line(line)


PROGRAMS = {
    "none": b"",
    "prints": b"import time\nwhile True: print('>>> ' * 9), time.sleep_ms(3)\n",
    "loops": b"while True: pass\n",
    "sleeps": b"import time\nwhile True: time.sleep(1)\n",
    "reads": b"import sys\nwhile True: sys.stdin.readline()\n",
    "holds on": b"""
import time
for n in range(3):
  try: time.sleep(60)
  except KeyboardInterrupt: print(n)
""",
    "tidies up": b"""
import time
try: time.sleep(60)
finally:
  end = time.ticks_add(time.ticks_ms(), 700)
  while time.ticks_diff(end, time.ticks_ms()) > 0:
    try: time.sleep_ms(10)
    except KeyboardInterrupt: pass
""",
}


@pytest.mark.parametrize("boot_s", [0, 0.4, 1.3])
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_entering_while_the_board_boots(tmp_path, program, boot_s):
    with booting(tmp_path / "board", program, boot_s) as line:
        for number in range(3):
            with RawRepl(line, timeout_s=10) as repl:
                assert repl.run(f"print({number})") == f"{number}\r\n"
                assert repl.run("print('>>> ')") == ">>> \r\n"


def test_ctrl_a_is_not_piled_up(tmp_path):
    with booting(tmp_path / "board", b"", 3.2) as line:
        RawRepl(line, timeout_s=10)
        assert line.typed.count(b"\x01") == 2
        assert line.typed.count(b"\x03") > 3


def test_board_in_raw_mode_is_entered_again(tmp_path):
    with booting(tmp_path / "board", b"", 0.2) as line:
        RawRepl(line, timeout_s=10).run("x = 5")
        line.write(b"print(")  # and its bench is gone
        assert RawRepl(line, timeout_s=10).run("print(x)") == "5\r\n"


def test_entering_without_an_answer_takes_the_given_time(tmp_path):
    board = VirtualBoard.create(tmp_path / "blank", blank=True)
    with line_server.serve(board) as served, SerialConnection(served.url) as line:
        began = time.monotonic()
        with pytest.raises(ReplError, match="does not answer as MicroPython does"):
            RawRepl(line.port, timeout_s=1.5)
        assert 1.4 < time.monotonic() - began < 3
