"""Serial ports: which one has a board, how it is opened, and what to do when it cannot be.

A port is a device (`/dev/ttyUSB0`) or one of pyserial's URLs, `rfc2217://HOST:PORT` or `socket://HOST:PORT`.
"""

import errno
import getpass
import os
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
"""What boards talk at: their ROM, MicroPython, and the firmware."""
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
    """A port cannot be opened, or is gone. The message says the cure."""


def choose(given: str | None, *, chip: str = "", there: Sequence[ListPortInfo] | None = None) -> str:
    """The port that is given, by its name or by the MAC of a chip whose own USB it is, or else the only one that fits.

    A `chip`, e.g. `esp32s3`, leaves out the USB of others. `there` is for tests: the machine's ports if not
    given. Raises UsageError.
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
        raise UsageError(f"{len(able)} boards may be meant, name the port of one: {_listed(able)}")
    others = f"; the other ports are {_listed(there)}" if there else ""
    raise UsageError(f"no board found: plug one in (with a cable that carries data), or name its port{others}")


def fitting(*, chip: str = "", there: Sequence[ListPortInfo] | None = None) -> list[str]:
    """All ports that a board may be on. `chip` and `there` are as for `choose`."""
    there = list_ports.comports() if there is None else there
    return [each.device for each in sorted(there) if _may_be(each, chip)]


def _may_be(port: ListPortInfo, chip: str) -> bool:
    """Whether there may be a board on a port, one with this chip if it matters."""
    own = _OF_CHIPS.get(port.pid or 0) if port.vid == _ESPRESSIF else None
    return port.vid in _MAKERS and not (chip and own and chip not in own)


def _of_mac(mac: str, there: Sequence[ListPortInfo]) -> str:
    """A chip's own USB has its MAC for a serial number."""
    wanted = re.sub(r"[:-]", "", mac).lower()
    for each in there:
        if re.sub(r"[:-]", "", each.serial_number or "").lower() == wanted:
            return each.device
    raise UsageError(
        f"no port says that it is {mac}, which only a chip with USB of its own does: name the port"
        + (f"; there is {_listed(there)}" if there else "")
    )


def is_chips_own(port: str, *, there: Sequence[ListPortInfo] | None = None) -> bool:
    """Whether a port is the USB of the chip itself, which is gone for a moment when the chip is reset."""
    there = list_ports.comports() if there is None else there
    return any(each.vid == _ESPRESSIF and each.device == os.path.realpath(port) for each in there)


def checked(port: str) -> str:
    """A port's name, if it has the form of one. Raises UsageError."""
    if not is_url(port):
        return port
    try:
        parts = urlsplit(port)
        complete = bool(parts.hostname) and bool(parts.port)
    except ValueError:
        complete = False
    if not complete or parts.scheme not in _SCHEMES or parts.username is not None:
        raise UsageError(f"{port} is no port: write rfc2217://HOST:PORT, socket://HOST:PORT, or a device's name")
    for option, _ in parse_qsl(parts.query, keep_blank_values=True):
        if option not in _URL_OPTIONS:
            raise UsageError(f"{port}: {option} is not one of {', '.join(_URL_OPTIONS)}")
    return port


def is_url(port: str) -> bool:
    """Whether a port is somewhere else, behind a socket."""
    return "://" in port


def can_reset(port: str) -> bool:
    """Whether a port may have the lines DTR and RTS, which reset a board. A bare socket has none."""
    return not port.startswith("socket://")


def has_no_lines(error: Exception) -> bool:
    """Whether setting DTR or RTS failed because a port has none: a pseudo-terminal, or a server that says no."""
    return isinstance(error, ValueError) or (isinstance(error, OSError) and error.errno in (errno.ENOTTY, errno.EINVAL))


def open_port(port: str, *, baud: int = BAUD) -> serial.Serial:
    """Open a port for nobody else to have it; a read ends after 0.1 s. Raises PortError, or UsageError for a URL.

    DTR and RTS are set, as pyserial and every terminal program leave them: on a board that means "run".
    """
    line = serial.serial_for_url(checked(port), baudrate=baud, timeout=_READ_S, exclusive=True, do_not_open=True)
    try:
        line.open()
    except (OSError, ValueError) as error:
        line.close()  # pyserial leaves a socket open whose other end does not speak RFC 2217
        raise trouble(port, str(error)) from None
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


def trouble(port: str, said: str) -> PortError:
    """What to do, given what pyserial said (or esptool, which repeats it)."""
    found = _ERRNO.findall(said)
    number = int(found[-1]) if found else 0
    return PortError(_socket_trouble(port, number, said) if is_url(port) else _device_trouble(port, number, said))


def _listed(ports: Sequence[ListPortInfo]) -> str:
    return ", ".join(f"{each.device} ({_what(each)})" for each in sorted(ports))


def _what(port: ListPortInfo) -> str:
    """What is plugged in there, as it says itself."""
    product = port.product if port.product and port.product != "n/a" else port.description
    facts = [_MAKERS.get(port.vid or 0, ""), product if product != "n/a" else ""]
    if port.vid is not None:
        facts.append(f"{port.vid:04x}:{port.pid or 0:04x}")
    if port.serial_number:
        facts.append(f"serial number {port.serial_number}")
    return ", ".join(filter(None, facts)) or "no USB"


def _socket_trouble(port: str, number: int, said: str) -> str:
    if number == errno.ECONNREFUSED:
        return f"nobody listens at {port}: start what serves the board there, e.g. bench board serve NAME"
    if number < 0:  # getaddrinfo's
        return f"{port}: there is no host of that name"
    if number in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT) or "timed out" in said:
        return f"{port} cannot be reached: is the host on, and no firewall between?"
    if "RFC2217" in said or "RFC 2217" in said:
        return f"{port} does not speak RFC 2217: if it passes bytes on as they are, write socket:// for rfc2217://"
    return f"{port}: the connection broke ({_short(said)}); is what serves the board still running?"


def _device_trouble(port: str, number: int, said: str) -> str:
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO) or (not Path(port).exists() and number != errno.EACCES):
        there = _listed(list_ports.comports())
        return f"there is no port {port}: is the board plugged in? " + (f"There is {there}" if there else "None is")
    if number in (errno.EACCES, errno.EPERM):
        return _denied(port)
    if number in (errno.EAGAIN, errno.EBUSY) or "multiple access" in said:
        return f"{port} is in use by {_users(port) or 'another program'}: end that first"
    if number in (errno.ENOTTY, errno.EINVAL, errno.EISDIR) or "configure port" in said:
        return f"{port} is no serial port"
    if number == errno.EIO or "returned no data" in said:
        return f"{port} vanished: cable out, or the board restarted its USB; plug it in and try again"
    return f"{port}: {_short(said)}"


def _denied(port: str) -> str:
    """The group that may use a port: dialout, or uucp on some systems."""
    try:
        group = Path(port).group()
    except (OSError, KeyError):
        group = "dialout"
    if group in ("root", "wheel"):
        return f"no permission for {port}: it is root's alone, which a udev rule (or sudo chmod a+rw {port}) changes"
    return f"no permission for {port}: sudo usermod -aG {group} {getpass.getuser()}, then log in again"


def _users(port: str) -> str:
    """Who has a device open, as far as Linux's /proc tells."""
    device = os.path.realpath(port)
    names = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone, or another user's
            if any(os.path.realpath(each) == device for each in (process / "fd").iterdir()):
                names.append(f"{(process / 'comm').read_text().strip()} (process {process.name})")
    return ", ".join(sorted(names))


def _short(said: str) -> str:
    return " ".join(said.split()) or "no reason given"
