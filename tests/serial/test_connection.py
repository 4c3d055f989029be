"""A connection with a board on a serial port. The ports are real ones of pyserial's; the board's end is the test's."""

import threading
import time

import pytest

from bench.errors import BenchError
from bench.serial import ports
from bench.serial.connection import SerialConnection
from bench.serial.ports import PortError

BOOT = b'{"event": "boot", "ms": 33, "reset": "hard"}\r\n'
ROM = b"\xff\x00ets Jul 29 2019 12:21:46\r\n\r\nrst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n"
PROMPT = b"raw REPL; CTRL-B to exit\r\n>"


def console(text):
    return {"event": "console", "text": text}


def collect(line, count):
    found = []
    for event in line.follow(10):
        found.append(event)
        if len(found) == count:
            break
    return found


def test_open_a_port_that_does_not_come(tmp_path):
    with pytest.raises(PortError, match="there is no such port"):
        SerialConnection(str(tmp_path / "ttyUSB0"), patience_s=0.2)


def test_wait_for_an_event_that_never_comes(serial_device):
    with SerialConnection(str(serial_device.path)) as line:
        serial_device.send(ROM + BOOT)
        with pytest.raises(BenchError, match=r"no event connected within 0 s; the board sent \['boot'\]$"):
            line.expect_event("connected", timeout_s=0.4)


def test_reset_of_a_line_without_rts_without_an_answer(serial_device, monkeypatch):
    monkeypatch.setattr("bench.serial.connection._REPL_S", 0.2)
    with (
        SerialConnection(str(serial_device.path)) as line,
        pytest.raises(BenchError, match="no RTS to reset the board by, and no MicroPython answers: press its"),
    ):
        line.reset()


def test_send_line_on_a_port_that_is_gone(bridge):
    with SerialConnection(bridge.url) as line:
        bridge.accept()
        bridge.close()
        assert collect(line, 1)[0]["event"] == "port_lost"
        with pytest.raises(PortError):
            line.send_line("firstboot status")


def test_a_port_that_appears_later_is_waited_for(serial_device):
    serial_device.pull()
    threading.Timer(0.3, serial_device.plug).start()
    with SerialConnection(str(serial_device.path), patience_s=10) as line:
        serial_device.send(BOOT)
        assert line.expect_event("boot")["ms"] == 33


def test_garbage_and_rom_messages_are_console_lines(serial_device):
    with SerialConnection(str(serial_device.path)) as line:
        serial_device.send(ROM + BOOT)
        found = collect(line, 4)
    assert found[0] == console("\ufffd\x00ets Jul 29 2019 12:21:46")
    assert found[1:3] == [console(""), console("rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)")]
    assert found[3]["event"] == "boot"


def test_events_keeps_the_last_ones_only(serial_device):
    with SerialConnection(str(serial_device.path)) as line:
        for _ in range(50):
            serial_device.send(b"x\n" * 50)
            assert len(collect(line, 50)) == 50
        assert len(line.events) == 1000


def test_wait_for_looks_at_fields(serial_device):
    with SerialConnection(str(serial_device.path)) as line:
        serial_device.send(b'{"event": "state", "state": "offline"}\n{"event": "state", "state": "online"}\nmore')
        assert line.expect_event("state", state="online") == {"event": "state", "state": "online"}


def test_send_line_types_in_pieces_that_a_board_can_read(serial_device):
    with SerialConnection(str(serial_device.path)) as line:
        line.send_line("firstboot set wifi.ssid " + "gr\u00fc\u00df" * 100)
        assert serial_device.read_until(b"\r") == ("firstboot set wifi.ssid " + "gr\u00fc\u00df" * 100 + "\r").encode()


def test_a_cable_that_is_pulled_and_put_back(serial_device):
    with SerialConnection(str(serial_device.path)) as line:
        serial_device.send(BOOT)
        line.expect_event("boot")
        serial_device.pull()
        assert "vanished" in (lost := line.expect_event("port_lost")["detail"]) or "there is no such port" in lost
        serial_device.plug()
        line.expect_event("port_back")
        serial_device.send(BOOT)
        line.expect_event("boot")
        line.send_line("still here")
        assert serial_device.read_until(b"\r") == b"still here\r"


def test_a_socket_that_is_closed_yields_the_last_bytes_and_comes_back(bridge):
    with SerialConnection(bridge.url) as line:
        bridge.accept()
        bridge.send(BOOT + b"last words")
        bridge.hang_up()
        boot, words, lost, back = collect(line, 4)
        assert (boot["event"], words) == ("boot", console("last words"))
        assert lost["event"] == "port_lost"
        assert lost["port"] == bridge.url
        assert back == {"event": "port_back", "port": bridge.url}
        bridge.accept()
        bridge.send(BOOT)
        assert line.expect_event("boot")


@pytest.mark.parametrize("kind", ["bridge", "serial_device"])
def test_reset_of_a_line_without_rts_goes_through_micropython(request, kind):
    board = request.getfixturevalue(kind)
    received = []

    def micropython():
        board.read_until(b"\r\x03\r\x01")
        board.send(b"KeyboardInterrupt\r\n" + PROMPT)
        board.read_until(b"\x05A\x01")
        board.send(b"R")
        board.send(b"\x00")  # no raw paste here
        received.append(board.read_until(b"\x04"))
        board.send(b"OK" + BOOT)

    with SerialConnection(board.url if kind == "bridge" else str(board.path)) as line:
        if kind == "bridge":
            board.accept()
        board.send(b"last words\r\n")
        thread = threading.Thread(target=micropython)
        thread.start()
        line.reset()
        assert line.expect_event("boot")
        thread.join()
    assert received == [b"import machine\nmachine.reset()\x04"]
    assert console("last words") in line.events


class Lines:
    """The lines of a port, whose changes are written down."""

    def __init__(self):
        object.__setattr__(self, "changes", [])
        object.__setattr__(self, "dtr", True)

    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)
        self.changes.append((name, value))


def test_reset_by_rts_is_esptools_sequence(serial_device, monkeypatch):
    lines = Lines()
    sleep, own = time.sleep, threading.get_ident()

    def wait(seconds):
        """Write a wait of this thread down; others, of servers of earlier tests, sleep on."""
        if threading.get_ident() == own:
            lines.changes.append(("wait", seconds))
        else:
            sleep(seconds)

    with SerialConnection(str(serial_device.path)) as line:
        monkeypatch.setattr(line, "_port", lines)
        monkeypatch.setattr("time.sleep", wait)
        line.reset()
        monkeypatch.undo()
    assert lines.changes == [
        ("dtr", False),  # IO0 is high: the chip is to run
        ("rts", True),
        ("dtr", False),
        ("wait", 0.1),
        ("rts", False),
        ("dtr", False),
    ]


def test_line_is_free_after_it_was_closed(serial_device):
    with SerialConnection(str(serial_device.path)):
        pass
    ports.close_port(ports.open_port(str(serial_device.path)))
