"""The environment of a virtual board while it has power: networks, pins, socket, and faults."""

from dataclasses import dataclass

from bench.contract.settings import VIRTUAL_WIFI

CHIP_HEAP = "esp32"
"""A heap like an ESP32's, to be shared with radio and TLS."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A power cut at the `at`-th write to the flash since power-on: before that write, or (`torn`) in its middle."""

    at: int
    torn: bool = False


@dataclass(frozen=True, kw_only=True)
class Wear:
    """Worn flash, whose writes fail with EIO: from the `after`-th write since power-on on, and in these `blocks`.

    Blocks have 4 KiB and are counted within the partition `vfs`. Reading still works.
    """

    after: int | None = None
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AccessPoint:
    """A Wi-Fi network in the air.

    `refuses_with` is the reason code that a wrong password gets: 202, 15 or 204, as access points send them. A join
    completes after `takes_ms` milliseconds.
    """

    ssid: str
    password: str = ""
    hidden: bool = False
    refuses_with: int = 202
    takes_ms: int = 0


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The environment of a power cycle.

    The networks in the air and those that sockets reach are two things here: if the server is to be unreachable while
    the radio is `away`, the network in front of the server has to be a black hole for as long.

    Attributes:
        cut: A power cut for good; None: there is none.
        brownouts: For each power-on, the seconds after which the power fails, to come back at once; when they are used
            up, it holds.
        wear: Worn flash; None: all of it is good.
        networks: The access points in the air.
        wifi_failures: The number of joins after each power-on that fail first.
        away: Times without any access point: from and to, in seconds since the first power-on.
        cable: True if an Ethernet cable is plugged in, for boards that have the socket.
        dhcp: True if there is a DHCP server behind the cable.
        pressed: Pins that are held low, as by a pressed button, when the power comes.
        heap: The size of MicroPython's heap, e.g. `128k`; `CHIP_HEAP`; empty: its default, far more than a chip's.
        clock_s: The clock's time at power-on, in seconds since 1970; None: the beginning of 2000.
        boot_s: The seconds that ROM and bootloader take after a reset: they print their lines, and what is typed
            meanwhile is lost. None: as long as on a chip if the board is behind a serial line, 0 otherwise. 0: they
            print nothing either.
    """

    cut: Cut | None = None
    brownouts: tuple[float, ...] = ()
    wear: Wear | None = None
    networks: tuple[AccessPoint, ...] = (AccessPoint(ssid=VIRTUAL_WIFI["ssid"], password=VIRTUAL_WIFI["password"]),)
    wifi_failures: int = 0
    away: tuple[tuple[float, float], ...] = ()
    cable: bool = True
    dhcp: bool = True
    pressed: tuple[int, ...] = ()
    heap: str = ""
    clock_s: int | None = None
    boot_s: float | None = None
