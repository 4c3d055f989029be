"""A virtual board at its serial line, as the unmodified mpremote finds it."""

import contextlib
import hashlib
import os
import random
import re
import select
import subprocess
import sys
import threading
import tty

import pytest
import serial

from bench.flash import filesystem
from bench.virtual.board import VirtualBoard
from bench.virtual.environment import Conditions
from bench.virtual.line_server import serve
from bench.virtual.power import PowerCycle
from tests.support.servers import PATIENCE_S

RAW = b"raw REPL; CTRL-B to exit\r\n>"
PROMPT = b">>> "
IDLE = b"print('idle')\n"


class Line:
    """A pseudo-terminal that is a board's serial line; `power` is followed all the time."""

    def __init__(self, power: PowerCycle, board: VirtualBoard) -> None:
        self.power = power
        self._master, self._slave = os.openpty()
        os.set_blocking(self._master, False)
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._stop = threading.Event()
        self._received = threading.Condition()
        self.output = b""
        self._console = board.console.open("rb")
        self._threads = [threading.Thread(target=each) for each in (self._follow, self._type)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._stop.set()
        os.write(self._slave, b"\0")  # wakes the one who types
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._console.close()
        os.close(self._master)
        os.close(self._slave)

    def _follow(self) -> None:
        while not self._stop.is_set():
            for _ in self.power.follow(0.005):
                pass
            if more := self._console.read():
                with self._received:
                    self.output += more
                    self._received.notify_all()
                with contextlib.suppress(BlockingIOError):  # nobody listens, and it holds no more
                    os.write(self._master, more)

    def _type(self) -> None:
        while not self._stop.is_set():
            select.select([self._master], [], [])
            self.power.type(os.read(self._master, 4096))

    def wait_for(self, text: bytes, count: int = 1) -> bytes:
        """All that was said, as soon as it has `text` so many times."""
        with self._received:
            found = self._received.wait_for(lambda: self.output.count(text) >= count, PATIENCE_S)
            assert found, f"{text!r} was not said {count} times: {self.output!r}"
            return self.output

    def answer(self, keys: bytes, end: bytes) -> bytes:
        """Type, and return what is said up to `end`."""
        start = len(self.output)
        self.power.type(keys)
        with self._received:
            found = self._received.wait_for(lambda: end in self.output[start:], PATIENCE_S)
            assert found, f"no {end!r} in {self.output[start:]!r}"
            return self.output[start : self.output.index(end, start) + len(end)]

    def mpremote(self, *arguments: str, fails: bool = False) -> str:
        """Run mpremote, which has to fail if `fails`, and return its output."""
        return mpremote(self.port, *arguments, fails=fails)


def mpremote(port: str, *arguments: str, fails: bool = False) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mpremote", "connect", port, *arguments],
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert bool(done.returncode) is fails, f"{done.stdout!r}\n{done.stderr!r}"
    return (done.stdout + done.stderr if fails else done.stdout).decode().replace("\r\n", "\n")


@pytest.fixture
def connect(tmp_path):
    """Switch boards on and have their serial lines."""
    with contextlib.ExitStack() as stack:

        def connect(board, conditions=None):
            line = Line(stack.enter_context(board.power_on(conditions)), board)
            stack.callback(line.close)
            return line

        yield connect


@pytest.fixture
def idle(tmp_path, connect):
    """The line of a board whose program ended."""
    board = VirtualBoard.create(tmp_path / "idle", settings=b"{}", files={"main.py": IDLE})
    line = connect(board)
    line.wait_for(PROMPT)
    return line


def raw(line, source, ending=b"\x04"):
    """A program in raw mode: what it prints, and how it fails. The line is in raw mode before and after."""
    answer = line.answer(source + ending, b"\x04>")
    assert answer.startswith(b"OK")
    out, error, _ = answer.removeprefix(b"OK").split(b"\x04")
    return out, error


def raw_paste(line, source, ending=b"\x04"):
    """The same in raw paste mode, without an eye on the flow control."""
    answer = line.answer(b"\x05A\x01" + source + ending, b"\x04>")
    assert answer.startswith(b"R\x01\x80\x00\x01")
    windows, out, error, _ = answer.removeprefix(b"R\x01\x80\x00\x01").split(b"\x04")
    assert windows == b"\x01" * (len(source) // 128)
    return out, error


@pytest.fixture
def raw_line(idle):
    assert idle.answer(b"\r\x01", RAW).endswith(RAW)
    return idle


# negative cases


@pytest.mark.parametrize("run", [raw, raw_paste])
def test_exception_comes_apart_from_what_was_printed(raw_line, run):
    out, error = run(raw_line, b"print('before')\ndef f():\n  1/0\nf()\n")
    assert out == b"before\n"
    assert error == (
        b"Traceback (most recent call last):\n"
        b'  File "<stdin>", line 4, in <module>\n'
        b'  File "<stdin>", line 3, in f\n'
        b"ZeroDivisionError: divide by zero\n"
    )


@pytest.mark.parametrize("run", [raw, raw_paste])
@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (b"print(", b"SyntaxError"),
        (b"\xff\xfe\x80", b"NameError"),
        (b"  x = 1\n y = 2", b"IndentationError"),
        (b"raise KeyboardInterrupt", b"KeyboardInterrupt"),
        (b"import nowhere", b"ImportError"),
        (b"bytearray(1 << 40)", b"MemoryError"),
        (b"def f(): f()\nf()", b"RuntimeError"),
    ],
)
def test_program_that_fails_is_reported_and_the_next_one_runs(raw_line, run, source, complaint):
    out, error = run(raw_line, source)
    assert (out, complaint in error) == (b"", True)
    assert run(raw_line, b"print(7)") == (b"7\n", b"")


