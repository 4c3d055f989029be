"""A pseudo-terminal in front of a port behind RFC 2217, on the line of a virtual board."""

import random
import threading
from contextlib import closing

import pytest
import serial

from bench.flash import esptool
from bench.flash.esptool import EsptoolError, EsptoolFailure
from bench.serial.connection import SerialConnection
from bench.serial.ports import PortError
from bench.serial.rfc2217_pty import Relay, can_relay
from bench.virtual.auto_reset import Start
from bench.virtual.board import VirtualBoard
from bench.virtual.line_server import LineServer, serve
from tests.support.servers import PATIENCE_S

FAST = 460800


@pytest.fixture
def board(tmp_path):
    return VirtualBoard.create(tmp_path / "board", blank=True)


def relay_threads():
    return [each for each in threading.enumerate() if each.name.startswith("relay of")]


@pytest.mark.parametrize(
    ("port", "baud"), [("/dev/ttyUSB0", FAST), ("socket://127.0.0.1:4000", FAST), ("rfc2217://127.0.0.1:4000", 123456)]
)
def test_can_relay_neither_other_ports_nor_odd_speeds(port, baud):
    assert not can_relay(port, baud)
    assert can_relay("rfc2217://127.0.0.1:4000", FAST)


def test_relay_of_a_line_that_ends_hangs_up_its_terminal(board):
    with serve(board) as line:
        port = SerialConnection(line.url)
        relay = Relay(port)
        terminal = serial.Serial(relay.device, timeout=PATIENCE_S)
    with port, closing(relay), terminal:
        with pytest.raises(serial.SerialException):
            terminal.read(1 << 20)
        for thread in relay_threads():
            thread.join(PATIENCE_S)
        assert relay_threads() == []


def test_relay_that_has_hung_up_has_no_second_try(board):
    with serve(board) as line:
        port = SerialConnection(line.url)
        relay = Relay(port)
    with port, closing(relay):
        for thread in relay_threads():
            thread.join(PATIENCE_S)
        with pytest.raises(PortError, match=r"the connection broke .* is the program that serves the board still"):
            relay.enter_loader("default-reset")


def test_relay_to_a_board_that_runs_is_no_connection(board):
    with serve(board) as line, SerialConnection(line.url) as port, closing(Relay(port)) as relay:
        with pytest.raises(EsptoolError, match="no chip in download mode answers") as caught:
            esptool.run(line.url, ["--connect-attempts", "1", "read-mac"], through=relay.device)
        assert caught.value.kind is EsptoolFailure.NO_CONNECTION
        assert relay.device not in str(caught.value)


@pytest.mark.parametrize(
    ("how", "states"),
    [
        # between two states, as between two lines of a chip, DTR goes first
        ("default-reset", [(0, 1), (0, 1), (1, 1), (1, 0), (0, 0), (0, 0)]),
        ("usb-reset", [(0, 1), (0, 0), (1, 0), (1, 0), (1, 0), (1, 1), (0, 1), (0, 1), (0, 1), (0, 0)]),
    ],
)
def test_relay_enters_the_loader_by_esptools_sequence(board, controls, how, states):
    with serve(board) as line, SerialConnection(line.url) as port, closing(Relay(port)) as relay:
        opened = len(controls)
        relay.enter_loader(how)
    assert controls[opened : opened + len(states)] == states


def test_relay_sets_a_speed_before_the_bytes_that_it_is_for(board, monkeypatch):
    rates = []
    receive = LineServer.host_baud.fset
    monkeypatch.setattr(
        LineServer,
        "host_baud",
        LineServer.host_baud.setter(lambda line, baud: (rates.append(baud), receive(line, baud))),
    )
    with serve(board) as line, SerialConnection(line.url) as port, closing(Relay(port)) as relay:
        line.reset(Start.DOWNLOAD)
        mac = esptool.run(line.url, ["read-mac"], baud=FAST, through=relay.device)
        assert board.mac in mac.replace(":", "")
    assert set(rates) == {115200, FAST}


def test_relay_to_an_end_that_refuses_a_speed_hangs_up_with_a_cure(board, monkeypatch):
    def refuse(line, baud):
        if baud == FAST:
            raise ValueError(baud)

    monkeypatch.setattr(LineServer, "host_baud", LineServer.host_baud.setter(refuse))
    with serve(board) as line, SerialConnection(line.url) as port, closing(Relay(port)) as relay:
        line.reset(Start.DOWNLOAD)
        with pytest.raises(EsptoolError, match="--baud 115200") as caught:
            esptool.run(line.url, ["read-mac"], baud=FAST, through=relay.device)
    assert caught.value.kind is EsptoolFailure.LOST
    assert relay_threads() == []


def test_relay_passes_more_than_a_terminal_holds(board, tmp_path):
    content = random.Random(1).randbytes(200_000)
    given, got = tmp_path / "given.bin", tmp_path / "got.bin"
    given.write_bytes(content)
    with serve(board) as line, SerialConnection(line.url) as port, closing(Relay(port)) as relay:
        for command in (["write-flash", "0x10000", str(given)], ["read-flash", "0x10000", str(len(content)), str(got)]):
            relay.enter_loader("default-reset")
            esptool.run(line.url, command, baud=FAST, through=relay.device)
    assert got.read_bytes() == content
    assert relay_threads() == []
