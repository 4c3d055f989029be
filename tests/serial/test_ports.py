"""Serial ports: choosing one, opening it, and errors with a cure."""

import os
import pty
import socket
import tty
from pathlib import Path

import pytest
from serial.tools.list_ports_common import ListPortInfo

from bench.errors import UsageError
from bench.serial import ports
from bench.serial.ports import PortError


def port(device, vid=None, pid=None, **facts):
    info = ListPortInfo(device)
    info.vid, info.pid = vid, pid
    for name, value in facts.items():
        setattr(info, name, value)
    return info


SERIAL = port("/dev/ttyS0")
SILABS = port("/dev/ttyUSB0", 0x10C4, 0xEA60, product="CP2102N Bridge", serial_number="0001")
WCH = port("/dev/ttyACM0", 0x1A86, 0x55D4)
NATIVE = port("/dev/ttyACM3", 0x303A, 0x1001, serial_number="7C:DF:A1:00:11:23")
MODEM = port("/dev/ttyACM1", 0x05C6, 0x9091, product="A modem")


@pytest.fixture
def device():
    """A serial line of this machine's own: its end, and the device's name."""
    end, other = pty.openpty()
    tty.setraw(other)
    yield end, os.ttyname(other)
    for each in (end, other):
        os.close(each)


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize(
    "url",
    [
        "foo://127.0.0.1:4000",
        "socket://",
        "socket://127.0.0.1",
        "socket://:4000",
        "socket://127.0.0.1:0",
        "socket://127.0.0.1:70000",
        "socket://127.0.0.1:port",
        "socket://[::1:4000",
        "rfc2217://me:password@127.0.0.1:4000",
        "spy:///dev/ttyUSB0?file=all.txt",
        "loop://",
        "hwgrep://.*",
    ],
)
def test_choose_refuses_another_form(url):
    with pytest.raises(UsageError, match="is not a port: write rfc2217://HOST:PORT, socket://HOST:PORT, or"):
        ports.choose(url)


def test_choose_an_option_that_would_show_all_bytes():
    with pytest.raises(UsageError, match="logging is not one of ign_set_control, poll_modem, timeout"):
        ports.choose("rfc2217://127.0.0.1:4000?logging=debug")


def test_choose_without_any():
    with pytest.raises(UsageError, match=r"^no board found: connect one \(.*\), or give its port$"):
        ports.choose(None, there=[])


def test_choose_with_none_that_fits_lists_the_others():
    with pytest.raises(UsageError) as caught:
        ports.choose("", there=[SERIAL, MODEM])
    assert str(caught.value).endswith("the other ports are /dev/ttyACM1 (A modem, 05c6:9091), /dev/ttyS0 (no USB)")


def test_choose_between_several_lists_them():
    with pytest.raises(UsageError) as caught:
        ports.choose(None, there=[SILABS, SERIAL, WCH])
    assert str(caught.value) == (
        "2 ports may have the board, give one of them: /dev/ttyACM0 (CH340 or CH9102, 1a86:55d4), "
        "/dev/ttyUSB0 (CP210x, CP2102N Bridge, 10c4:ea60, serial number 0001)"
    )


def test_choose_by_a_mac_that_nobody_has_lists_what_there_is():
    with pytest.raises(UsageError) as caught:
        ports.choose("7c:df:a1:00:11:22", there=[SILABS, NATIVE])
    assert str(caught.value).startswith("no port has the MAC 7c:df:a1:00:11:22, which only chips with built-in USB")
    assert "/dev/ttyUSB0" in str(caught.value)


@pytest.mark.parametrize("mac", ["7C:DF:A1:00:11:23", "7cdfa1001123", "7c-df-a1-00-11-23"])
def test_choose_by_the_mac_of_a_chips_own_usb(mac):
    assert ports.choose(mac, there=[SILABS, NATIVE]) == "/dev/ttyACM3"


@pytest.mark.parametrize(
    ("chip", "found"),
    [
        ("esp32", ["/dev/ttyUSB0"]),
        ("esp32s2", ["/dev/ttyUSB0"]),
        ("esp32s3", ["/dev/ttyACM3", "/dev/ttyUSB0"]),
        ("", ["/dev/ttyACM3", "/dev/ttyUSB0"]),
    ],
)
def test_fitting_leaves_out_the_usb_of_other_chips(chip, found):
    assert ports.fitting(chip=chip, there=[SILABS, NATIVE]) == found
    if len(found) == 1:
        assert ports.choose(None, chip=chip, there=[SILABS, NATIVE]) == found[0]


@pytest.mark.parametrize("maker", [0x303A, 0x10C4, 0x1A86, 0x0403])
def test_choose_the_only_one_that_fits(maker):
    assert ports.choose(None, there=[SERIAL, port("/dev/ttyUSB7", maker, 1), MODEM]) == "/dev/ttyUSB7"