@pytest.mark.parametrize("run", [raw, raw_paste])
def test_program_too_long_for_the_memory_is_a_memory_error(tmp_path, connect, run):
    board = VirtualBoard.create(tmp_path / "small", settings=b"{}", files={"main.py": IDLE})
    line = connect(board, Conditions(heap="400k"))
    line.wait_for(PROMPT)
    line.answer(b"\x01", RAW)
    out, error = run(line, b"#" * 500_000)
    assert (out, b"MemoryError" in error) == (b"", True)
    assert run(line, b"print(7)") == (b"7\n", b"")


@pytest.mark.parametrize("run", [raw, raw_paste])
def test_random_bytes_do_no_harm(raw_line, run):
    dice = random.Random(5)
    special = bytes(range(1, 6))
    for _ in range(20):
        run(raw_line, bytes(byte for byte in dice.randbytes(1000) if byte not in special))
    assert run(raw_line, b"print(7)") == (b"7\n", b"")


@pytest.mark.slow
def test_any_bytes_leave_the_friendly_repl_alive(idle):
    dice = random.Random(7)
    for _ in range(30):
        idle.power.type(bytes(byte for byte in dice.randbytes(300) if byte not in b"\x01\x04"))
        idle.power.type(b"\r\x03")
    assert idle.answer(b"\r\x03print(6*7)\r", b"42\n").endswith(b"42\n")


def test_unknown_form_of_paste_is_declined(raw_line):
    assert raw_line.answer(b"\x05B\x01", b">") == b"R\x00>"
    assert raw(raw_line, b"print(7)") == (b"7\n", b"")


@pytest.mark.parametrize("source", [b"while True: pass", b"import time\ntime.sleep(1000)", b"input()"])
def test_ctrl_c_ends_a_program_in_raw_mode(raw_line, source):
    raw_line.answer(source + b"\x04", b"OK")
    answer = raw_line.answer(b"\x03", b"\x04>")
    assert answer.startswith(b"\x04")
    assert b"KeyboardInterrupt" in answer
    assert raw(raw_line, b"print(7)") == (b"7\n", b"")


def test_ctrl_c_drops_what_was_typed(raw_line):
    assert raw(raw_line, b"print(1)\x03print(2)") == (b"2\n", b"")
    answer = raw_line.answer(b"\x05A\x01print(1)\x03", b"\x04>")
    assert answer.startswith(b"R\x01\x80\x00\x01\x04\x04")
    assert b"KeyboardInterrupt" in answer


