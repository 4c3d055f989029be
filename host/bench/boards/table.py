"""Reading TOML tables with checks of every value."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from bench.errors import BenchError

_Value = TypeVar("_Value", str, int)
_SECTOR = 4096


class Table:
    """A table of a TOML file, whose values are checked as they are read.

    Every method with a key raises BenchError if the value is not of its kind, or not there and without a default.
    The message has the file, the key and the values that are allowed.
    """

    def __init__(self, values: dict[str, Any], path: Path, allowed: Sequence[str], name: str = "") -> None:
        """Check the keys of a table.

        Args:
            values: The parsed table.
            path: The file, for messages.
            allowed: The keys that there may be.
            name: The table's name in the file, for messages; empty for the root.

        Raises:
            BenchError: There is another key.
        """
        self._values = values
        self._path = path
        self._prefix = f"{name}." if name else ""
        if unknown := self.keys - set(allowed):
            raise self.wrong(min(unknown), f"is not one of {', '.join(allowed)}")

    @property
    def keys(self) -> set[str]:
        """The keys that are present."""
        return set(self._values)

    def wrong(self, key: str, what: str) -> BenchError:
        """Return the error for a key; `what` completes the sentence that begins with the key."""
        return BenchError(f"{self._path}: {self._prefix}{key} {what}")

    def section(self, key: str, allowed: Sequence[str]) -> "Table":
        """Return a table inside this one, with the keys it may have; an empty one if it is not there."""
        value = self._values.get(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, f"must be a section, [{key}]")
        return Table(value, self._path, allowed, key)

    def sections(self, key: str, allowed: Sequence[str]) -> list["Table"]:
        """Return the tables of an array, with the keys that each may have."""
        values = self._values.get(key, [])
        if not isinstance(values, list) or not all(isinstance(each, dict) for each in values):
            raise self.wrong(key, f"must be sections, [[{key}]]")
        return [Table(each, self._path, allowed, key) for each in values]

    def text(self, key: str, *, default: str | None = None) -> str:
        """Return a text of one line, which is not empty."""
        if default is not None and key not in self._values:
            return default
        value = self._values.get(key)
        if not isinstance(value, str) or not value or not value.isprintable():
            raise self.wrong(key, "must be text")
        return value

    def choice(self, key: str, allowed: Sequence[_Value], *, default: _Value | None = None) -> _Value:
        """Return one of the allowed values."""
        value = self._values.get(key, default)
        if type(value) is type(allowed[0]) and value in allowed:
            return allowed[allowed.index(value)]
        raise self.wrong(key, f"must be one of {', '.join(map(str, allowed))}")

    def flag(self, key: str, *, default: bool) -> bool:
        """Return a truth value."""
        value = self._values.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "must be true or false")
        return value

    def number(self, key: str, allowed: range) -> int:
        """Return a number in a range."""
        value = self._values.get(key)
        if type(value) is not int or value not in allowed:
            raise self.wrong(key, f"must be a number from {allowed[0]} to {allowed[-1]}")
        return value

    def sectors(self, key: str) -> int:
        """Return a number of bytes in whole sectors, the unit in which flash is erased (4096)."""
        value = self._values.get(key)
        if type(value) is not int or value < 0:
            raise self.wrong(key, "must be a number from 0 up")
        if value % _SECTOR:
            raise self.wrong(key, f"must be a multiple of {_SECTOR}")
        return value

    def pin(self, key: str, allowed: frozenset[int], *, default: int | None = None) -> int:
        """Return a pin's number, one of the allowed ones; `default` stands for none."""
        value = self._values.get(key, default)
        if type(value) is not int or (value != default and value not in allowed):
            raise self.wrong(key, f"must be a pin's number, one of {ranges(allowed)}")
        return value


def ranges(numbers: frozenset[int]) -> str:
    """Return numbers as ranges: `0-2, 5` for {0, 1, 2, 5}."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][-1] + 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return ", ".join("-".join(map(str, each)) for each in found)
