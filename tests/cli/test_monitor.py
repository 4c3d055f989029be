"""`bench monitor`: what a board on a serial line says, to people and to scripts."""

import json
import os
import signal
import subprocess
import sys

import pytest

from bench.flash import firmware
from tests.support.serial_lines import Bridge, Served
from tests.support.servers import PATIENCE_S

BOOT = b'{"event": "boot", "ms": 33, "firmware": "0.1.0", "mac": "02", "micropython": "1.25.0", "reset": "hard"}\r\n'


def monitor(*arguments, stdin=subprocess.DEVNULL):
    return subprocess.Popen(
        [sys.executable, "-m", "bench.cli", "monitor", *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )


def watched(board, *arguments):
    """A monitor that is through with opening the port, which drops what was said before."""
    watching = monitor(
        "--port", board.url if isinstance(board, Bridge) else str(board.path), *arguments, stdin=subprocess.PIPE
    )
    if isinstance(board, Bridge):
        board.accept()
    watching.stdin.write("here\n")
    watching.stdin.flush()
    assert board.read_until(b"\r") == b"here\r"
    return watching


def ended(watching, typed=None):
    output, complaint = watching.communicate(typed, PATIENCE_S)
    return watching.returncode, output, complaint


def test_a_port_that_is_not_there(tmp_path):
    code, output, complaint = ended(monitor("--port", str(tmp_path / "ttyUSB0")))
    assert (code, output, complaint.count("\n")) == (1, "", 1)
    assert "there is no such port" in complaint


def test_what_is_no_port():
    assert ended(monitor("--port", "telnet://127.0.0.1:4000"))[0] == 2


def test_an_event_that_does_not_come_in_time(serial_device):
    code, _, complaint = ended(monitor("--port", str(serial_device.path), "--until", "connected", "--timeout", "0.3"))
    assert (code, complaint) == (1, f"error: {serial_device.path}: no event connected within 0.3 s\n")


def test_a_board_that_cannot_be_reset(serial_device):
    code, output, complaint = ended(monitor("--port", str(serial_device.path), "--reset"))
    assert (code, output) == (1, "")
    assert "press its RESET button" in complaint


def test_ctrl_c(bridge):
    watching = watched(bridge)
    bridge.send(BOOT)
    assert "power on" in watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    assert ended(watching) == (130, "", "")


def test_who_reads_it_goes_away(bridge):
    watching = watched(bridge, "--json")
    bridge.send(BOOT)
    assert watching.stdout.readline()
    watching.stdout.close()
    bridge.send(BOOT * 2)
    assert watching.wait(PATIENCE_S) == 1
    assert watching.stderr.read() == ""
    watching.stderr.close()
    watching.stdin.close()


def test_time_that_is_over_without_an_event_to_wait_for(serial_device):
    assert ended(monitor("--port", str(serial_device.path), "--timeout", "0.3")) == (0, "", "")


def test_events_in_words_and_all_else_as_it_is(bridge):
    watching = watched(bridge, "--until", "connected")
    bridge.send(b"rst:0x1 [bold]\xff\r\n" + BOOT)
    bridge.send(b'{"event": "new\\ud800", "\\udfff": "[red]"}\n')
    bridge.send(b'{"event": "connected", "ms": 70, "name": "press-4"}\n')
    code, output, complaint = ended(watching)
    assert (code, complaint) == (0, "")
    first, boot, new, connected = output.splitlines()
    assert first.endswith("rst:0x1 [bold]\ufffd")
    assert "33 ms  board   power on (hard, MAC 02" in boot
    assert r"new\ud800" in new
    assert "[red]" in new
    assert connected.endswith("connected as press-4")


@pytest.mark.parametrize("has_names", [False, True])
def test_tracebacks_have_the_names_of_the_sources(bridge, tmp_path, has_names):
    """Of this bench's firmware, or of the one whose names are given."""
    names, path = firmware.shortened().names, tmp_path / "names.json"
    path.write_text(json.dumps({"firstboot/app.py": {names["_attempt"]: "_of_old", "_never": "_x"}}))
    watching = watched(bridge, "--until", "crash", *(["--names", str(path)] if has_names else []))
    bridge.send(b"Traceback (most recent call last):\r\n")
    bridge.send(b'  File "main.py", line 7, in <module>\r\n')
    bridge.send(b'  File "firstboot.app", line 155, in %s\r\n' % names["_attempt"].encode())
    bridge.send(b"AttributeError: 'App' object has no attribute '%s'\r\n" % names["_attempt"].encode())
    bridge.send(b'{"event": "crash", "ms": 70, "kind": "AttributeError"}\n')
    code, output, complaint = ended(watching)
    assert (code, complaint) == (0, "")
    shown = "_of_old" if has_names else "_attempt"
    _, main, frame, error, _ = output.splitlines()
    assert main.endswith('File "main.py", line 7, in <module>')
    assert frame.endswith(f'File "firstboot/app.py", line 155, in {shown}')
    assert error.endswith(f"AttributeError: 'App' object has no attribute '{shown}'")


def test_file_without_names(serial_device, tmp_path):
    (tmp_path / "names.json").write_text("[]")
    code, output, complaint = ended(monitor("--port", str(serial_device.path), "--names", str(tmp_path / "names.json")))
    assert (code, output, complaint.count("\n")) == (2, "", 1)
    assert "names.json of bench firmware build" in complaint


def test_json_is_one_object_a_line(bridge):
    watching = watched(bridge, "--json", "--until", "boot")
    bridge.send(b"ets\r\n" + BOOT)
    code, output, _ = ended(watching)
    assert code == 0
    assert [json.loads(line) for line in output.splitlines()] == [{"event": "console", "text": "ets"}, json.loads(BOOT)]


def test_a_cable_that_is_pulled_and_put_back(serial_device):
    watching = watched(serial_device, "--until", "boot")
    serial_device.send(b"first\n")
    assert "first" in watching.stdout.readline()
    serial_device.pull()
    assert "port lost" in watching.stdout.readline()
    serial_device.plug()
    assert "port back" in watching.stdout.readline()
    serial_device.send(BOOT)
    code, output, _ = ended(watching)
    assert code == 0
    assert "power on" in output


def test_what_is_typed_goes_to_the_board_and_its_answer_is_shown(server, make_board):
    with Served(make_board(server)) as served:
        code, output, complaint = ended(
            monitor("--port", served.url, stdin=subprocess.PIPE), "firstboot set server.host\n"
        )
    assert (code, complaint) == (0, "")
    assert 'server.host = "127.0.0.1"' in output
