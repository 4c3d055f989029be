"""Serial ports: finding the one with a board, opening it, and errors that name the cure.

A port is a device (`/dev/ttyUSB0`) or one of pyserial's URLs, `rfc2217://HOST:PORT` or `socket://HOST:PORT`.
"""

import errno
import os
import pwd
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import serial
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from bench.errors import BenchError, UsageError

BAUD = 115200
"""The speed in baud of boards' ROM, of MicroPython and of the firmware."""
_ESPRESSIF = 0x303A
_MAKERS = {_ESPRESSIF: "Espressif USB", 0x10C4: "CP210x", 0x1A86: "CH340 or CH9102", 0x0403: "FTDI"}
# Espressif's product ids -> the chips that have them: their USB with JTAG, the ROM's, and MicroPython's own.
_OF_CHIPS = {0x1001: ("esp32c3", "esp32c6", "esp32s3"), 0x0002: ("esp32s2",), 0x4001: ("esp32s2", "esp32s3")}
_MAC = re.compile(r"(?:[0-9a-f]{2}[:-]?){5}[0-9a-f]{2}", re.IGNORECASE)
_SCHEMES = ("rfc2217", "socket")
# Not `logging`: that would put all that goes over the line, secrets as well, on the terminal.
_URL_OPTIONS = ("ign_set_control", "poll_modem", "timeout")
_ERRNO = re.compile(r"\[Errno (-?\d+)\]")
_READ_S = 0.1


class PortError(BenchError):
    """A port that cannot be opened, or is gone. The message is `port: reason`; the reason includes the cure."""

    def __init__(self, port: str, reason: str) -> None:
        super().__init__(f"{port}: {reason}")
        self.port = port
        self.reason = reason


def reason(error: BenchError) -> str:
    """Return the text of an error that concerns one port, without the port."""
    return error.reason if isinstance(error, PortError) else str(error)


def choose(given: str | None, *, chip: str = "", there: Sequence[ListPortInfo] | None = None) -> str:
    """Return the port to use: the given one, or else the only one that may have a board.

    Args:
        given: A port's name, or the MAC of a chip whose own USB it is.
        chip: Leave out the USB of other chips, e.g. `esp32s3`; empty for any.
        there: The ports to choose from, for tests; the machine's if None.

    Returns:
        The name of a device, or a URL.

    Raises:
        UsageError: The name has not the form of a port, no port has that MAC, or none or several fit.
    """
    if given and not _MAC.fullmatch(given):
        return checked(given)
    there = list_ports.comports() if there is None else there
    if given:
        return _of_mac(given, there)
    able = [each for each in there if _may_be(each, chip)]
    if len(able) == 1:
        return able[0].device
    if able:
        raise UsageError(f"{len(able)} ports may have the board, give one of them: {_listed(able)}")
    others = f"; the other ports are {_listed(there)}" if there else ""
    raise UsageError(f"no board found: connect one (with a cable that carries data), or give its port{others}")


def fitting(*, chip: str = "", there: Sequence[ListPortInfo] | None = None) -> list[str]:
    """Return the names of all ports that a board may be on.

    Args:
        chip: Leave out the USB of other chips, e.g. `esp32s3`; empty for any.
        there: The ports to choose from, for tests; the machine's if None.
    """
    there = list_ports.comports() if there is None else there
    return [each.device for each in sorted(there) if _may_be(each, chip)]


def _may_be(port: ListPortInfo, chip: str) -> bool:
    """Return whether there may be a board on a port, one with this chip if that is given."""
    own = _OF_CHIPS.get(port.pid or 0) if port.vid == _ESPRESSIF else None
    return port.vid in _MAKERS and not (chip and own and chip not in own)


def _of_mac(mac: str, there: Sequence[ListPortInfo]) -> str:
    """Return the port with this MAC: a chip's own USB has it for a serial number. Raises UsageError."""
    wanted = re.sub(r"[:-]", "", mac).lower()
    for each in there:
        if re.sub(r"[:-]", "", each.serial_number or "").lower() == wanted:
            return each.device
    raise UsageError(
        f"no port has the MAC {mac}, which only chips with built-in USB report: give the port"
        + (f"; there is {_listed(there)}" if there else "")
    )


def is_chips_own(port: str, *, there: Sequence[ListPortInfo] | None = None) -> bool:
    """Return whether a port is the USB of the chip itself, which is gone for a moment when the chip is reset."""
    there = list_ports.comports() if there is None else there
    return any(each.vid == _ESPRESSIF and each.device == os.path.realpath(port) for each in there)


def checked(port: str) -> str:
    """Return a port's name. Raises UsageError if it has not the form of one."""
    if not is_url(port):
        return port
    try:
        parts = urlsplit(port)
        complete = bool(parts.hostname) and bool(parts.port)
    except ValueError:
        complete = False
    if not complete or parts.scheme not in _SCHEMES or parts.username is not None:
        raise UsageError(f"{port} is not a port: write rfc2217://HOST:PORT, socket://HOST:PORT, or a device's name")
    for option, _ in parse_qsl(parts.query, keep_blank_values=True):
        if option not in _URL_OPTIONS:
            raise UsageError(f"{port}: {option} is not one of {', '.join(_URL_OPTIONS)}")
    return port


