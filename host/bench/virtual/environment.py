"""The environment of a virtual board while it has power: networks, pins, socket, and faults."""

from dataclasses import dataclass

from bench.contract.settings import VIRTUAL_WIFI


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The power fails at the `at`-th write to the flash since power-on: before it, or (`torn`) in its middle."""

    at: int
    torn: bool = False


@dataclass(frozen=True, kw_only=True)
class Wear:
    """Worn flash, whose writes fail with EIO: from the `after`-th since power-on on, and in these blocks.

    Blocks of 4 KiB of the partition `vfs`. Reading goes on.
    """

    after: int | None = None
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AccessPoint:
    """A Wi-Fi network in the air.

    `refuses_with` is the reason code that a wrong password gets: 202, 15 or 204, as access points
    do. A join is through after `takes_ms`.
    """

    ssid: str
    password: str = ""
    hidden: bool = False
    refuses_with: int = 202
    takes_ms: int = 0


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The environment of a power cycle.

    A power cut for good; brown-outs: the power fails so many seconds after it came, and comes back at once, until there
    are no more of them; worn flash; the access points in the air, and a radio whose first joins after power-on fail;
    times when no access point is heard (`away`: from and to, seconds since the first power-on); an Ethernet cable, and
    a DHCP server behind it, for boards that have the socket; pins that are held low, as by a pressed button, when the
    power comes; a bounded heap (e.g. `128k`); what the clock says at power-on, in seconds since 1970 (None: the
    beginning of 2000).

    What is in the air and what sockets reach are two things here: where a radio that is away is to take the server
    with it, the network in front of that has to be a black hole for as long.
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
