"""Boards, as their definitions describe them."""

from dataclasses import dataclass

from bench.boards.chips import CHIPS, ChipKind
from bench.errors import BenchError


@dataclass(frozen=True)
class Partition:
    """An entry of the partition table; offset and size in bytes. Type and subtype are ESP-IDF's numbers."""

    label: str
    type: int
    subtype: int
    offset: int
    size: int

    @property
    def end(self) -> int:
        """The offset behind the last byte."""
        return self.offset + self.size


@dataclass(frozen=True)
class Ethernet:
    """The wiring of an Ethernet PHY: pins, -1 for none.

    `clock` is the pin of the 50 MHz clock, which the chip drives if `clock_out`.
    """

    phy: str
    phy_address: int
    mdc: int
    mdio: int
    power: int
    clock: int
    clock_out: bool


@dataclass(frozen=True, kw_only=True)
class Image:
    """The MicroPython image of a board. `sha256` is empty if nobody published it."""

    version: str
    file: str
    url: str
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class BoardDefinition:
    """A kind of board, as far as the bench needs it. Sizes and offsets are in bytes, pins -1 for none.

    `before` and `after` are esptool's ways into the chip's loader and out of it, `baud` is its speed of writing in
    baud, and `image_offset` the beginning of the image in the flash.
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
    def kind(self) -> ChipKind:
        """The kind of its chip."""
        return CHIPS[self.chip]

    def partition(self, label: str) -> Partition:
        """Return the partition with a label. Raises BenchError if the board has none."""
        for partition in self.partitions:
            if partition.label == label:
                return partition
        known = ", ".join(each.label for each in self.partitions)
        raise BenchError(f"board {self.name} has no partition {label}: choose one of {known}")
