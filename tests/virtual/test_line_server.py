"""The serial line of virtual boards: who connects to it, at which rate, and what comes through."""

import contextlib
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import pytest
import serial

from bench.errors import BenchError
from bench.virtual import line_server
from bench.virtual import wakes as line_server_wakes
from bench.virtual.auto_reset import Start
from bench.virtual.board import VirtualBoard
from bench.virtual.environment import Conditions
from bench.virtual.rom_loader import slip
from bench.virtual.uart_timing import LineFaults
from tests.support.esptool import AT, IMAGE, esptool
from tests.support.servers import PATIENCE_S

MAC = "02005e005301"
SYNC = slip.encode(struct.pack("<BBHI", 0, 8, 36, 0) + b"\x07\x07\x12\x20" + b"\x55" * 32)
SYNCED = slip.encode(struct.pack("<BBHI", 1, 8, 4, 0x20120707) + bytes(4)) * 8
BANNER = b"waiting for download\r\n"
# mpremote types once: a board that boots does not hear it.
BOOTED = Conditions(boot_s=0)
IAC, SB, SE = b"\xff", b"\xfa", b"\xf0"


@pytest.fixture
def board(tmp_path):
    return VirtualBoard.create(tmp_path / "board", settings=b"{}", mac=MAC, files={"main.py": b"print('hello')\n"})


def connect(served):
    parts = urlsplit(served.url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read_until(connection, end):
    got = b""
    while end not in got:
        if not (piece := connection.recv(4096)):
            raise EOFError(got)
        got += piece
    return got


@contextlib.contextmanager
def port(served, **options):
    with serial.serial_for_url(served.url, baudrate=115200, timeout=PATIENCE_S, **options) as opened:
        yield opened


def enter_loader(opened):
    for dtr, rts in [(False, True), (True, True), (True, False), (False, False)]:
        opened.dtr, opened.rts = dtr, rts


def test_a_port_that_is_taken(board):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(BenchError, match=f"port {taken}: "), line_server.serve(board, port=taken):
            pass
    with board.power_on():  # nothing is left on
        pass


def test_a_port_that_is_taken_while_the_board_is_out(board):
    with line_server.serve(board, raw=True) as served:
        served.pull_out()
        own = urlsplit(served.url).port
        with socket.create_server(("127.0.0.1", own)), pytest.raises(BenchError, match=f"port {own}: "):
            served.plug_in()
        assert served.power is None
        assert served.wait_pulled_out(0)
        served.plug_in()  # the port is free again
        with connect(served) as connection:
            served.reset(Start.RUN)
            read_until(connection, b"hello")


def test_a_board_that_is_on(board):
    with board.power_on(), pytest.raises(BenchError, match="is on already"), line_server.serve(board):
        pass


@pytest.mark.parametrize("start", [Start.RUN, Start.DOWNLOAD])
def test_nobody_else_switches_a_served_board_on(board, start):
    with line_server.serve(board, raw=True) as served:
        served.reset(start)
        with pytest.raises(BenchError, match="is on already"):
            board.power_on()


@pytest.mark.slow
@pytest.mark.parametrize(
    "hostile",
    [
        b"\0" * 100_000,
        IAC * 10_001,
        IAC + SE,
        IAC + SB + IAC + SE,
        IAC + SB + b"\x2c" + IAC + SE,
        *(IAC + SB + b"\x2c" + bytes([option]) + IAC + SE for option in range(14)),
        IAC + SB + b"\x2c\x01\0\0" + IAC + SE,
        IAC + SB + b"\x2c\x03\x99" + IAC + SE,
        IAC + SB + b"\x2c\x04\x99" + IAC + SE,
        IAC + SB + b"a" * 1_000_000,
        IAC + b"\xfd\x99",
    ],
)
@pytest.mark.parametrize("rude", [False, True])
def test_hostile_clients_leave_the_line_to_the_next(board, hostile, rude):
    with line_server.serve(board) as served:
        connection = connect(served)
        with contextlib.suppress(OSError):
            connection.sendall(hostile)
        if rude:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        with port(served) as opened:
            enter_loader(opened)
            assert opened.read_until(BANNER).endswith(BANNER)


def test_a_client_that_never_reads_does_not_stop_the_board(board):
    with line_server.serve(board, raw=True) as served:
        served.reset(Start.DOWNLOAD)
        with connect(served) as connection, contextlib.suppress(TimeoutError):
            connection.settimeout(0.5)
            while served.traffic.from_board < 20 << 20:
                connection.sendall(SYNC * 1000)
        with connect(served) as connection:
            connection.sendall(SYNC * 2)  # the first one may end a packet of the other client's
            read_until(connection, SYNCED)
            served.reset(Start.DOWNLOAD)
            read_until(connection, BANNER)


def test_a_second_client_waits_for_the_first_to_go(board):
    with line_server.serve(board, raw=True) as served:
        served.reset(Start.DOWNLOAD)
        with connect(served) as first, connect(served) as second:
            first.sendall(SYNC)
            read_until(first, SYNCED)
            second.sendall(SYNC)
            first.sendall(SYNC)
            read_until(first, SYNCED)
            first.close()
            read_until(second, SYNCED)


def test_a_board_runs_on_when_its_client_is_gone(board):
    with line_server.serve(board) as served:
        pid = served.power.pid
        with port(served):
            pass
        with port(served):
            assert served.power.pid == pid


def test_rates_that_differ_give_garbage(board):
    with line_server.serve(board) as served, port(served) as opened:
        opened.baudrate = 74880
        enter_loader(opened)
        opened.timeout = 1
        assert BANNER not in opened.read(100)
        opened.baudrate = 115200
        enter_loader(opened)
        opened.timeout = PATIENCE_S
        assert opened.read_until(BANNER).endswith(BANNER)


def test_the_loader_takes_the_rate_it_is_spoken_to_first(board):
    with line_server.serve(board) as served, port(served) as opened:
        enter_loader(opened)
        opened.read_until(BANNER)
        opened.baudrate = 230400
        opened.write(SYNC)
        assert opened.read(len(SYNCED)) == SYNCED
        opened.baudrate = 115200
        opened.timeout = 1
        opened.write(SYNC)
        assert opened.read(1) == b""


def test_a_line_without_bytes(board):
    with line_server.serve(board, raw=True, faults=LineFaults(drop=1.0)) as served, connect(served) as connection:
        served.reset(Start.DOWNLOAD)
        connection.sendall(SYNC)
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.recv(1)


@pytest.mark.parametrize("baud", [115200, 921600])
def test_a_paced_line_takes_its_time(board, baud):
    """A client that waits for each answer takes as long as the bytes of both directions, and little more."""
    with line_server.serve(board, pace=True) as served, port(served) as opened:
        enter_loader(opened)
        opened.read_until(BANNER)
        opened.baudrate = baud
        before = served.traffic
        begun = time.monotonic()
        for _ in range(20):
            opened.write(SYNC)
            assert opened.read(len(SYNCED)) == SYNCED
        took = time.monotonic() - begun
    sent = served.traffic.to_board + served.traffic.from_board - before.to_board - before.from_board
    assert sent == 20 * (len(SYNC) + len(SYNCED))
    assert took >= sent * 10 / baud


@pytest.mark.parametrize("wakes", [True, False], ids=["woken", "looked_at"])
def test_a_board_that_runs_prints_to_the_line_and_to_its_log(board, wakes, monkeypatch):
    if not wakes:
        monkeypatch.setattr(line_server_wakes, "_watched", lambda _: None)
    with line_server.serve(board, raw=True) as served, connect(served) as connection:
        served.reset(Start.RUN)
        read_until(connection, b"hello")
    assert b"hello" in board.console.read_bytes()


def test_hard_reset_starts_a_running_board_again(board):
    with line_server.serve(board) as served, port(served) as opened:
        pid = served.power.pid
        opened.dtr = False
        opened.rts = True
        assert served.power is None
        opened.rts = False
        assert opened.read_until(b"hello").endswith(b"hello")
        assert served.power.pid != pid


def test_a_served_board_ends_with_its_context(board):
    with line_server.serve(board) as served:
        pass
    assert not board.is_on()
    assert served.wait_pulled_out(0)
    assert not [each for each in threading.enumerate() if each.name.startswith("line of")]
    with pytest.raises(OSError, match="refused"):
        connect(served)


def mpremote(served, *arguments):
    """Run the unmodified mpremote, and return its output."""
    command = [sys.executable, "-m", "mpremote", "connect", served.url, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"raw": True}, {"pace": True}])