def is_url(port: str) -> bool:
    """Return whether a port is somewhere else, behind a socket."""
    return "://" in port


def can_reset(port: str) -> bool:
    """Return whether a port may have the lines DTR and RTS, which reset a board. A bare socket has none."""
    return not port.startswith("socket://")


def lacks_control_lines(error: Exception) -> bool:
    """Return whether setting DTR or RTS failed because a port has none: a pseudo-terminal, or a server that refuses."""
    return isinstance(error, ValueError) or (isinstance(error, OSError) and error.errno in (errno.ENOTTY, errno.EINVAL))


def open_port(port: str, *, baud: int = BAUD) -> serial.Serial:
    """Open a port exclusively.

    DTR and RTS are set, as pyserial and every terminal program leave them: on a board that means "run".

    Args:
        port: A device's path, or a URL.
        baud: Speed in baud; a bare socket has none.

    Returns:
        The open port. A read ends after 0.1 s.

    Raises:
        PortError: It cannot be opened.
        UsageError: It is a URL of another form.
    """
    line = serial.serial_for_url(checked(port), baudrate=baud, timeout=_READ_S, exclusive=True, do_not_open=True)
    try:
        line.open()
    except (OSError, ValueError) as error:
        line.close()  # pyserial leaves a socket open whose other end does not speak RFC 2217
        raise port_error(port, str(error)) from None
    return line


def close_port(line: serial.Serial) -> None:
    """Close a port so that its board runs on: RTS, which resets it, goes before DTR."""
    with suppress(OSError):  # no such lines, or the port is gone
        line.rts = False
        line.dtr = False
    connection = getattr(line, "_socket", None)
    with suppress(OSError):
        line.close()
    if connection:  # which pyserial leaves open when the other end is gone
        connection.close()


def port_error(port: str, text: str) -> PortError:
    """Return the error for a port, with its cure.

    Args:
        port: The port.
        text: The text of pyserial's error, or of esptool's, which repeats it.
    """
    found = _ERRNO.findall(text)
    number = int(found[-1]) if found else 0
    return PortError(port, _socket_reason(number, text) if is_url(port) else _device_reason(port, number, text))


def _listed(ports: Sequence[ListPortInfo]) -> str:
    return ", ".join(f"{each.device} ({_description(each)})" for each in sorted(ports))


def _description(port: ListPortInfo) -> str:
    """Return what is plugged in there, by its own USB descriptors."""
    product = port.product if port.product and port.product != "n/a" else port.description
    facts = [_MAKERS.get(port.vid or 0, ""), product if product != "n/a" else ""]
    if port.vid is not None:
        facts.append(f"{port.vid:04x}:{port.pid or 0:04x}")
    if port.serial_number:
        facts.append(f"serial number {port.serial_number}")
    return ", ".join(filter(None, facts)) or "no USB"


def _socket_reason(number: int, text: str) -> str:
    if number == errno.ECONNREFUSED:
        return "nothing listens there: start the program that serves the board, e.g. bench board serve NAME"
    if number < 0:  # getaddrinfo's
        return "there is no host with that name"
    if number in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT) or "timed out" in text:
        return "cannot be reached: check that the host is on, and the firewalls in between"
    if "RFC2217" in text or "RFC 2217" in text:
        return (
            "no answer in RFC 2217: another program may have the port open, end that first; if the server there "
            "forwards only bytes, write socket:// instead of rfc2217://"
        )
    return f"the connection broke ({_short(text)}); is the program that serves the board still running?"


def _device_reason(port: str, number: int, text: str) -> str:
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO) or (not Path(port).exists() and number != errno.EACCES):
        there = _listed(list_ports.comports())
        return "there is no such port: is the board plugged in? " + (f"There is {there}" if there else "None is")
    if number in (errno.EACCES, errno.EPERM):
        return f"no permission: {_permission_cure(port)}"
    if number in (errno.EAGAIN, errno.EBUSY) or "multiple access" in text:
        return f"in use by {_users(port) or 'another program'}: end that program first"
    if number in (errno.ENOTTY, errno.EINVAL, errno.EISDIR) or "configure port" in text:
        return "not a serial port"
    if number == errno.EIO or "returned no data" in text:
        return "vanished: the cable was unplugged, or the board restarted its USB; plug it in and try again"
    return _short(text)


def _permission_cure(port: str) -> str:
    """Return how to join the group that may use a port: dialout, or uucp on some systems."""
    try:
        group = Path(port).group()
    except (OSError, KeyError):
        group = "dialout"
    if group in ("root", "wheel"):
        return f"it belongs to root alone: add a udev rule, or run sudo chmod a+rw {port}"
    return join_group(group)


def join_group(group: str) -> str:
    """Return what this user has to do to become a member of a group."""
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # as in a container with a user id of its own
        return f"run this as a member of the group {group}, in a container by --group-add {group}"
    return f"sudo usermod -aG {group} {user}, then log in again"


def _users(port: str) -> str:
    """Return who has a device open, as far as Linux's /proc shows."""
    device = os.path.realpath(port)
    names = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone, or another user's
            if any(os.path.realpath(each) == device for each in (process / "fd").iterdir()):
                names.append(f"{(process / 'comm').read_text().strip()} (process {process.name})")
    return ", ".join(sorted(names))


def _short(text: str) -> str:
    return " ".join(text.split()) or "no reason given"
