"""A table of a TOML file whose keys are asked for by what they have to be."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from bench.errors import BenchError

_Value = TypeVar("_Value", str, int)
_SECTOR = 4096


class Table:
    """Every question raises BenchError with the file, the key and what is allowed, if the answer is none of that."""

    def __init__(self, values: dict[str, Any], path: Path, allowed: Sequence[str], name: str = "") -> None:
        self._values = values
        self._path = path
        self._prefix = f"{name}." if name else ""
        if unknown := self.keys - set(allowed):
            raise self.wrong(min(unknown), f"is not one of {', '.join(allowed)}")

    @property
    def keys(self) -> set[str]:
        """The keys that are there."""
        return set(self._values)

    def wrong(self, key: str, what: str) -> BenchError:
        """The error that says `what` is wrong with a key."""
        return BenchError(f"{self._path}: {self._prefix}{key} {what}")

    def section(self, key: str, allowed: Sequence[str]) -> "Table":
        """A table inside this one; empty if it is not there."""
        value = self._values.get(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, f"has to be a section, [{key}]")
        return Table(value, self._path, allowed, key)

    def sections(self, key: str, allowed: Sequence[str]) -> list["Table"]:
        """The tables of an array."""
        values = self._values.get(key, [])
        if not isinstance(values, list) or not all(isinstance(each, dict) for each in values):
            raise self.wrong(key, f"has to be sections, [[{key}]]")
        return [Table(each, self._path, allowed, key) for each in values]

    def text(self, key: str, *, default: str | None = None) -> str:
        """A text that is not empty, of one line."""
        if default is not None and key not in self._values:
            return default
        value = self._values.get(key)
        if not isinstance(value, str) or not value or not value.isprintable():
            raise self.wrong(key, "has to be a text")
        return value

    def choice(self, key: str, allowed: Sequence[_Value], *, default: _Value | None = None) -> _Value:
        """One of some values."""
        value = self._values.get(key, default)
        if type(value) is type(allowed[0]) and value in allowed:
            return allowed[allowed.index(value)]
        raise self.wrong(key, f"has to be one of {', '.join(map(str, allowed))}")

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self._values.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "has to be true or false")
        return value

    def number(self, key: str, allowed: range) -> int:
        """A number in a range."""
        value = self._values.get(key)
        if type(value) is not int or value not in allowed:
            raise self.wrong(key, f"has to be a number from {allowed[0]} to {allowed[-1]}")
        return value

    def sectors(self, key: str) -> int:
        """A number of bytes that the flash can be erased by."""
        value = self._values.get(key)
        if type(value) is not int or value < 0:
            raise self.wrong(key, "has to be a number from 0 up")
        if value % _SECTOR:
            raise self.wrong(key, f"has to be a multiple of {_SECTOR}")
        return value

    def pin(self, key: str, allowed: frozenset[int], *, default: int | None = None) -> int:
        """A pin's number; `default` stands for none."""
        value = self._values.get(key, default)
        if type(value) is not int or (value != default and value not in allowed):
            raise self.wrong(key, f"has to be a pin's number, one of {ranges(allowed)}")
        return value


def ranges(numbers: frozenset[int]) -> str:
    """{0, 1, 2, 5} -> `0-2, 5`."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][-1] + 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return ", ".join("-".join(map(str, each)) for each in found)
