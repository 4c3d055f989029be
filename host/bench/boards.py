"""Board definitions: `boards/*.toml`, one a board."""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bench import house
from bench.errors import BenchError, UsageError

_TYPES = {"app": 0x00, "data": 0x01}
_SECTOR = 4096
_NO_PIN = -1
# What MicroPython's network.LAN drives on the ESP32's own interface.
_PHYS = ("DP83848", "IP101", "KSZ8041", "KSZ8081", "LAN8710", "LAN8720", "RTL8201")
_PINS = range(49)  # of the chip with the most, the ESP32-S3


@dataclass(frozen=True)
class Partition:
    """One entry of the partition table; offset and size in bytes."""

    label: str
    type: int
    subtype: int
    offset: int
    size: int


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


@dataclass(frozen=True)
class Board:
    """What a board is made of, as far as the bench needs it. Pins are -1 for none."""

    name: str
    title: str
    chip: str
    flash_size: int
    partitions: tuple[Partition, ...]
    led: int
    button: int
    ethernet: Ethernet | None

    def partition(self, label: str) -> Partition:
        """The partition with this label; raises BenchError if the board has none."""
        for partition in self.partitions:
            if partition.label == label:
                return partition
        raise BenchError(f"board {self.name} has no partition {label}: add one to its file in boards/")


def names() -> list[str]:
    """The names of all boards that are defined."""
    return sorted(path.stem for path in house.BOARDS.glob("*.toml"))


def load(name: str) -> Board:
    """Read a definition by its name. Raises BenchError naming file, key and what is allowed."""
    path = house.BOARDS / f"{name}.toml"
    if name not in names():
        raise UsageError(f"no board {name}; there is: {', '.join(names())}")
    return parse(path.read_text(), path)


def parse(text: str, path: Path) -> Board:
    """Check a definition's text; `path` is for the messages."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BenchError(f"{path}: {error}") from error
    flash_size = _number(values, "flash_size", path)
    partitions = tuple(_partition(entry, path) for entry in values.get("partition", []))
    _section(values, "pins", path, allowed=("led", "button"))
    end = 0
    for partition in sorted(partitions, key=lambda each: each.offset):
        if partition.offset < end or partition.offset + partition.size > flash_size:
            raise BenchError(f"{path}: partition {partition.label} overlaps another, or ends behind the flash")
        end = partition.offset + partition.size
    return Board(
        name=_text(values, "name", path),
        title=_text(values, "title", path),
        chip=_text(values, "chip", path),
        flash_size=flash_size,
        partitions=partitions,
        led=_pin(values, "pins", "led", path, default=_NO_PIN),
        button=_pin(values, "pins", "button", path, default=_NO_PIN),
        ethernet=_ethernet(values, path),
    )


def _ethernet(values: dict[str, Any], path: Path) -> Ethernet | None:
    """The section `link`: `kind` is "wifi", or "ethernet" with how the PHY is wired."""
    link = _section(values, "link", path, allowed=("kind", *(field.name for field in fields(Ethernet))))
    kind = link.get("kind", "wifi")
    if kind not in ("wifi", "ethernet"):
        raise BenchError(f"{path}: link.kind is not one of wifi, ethernet")
    if kind == "wifi":
        if set(link) - {"kind"}:
            raise BenchError(f"{path}: link.{min(set(link) - {'kind'})} is for an Ethernet board: set link.kind")
        return None
    if link.get("phy") not in _PHYS:
        raise BenchError(f"{path}: link.phy is not one of {', '.join(_PHYS)}")
    address = link.get("phy_address")
    if type(address) is not int or address not in range(32):
        raise BenchError(f"{path}: link.phy_address has to be a number from 0 to 31")
    if not isinstance(link.get("clock_out", False), bool):
        raise BenchError(f"{path}: link.clock_out has to be true or false")
    return Ethernet(
        phy=link["phy"],
        phy_address=address,
        mdc=_pin(values, "link", "mdc", path),
        mdio=_pin(values, "link", "mdio", path),
        power=_pin(values, "link", "power", path, default=_NO_PIN),
        clock=_pin(values, "link", "clock", path, default=_NO_PIN),
        clock_out=link.get("clock_out", False),
    )


def _section(values: dict[str, Any], name: str, path: Path, *, allowed: tuple[str, ...]) -> dict[str, Any]:
    section = values.get(name, {})
    if not isinstance(section, dict):
        raise BenchError(f"{path}: {name} has to be a section")
    if unknown := set(section) - set(allowed):
        raise BenchError(f"{path}: {name}.{min(unknown)} is not one of {', '.join(allowed)}")
    return section


def _pin(values: dict[str, Any], section: str, key: str, path: Path, *, default: int | None = None) -> int:
    value = values.get(section, {}).get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or (value != default and value not in _PINS):
        raise BenchError(f"{path}: {section}.{key} has to be a pin's number, from 0 to {_PINS[-1]}")
    return value


def _partition(values: dict[str, Any], path: Path) -> Partition:
    kind = _text(values, "type", path)
    if kind not in _TYPES:
        raise BenchError(f"{path}: partition type {kind} is not one of {', '.join(_TYPES)}")
    label = _text(values, "label", path)
    if len(label.encode()) > 16:
        raise BenchError(f"{path}: partition label {label} is longer than 16 bytes")
    return Partition(
        label=label,
        type=_TYPES[kind],
        subtype=_number(values, "subtype", path, sector=False),
        offset=_number(values, "offset", path),
        size=_number(values, "size", path),
    )


def _text(values: dict[str, Any], key: str, path: Path) -> str:
    value = values.get(key)
    if not isinstance(value, str) or not value:
        raise BenchError(f"{path}: {key} has to be a text")
    return value


def _number(values: dict[str, Any], key: str, path: Path, *, sector: bool = True) -> int:
    value = values.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BenchError(f"{path}: {key} has to be a number from 0 up")
    if sector and value % _SECTOR:
        raise BenchError(f"{path}: {key} has to be a multiple of {_SECTOR}")
    return value