def test_many_ctrl_c_do_not_end_the_board(idle):
    idle.power.type(b"\x03" * 50)
    assert idle.answer(b"print(6*7)\r", b"42\n")
    assert idle.power.pid


def test_mpremote_shows_how_a_program_failed(idle):
    output = idle.mpremote("exec", "print(1); nothing", fails=True)
    assert output.startswith("1\nTraceback")
    assert output.endswith("NameError: name 'nothing' isn't defined\n")


def test_mpremote_shows_that_there_is_no_such_file(idle):
    assert "No such file" in idle.mpremote("fs", "cat", "nothing", fails=True)


# what works


def test_raw_paste_opens_a_window_after_each_128_bytes(raw_line):
    raw_line.answer(b"\x05A\x01", b"R\x01\x80\x00\x01")
    raw_line.answer(b"#" * 127, b"")
    assert raw_line.answer(b"#", b"\x01") == b"\x01"
    assert raw_line.answer(b"#" * 256, b"\x01\x01") == b"\x01\x01"
    raw_line.answer(b"\nprint(7)\x04", b"\x047\n\x04\x04>")


def test_friendly_repl_takes_lines_blocks_and_pastes(idle):
    assert b"\n5\n>>> " in idle.answer(b"2+3\r", b"\n>>> ")
    idle.answer(b"def f(x):\r", b"... ")
    idle.answer(b"    return x + 1\r", b"... ")
    idle.answer(b"\r", PROMPT)
    assert b"\n42\n" in idle.answer(b"f(4\x7f41)\r", b"\n>>> ")
    assert b"\n[1,\n" not in idle.answer(b"[1,\r", b"... ")
    assert b"[1, 2]\n" in idle.answer(b"2]\r", b"\n>>> ")
    idle.answer(b"\x05", b"=== ")
    assert b"\n9\n" in idle.answer(b"if True:\r    print(9)\r\x04", b"\n>>> ")


def test_main_and_the_repl_share_their_globals(tmp_path, connect):
    line = connect(VirtualBoard.create(tmp_path / "b", settings=b"{}", files={"main.py": b"answer = 6 * 7\n1/0"}))
    output = line.wait_for(PROMPT)
    assert b'Traceback (most recent call last):\n  File "main.py", line 2, in <module>\nZeroDivisionError' in output
    assert b"; Generic ESP32 module with ESP32\r\n" in output
    assert b"42\n" in line.answer(b"answer\r", b"\n>>> ")


def test_soft_reset_runs_main_again_but_not_from_raw_mode(tmp_path, connect):
    files = {"boot.py": b"import machine\nprint('boot', machine.reset_cause())\n", "main.py": b"print('main')\n"}
    line = connect(VirtualBoard.create(tmp_path / "b", settings=b"{}", files=files))
    assert line.wait_for(PROMPT).startswith(b"boot 1\nmain\n")
    assert line.answer(b"x=1\r\x04", b"help()").endswith(
        b"MPY: soft reboot\r\nboot 5\nmain\n" + banner(line) + b'\r\nType "help()'
    )
    line.wait_for(PROMPT, 3)
    line.answer(b"\x01", RAW)
    assert line.answer(b"\x04", RAW) == b"OK\r\nMPY: soft reboot\r\nboot 5\n" + RAW
    out, error = raw(line, b"print(x)")
    assert (out, b"NameError" in error) == (b"", True)
    assert b"main" not in line.answer(b"\x02", PROMPT)


def banner(line):
    return re.findall(rb"MicroPython [^\r]*", line.output)[0]


def test_mpremote_runs_code(idle):
    assert idle.mpremote("exec", "print('a'); print('b')") == "a\nb\n"
    assert idle.mpremote("eval", "1 << 70") == f"{1 << 70}\n"
    assert idle.mpremote("exec", "x = 5", "eval", "x") == "5\n"
    assert idle.mpremote("exec", "y = 5", "soft-reset", "eval", "'y' in globals()") == "False\n"
    assert idle.mpremote("exec", "z = 5") == ""
    assert idle.mpremote("resume", "eval", "z") == "5\n"


