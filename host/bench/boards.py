"""Board definitions: `boards/*.toml`, one a board."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import house
from bench.errors import BenchError, UsageError

_TYPES = {"app": 0x00, "data": 0x01}
_SECTOR = 4096


@dataclass(frozen=True)
class Partition:
    """One entry of the partition table; offset and size in bytes."""

    label: str
    type: int
    subtype: int
    offset: int
    size: int


@dataclass(frozen=True)
class Board:
    """What a board is made of, as far as the bench needs it."""

    name: str
    title: str
    chip: str
    flash_size: int
    partitions: tuple[Partition, ...]

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
    )


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
