"""What a board is, as its definition says it."""

from dataclasses import dataclass

from bench.boards.chips import CHIPS, Chip
from bench.errors import BenchError


@dataclass(frozen=True)
class Partition:
    """One entry of the partition table; offset and size in bytes."""

    label: str
    type: int
    subtype: int
    offset: int
    size: int

    @property
    def end(self) -> int:
        """Where what comes next can begin."""
        return self.offset + self.size


@dataclass(frozen=True)
class Ethernet:
    """How the PHY is wired; pins, -1 for none. `clock` is the pin of the 50 MHz clock, driven by the chip or not."""

    phy: str
    phy_address: int
    mdc: int
    mdio: int
    power: int
    clock: int
    clock_out: bool


@dataclass(frozen=True, kw_only=True)
class Image:
    """The MicroPython that goes onto a board. `sha256` is empty if nobody published it."""

    version: str
    file: str
    url: str
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Board:
    """What a board is made of, as far as the bench needs it. Pins are -1 for none.

    `before` and `after` are how esptool gets the chip into its loader and out of it; `baud` is the
    speed at which it writes.
    """

    name: str
    title: str
    chip: str
    flash_size: int
    flash_mode: str
    psram: str
    image: Image
    image_offset: int
    baud: int
    before: str
    after: str
    partitions: tuple[Partition, ...]
    led: int
    button: int
    ethernet: Ethernet | None

    @property
    def kind(self) -> Chip:
        """What there is to know of its chip."""
        return CHIPS[self.chip]

    def partition(self, label: str) -> Partition:
        """The partition with this label; raises BenchError if the board has none."""
        for partition in self.partitions:
            if partition.label == label:
                return partition
        raise BenchError(f"board {self.name} has no partition {label}: add one to its file in boards/")