@pytest.mark.parametrize(
    "given", ["/dev/ttyS0", "socket://host:1", "rfc2217://[::1]:65535?ign_set_control&timeout=3", "COM3"]
)
def test_choose_the_given_one_whatever_is_there(given):
    assert ports.choose(given, there=[SILABS]) == given


def test_fitting_are_all_that_a_board_may_be_on():
    assert ports.fitting(there=[SILABS, SERIAL, WCH, MODEM]) == ["/dev/ttyACM0", "/dev/ttyUSB0"]


def test_chips_own_usb_is_espressifs():
    there = [SILABS, port("/dev/ttyACM5", 0x303A, 0x1001)]
    assert [ports.is_chips_own(each, there=there) for each in ("/dev/ttyUSB0", "/dev/ttyACM5")] == [False, True]


def test_only_a_bare_socket_never_has_reset_lines():
    assert not ports.can_reset("socket://127.0.0.1:4000")
    assert ports.can_reset("rfc2217://127.0.0.1:4000")
    assert ports.can_reset("/dev/ttyUSB0")


def test_open_a_port_that_is_not_there():
    with pytest.raises(PortError, match=r"^/dev/ttyUSB99: there is no such port: is the board"):
        ports.open_port("/dev/ttyUSB99")


@pytest.mark.parametrize("path", ["/dev/null", "/", __file__])
def test_open_of_another_file_is_refused(path):
    with pytest.raises(PortError, match=f"^{path}: not a serial port$"):
        ports.open_port(path)


def test_open_a_port_that_is_in_use_names_the_program(device):
    _, name = device
    line = ports.open_port(name)
    process = Path("/proc/self/comm")
    who = f"{process.read_text().strip()} (process {os.getpid()})" if process.exists() else "another program"
    with pytest.raises(PortError) as caught:
        ports.open_port(name)
    assert str(caught.value) == f"{name}: in use by {who}: end that program first"
    ports.close_port(line)
    ports.close_port(ports.open_port(name))


@pytest.mark.parametrize("scheme", ["socket", "rfc2217"])
def test_open_a_url_at_which_nobody_listens(scheme):
    url = f"{scheme}://127.0.0.1:{closed_port()}"
    with pytest.raises(PortError, match=f"^{url}: nothing listens there: start the program that serves the board"):
        ports.open_port(url)


def test_open_a_url_of_a_host_that_does_not_exist():
    with pytest.raises(PortError, match="there is no host with that name"):
        ports.open_port("socket://nowhere.invalid:4000")


def test_open_as_rfc2217_what_does_not_speak_it():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(
            PortError,
            match=r"no answer in RFC 2217: another program .* forwards only bytes, write socket://",
        ),
    ):
        ports.open_port(f"rfc2217://127.0.0.1:{server.getsockname()[1]}?timeout=0.2")


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("[Errno 13] could not open port {}: [Errno 13] Permission denied: '{}'", "{}: no permission: "),
        ("[Errno 16] Device or resource busy", "{}: in use by "),
        ("device reports readiness to read but returned no data (device disconnected or multiple access on port?)", ""),
        ("write failed: [Errno 5] Input/output error", "{}: vanished: the cable was unplugged"),
        ("something never seen before\nand more", "{}: something never seen before and more"),
    ],
)
def test_port_error_is_one_line_with_a_cure(device, text, cure):
    _, name = device
    message = str(ports.port_error(name, text.replace("{}", name)))
    assert message.startswith(cure.replace("{}", name))
    assert "\n" not in message


def test_port_error_of_permission_names_the_group(tmp_path):
    path = tmp_path / "ttyUSB0"
    path.touch()
    text = f"[Errno 13] could not open port {path}: [Errno 13] Permission denied"
    message = str(ports.port_error(str(path), text))
    group = path.group()
    assert ("belongs to root alone" in message) if group == "root" else (f"sudo usermod -aG {group} " in message)


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("[Errno 113] No route to host", "cannot be reached"),
        ("Could not open port: timed out", "cannot be reached"),
        ("socket disconnected", "the connection broke (socket disconnected)"),
    ],
)
def test_port_error_of_a_socket(text, cure):
    assert cure in str(ports.port_error("socket://127.0.0.1:1", text))


def test_open_a_device_that_has_no_reset_lines(device):
    end, name = device
    line = ports.open_port(name)
    line.write(b"out")
    assert os.read(end, 10) == b"out"
    os.write(end, b"in")
    assert line.read(2) == b"in"
    ports.close_port(line)
    assert not line.is_open


def test_open_and_close_a_socket():
    with socket.create_server(("127.0.0.1", 0)) as server:
        line = ports.open_port(f"socket://127.0.0.1:{server.getsockname()[1]}")
        board, _ = server.accept()
        with board:
            line.write(b"out")
            assert board.recv(10) == b"out"
            ports.close_port(line)
            assert board.recv(10) == b""