@pytest.mark.slow
def test_mpremote_works_on_the_files(idle, tmp_path):
    content = random.Random(1).randbytes(100_000)
    here, back = tmp_path / "here", tmp_path / "back"
    here.write_bytes(content)
    idle.mpremote("mkdir", ":data")
    idle.mpremote("cp", str(here), ":data/big", "+", "cp", ":data/big", str(back))
    assert back.read_bytes() == content
    assert hashlib.sha256(content).hexdigest() in idle.mpremote("sha256sum", ":data/big")
    assert re.findall(r"(\d+) (\S+)", idle.mpremote("ls", ":data")) == [("100000", "big")]
    assert idle.mpremote("cat", ":main.py") == IDLE.decode()
    assert "firstboot/" in idle.mpremote("fs", "ls")
    idle.mpremote("rm", ":data/big", "+", "rmdir", ":data")
    files = filesystem.read_files(VirtualBoard(tmp_path / "idle").flash())
    assert files["main.py"] == IDLE
    assert not [name for name in files if name.startswith("data")]


def test_reset_from_raw_mode_runs_main_again(idle):
    idle.mpremote("exec", "print('here')")
    idle.mpremote("exec", "--no-follow", "import machine; machine.reset()")
    idle.wait_for(b"idle\n", 2)


@pytest.mark.parametrize("moment", ["state", "link_up", "connected", "telemetry", "retry"])
def test_firmware_is_interrupted_and_comes_online_again(server, make_board, connect, moment):
    board = make_board(server)
    if moment == "retry":  # nobody is there: it waits
        board = make_board(server, port=1, backoff={"base_ms": 60_000, "cap_ms": 60_000})
    line = connect(board)
    line.wait_for(b'{"event": "%s"' % moment.encode())
    assert line.mpremote("eval", "6 * 7").endswith("42\n")
    assert b"KeyboardInterrupt" in line.output
    line.mpremote("exec", "--no-follow", "import machine; machine.reset()")
    line.wait_for(b'"reset": "hard"')
    if moment != "retry":
        line.wait_for(b'"event": "telemetry"', line.output.count(b'"event": "telemetry"') + 1)


@pytest.mark.slow
def test_mpremote_works_over_the_served_line(server, make_board, tmp_path):
    """There the order of bytes and Ctrl-C, resets by RTS, and CR LF differ."""
    content = random.Random(2).randbytes(3000)
    here, back = tmp_path / "here", tmp_path / "back"
    here.write_bytes(content)
    board = make_board(server)
    # mpremote types once, which a board that boots loses
    with serve(board, conditions=Conditions(boot_s=0)) as line:
        for _ in range(5):
            assert mpremote(line.url, "eval", "6 * 7").endswith("42\n")
            mpremote(line.url, "reset")
        mpremote(line.url, "cp", str(here), ":here", "+", "cp", ":here", str(back), "+", "rm", ":here")
        assert "ZeroDivisionError" in mpremote(line.url, "exec", "1/0", fails=True)
        mpremote(line.url, "reset")
        server.wait_for("exchange", status="SUCCESS")
    assert back.read_bytes() == content


@pytest.mark.parametrize("kind", ["mid-boot", "busy"])
def test_ctrl_c_over_the_served_line_never_ends_the_board(tmp_path, kind):
    busy = b"while True:\n    pass\n" if kind == "busy" else IDLE
    board = VirtualBoard.create(tmp_path / "b", settings=b"{}", files={"main.py": busy})
    with serve(board) as line:
        port = serial.serial_for_url(line.url, 115200, timeout=1)
        port.dtr = False  # or it was the loader that the reset starts
        for _ in range(3):
            port.rts = True
            port.rts = False
            port.write(b"\x03\r\x03" * 3)
            for _ in range(int(PATIENCE_S)):
                port.write(b"\x03")
                if port.read_until(PROMPT).endswith(PROMPT):
                    break
            else:
                raise AssertionError("the board is dead")
        port.reset_input_buffer()
        port.write(b"print('\\n')\r")
        assert port.read_until(b"\r\n\r\n>>> ").endswith(b"\r\n\r\n\r\n>>> ")
        port.close()
