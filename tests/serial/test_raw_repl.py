"""The raw REPL of boards that are slow to answer, that boot, or whose program holds on."""

import contextlib
import time

import pytest

from bench.flash import inspection
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


def test_output_amid_a_file_is_an_error(monkeypatch):
    repl = RawRepl(SlowLine(), timeout_s=5)
    monkeypatch.setattr(repl, "run", lambda _: "YWJj\r\nTraceback (most recent call last):\r\n")
    with pytest.raises(ReplError, match=r"printed something else amid /settings\.json"):
        repl.read_file("/settings.json")


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
    board = VirtualBoard.create(tmp_path / "board", blank=True)
    with (
        line_server.serve(board, start=Start.DOWNLOAD) as served,
        SerialConnection(served.url) as line,
    ):
        served.reset(Start.HELD)
        began = time.monotonic()
        with pytest.raises(ReplError, match="does not answer as MicroPython does"):
            RawRepl(line.port, timeout_s=1.5)
        assert 1.4 < time.monotonic() - began < 3


def test_entering_a_blank_chip_fails_at_once(tmp_path):
    board = VirtualBoard.create(tmp_path / "blank", blank=True)
    with line_server.serve(board) as served, SerialConnection(served.url) as line:
        began = time.monotonic()
        with pytest.raises(ReplError, match="its flash has no program"):
            RawRepl(line.port, timeout_s=30)
        assert time.monotonic() - began < 10


# What a board with slow flash takes a tenth of a second for: its own modules are behind these.
SLOW = b"""
import sys, time, os as real_os, hashlib
class Os:
  def __getattr__(self, name):
    return getattr(real_os, name)
  def rename(self, *names):
    time.sleep_ms(100)
    real_os.rename(*names)
  def remove(self, name):
    time.sleep_ms(100)
    real_os.remove(name)
real_sha256 = hashlib.sha256
class Sha256:
  def __init__(self):
    self._sum = real_sha256()
    self.digest = self._sum.digest
  def update(self, data):
    time.sleep_ms(100)
    self._sum.update(data)
class Hashlib:
  sha256 = Sha256
sys.modules["os"], sys.modules["hashlib"] = Os(), Hashlib
"""


@pytest.fixture
def impatient(monkeypatch):
    """Half a second of silence is too long."""
    monkeypatch.setattr("bench.serial.raw_repl._SILENCE_S", 0.5)


@pytest.mark.usefixtures("impatient")
def test_many_files_on_a_slow_board_are_no_silence(tmp_path):
    files = {f"/f{number}": b"x" for number in range(12)}
    with booting(tmp_path / "board", SLOW, 0) as line, RawRepl(line, timeout_s=5) as repl:
        began = time.monotonic()
        repl.write_files(files, [], lambda _: None)
        repl.write_files({}, list(files), lambda _: None)
        assert time.monotonic() - began > 12 * 2 * 0.1
        assert repl.run_json("import json\nprint(json.dumps(os.listdir()))") == ["main.py"]


@pytest.mark.usefixtures("impatient")
def test_hashing_on_a_slow_board_is_no_silence(tmp_path):
    with booting(tmp_path / "board", SLOW, 0) as line, RawRepl(line, timeout_s=5) as repl:
        found = inspection.inspect(repl, [(0x1000, bytes(40_000)), (0x8000, bytes(4000))])
    assert found.files == {"/main.py": inspection.digest(SLOW)}
    assert len(found.parts) == 2


@pytest.mark.usefixtures("impatient")
def test_silence_is_an_error(tmp_path):
    with (
        booting(tmp_path / "board", b"", 0) as line,
        RawRepl(line, timeout_s=5) as repl,
        pytest.raises(ReplError, match="timeout waiting for first EOF"),
    ):
        repl.run("import time\ntime.sleep(1)")
