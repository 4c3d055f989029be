"""What is to be done with a board, and what was."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.boards import Board
from bench.flash.chip_writer import Region


@dataclass(frozen=True, kw_only=True)
class FlashJob:
    """What one board is to become.

    `files` says, given its MAC, what it holds besides the firmware; None: what it holds already.
    """

    port: str
    firmware: Mapping[str, bytes] = field(repr=False)
    version: str = ""
    """What the firmware has to say that it is; empty: anything."""
    board: Board | None = None
    """None: whatever it is, it stays."""
    parts: list[Region] = field(repr=False, default_factory=list)
    files: Callable[[str], Mapping[str, bytes]] | None = field(repr=False, default=None)
    erase: bool = False
    baud: int = 0
    before: str = ""
    after: str = "hard-reset"
    patience_s: float = 90.0


@dataclass(kw_only=True)
class FlashOutcome:
    """What was done with a board."""

    mac: str = ""
    name: str = ""
    """As the server knows it."""
    micropython: str = ""
    """What the board says that it runs, once it was started."""
    firmware: str = ""
    written: list[str] = field(default_factory=list)
    """Regions (`0x1000`) and files (`/main.py`) in the order of writing."""
    sent: int = 0
    """The bytes of these, compressed where they go over the line compressed."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By phase."""
