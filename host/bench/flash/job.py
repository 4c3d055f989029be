"""Orders to bring boards up to date, and their outcomes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.boards import BoardDefinition
from bench.flash.filesystem import Region

PATIENCE_S = 90.0
"""Seconds that a board has to get online, once started, unless a job says otherwise."""


@dataclass(frozen=True, kw_only=True)
class FlashJob:
    """An order to bring one board up to date, and online."""

    port: str
    firmware: Mapping[str, bytes] = field(repr=False)
    """The files of the firmware, path -> content."""
    version: str = ""
    """The version that the firmware has to report once it runs; empty for any."""
    board: BoardDefinition | None = None
    """The definition; None if the board's image and layout stay as they are."""
    parts: list[Region] = field(repr=False, default_factory=list)
    """The regions of the MicroPython image."""
    files: Callable[[str], Mapping[str, bytes]] | None = field(repr=False, default=None)
    """From the board's MAC to the other files that it is to hold; None if they stay as they are."""
    own: frozenset[str] = frozenset()
    """Those files of `firmware` that are the user's."""
    firmware_main: bool = False
    """Replace the board's main.py and boot.py with the firmware's, also where they are somebody's own."""
    erase: bool = False
    """Erase the whole flash first, with its credentials."""
    baud: int = 0
    """Speed of writing in baud; 0 for the definition's."""
    before: str = ""
    """esptool's way into the loader; empty for the definition's."""
    after: str = "hard-reset"
    """esptool's way out of the loader, or `no-reset`: the user does it."""
    offline: bool = False
    """There is no network: the board is done once it runs the firmware, and has read its settings."""
    patience_s: float = PATIENCE_S
    """Seconds that a board has to get online, once started."""


@dataclass(kw_only=True)
class FlashOutcome:
    """The work done on a board so far, also if it failed later."""

    mac: str = ""
    """12 hex digits; empty while unknown."""
    name: str = ""
    """The device's name on the server; empty if it did not get online, or is not done."""
    online: bool = False
    """It got online."""
    micropython: str = ""
    """The version that the board reports, once it was started."""
    firmware: str = ""
    """As `micropython`."""
    written: list[str] = field(default_factory=list)
    """Regions (`0x1000`) and files (`/main.py`) in the order of writing."""
    kept: list[str] = field(default_factory=list)
    """Files of the board's own that stay, although the firmware has others of that name."""
    replaced: list[str] = field(default_factory=list)
    """Files of the board's own that were replaced."""
    sent: int = 0
    """The bytes of these, compressed where they are sent compressed."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By phase."""