def test_mpremote_runs_code_and_copies_files(board, tmp_path, options):
    source = tmp_path / "big.bin"
    source.write_bytes(random.Random(2).randbytes(10_000))
    with line_server.serve(board, conditions=BOOTED, **options) as served:
        assert mpremote(served, "exec", "print(6 * 7)") == "42\n"
        mpremote(served, "cp", str(source), ":big.bin", "+", "cp", ":big.bin", str(tmp_path / "back.bin"))
        assert (tmp_path / "back.bin").read_bytes() == source.read_bytes()
        assert "10000 big.bin" in mpremote(served, "ls")


def test_mpremote_resets_a_board(board):
    with line_server.serve(board, conditions=BOOTED) as served:
        mpremote(served, "exec", "import machine; x = 5")
        mpremote(served, "reset")
        assert mpremote(served, "exec", "print('x' in globals())") == "False\n"


@pytest.mark.slow
def test_esptool_flashes_a_blank_board_which_mpremote_finds(tmp_path):
    """A stock image alone: its first boot makes the file system."""
    board = VirtualBoard.create(tmp_path / "blank", mac=MAC, blank=True)
    with line_server.serve(board, conditions=BOOTED) as served:
        esptool(served, "--chip", "esp32", "--baud", 921600, "write-flash", AT, IMAGE)
        assert mpremote(served, "exec", "import esp; print(esp.flash_size())") == f"{0x400000}\n"
