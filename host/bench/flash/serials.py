"""Serial numbers for the boards of a tray: counted, or of a file, in its order or by the boards' MACs."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from bench.errors import UsageError
from bench.input_files import table
from bench.input_files.table import Table

_COUNTER = re.compile(r"^(.*?)(\d+)$")
_SERIAL, _MAC = "serial", "mac"
_MAC_FORM = re.compile(r"[0-9a-f]{12}")
_SEPARATORS = re.compile(r"[:.-]")


@dataclass(frozen=True)
class Serials:
    """Serial numbers to assign."""

    free: Iterator[str]
    """Those for any board, in their order."""
    of_macs: Mapping[str, str] = field(default_factory=dict)
    """Those for one board each, by its MAC, 12 hex digits."""


def is_file(text: str) -> bool:
    """Return whether these are the serial numbers of a CSV file, not the first number of a count."""
    return Path(text).suffix.lower() == ".csv"


def counted(text: str) -> Serials:
    """Return an endless count from the first number on, e.g. `press-0041`.

    Raises:
        UsageError: It does not end in digits.
    """
    if not (found := _COUNTER.match(text)):
        raise UsageError(f"{text!r} is not a .csv file, and does not end in digits: write e.g. press-0041")
    prefix, digits = found.groups()
    return Serials(f"{prefix}{number:0{len(digits)}d}" for number in count(int(digits)))


def of_table(text: str, name: str) -> Serials:
    """Return the serial numbers of a CSV text with the column `serial`, and `mac` for those of certain boards.

    Args:
        text: The content of a file.
        name: Its name, for messages.

    Raises:
        UsageError: It is not CSV, has no such column, an empty number, a number or a MAC twice, or what is not a MAC.
    """
    found = table.parse(text, name)
    for row in found.rows:
        if problem := found.too_wide(row):
            raise UsageError(f"{name}, row {row.number}: {problem}")
    serial, mac = found.column(_SERIAL), found.column(_MAC)
    if serial is None or not found.rows:
        raise UsageError(f"{name} has no column {_SERIAL}: its first line names the columns")
    numbers = _column(found, serial)
    macs = [
        checked_mac(each, f"{name}, row {row.number}")
        for each, row in zip(_column(found, mac), found.rows, strict=True)
    ]
    for column, values in ((_SERIAL, numbers), (_MAC, macs)):
        for row, value in zip(found.rows, values, strict=True):
            if not value and column == _SERIAL:
                raise UsageError(f"{name}, row {row.number}: there is no {_SERIAL}")
            if value and values.count(value) > 1 and found.rows[values.index(value)] is not row:
                raise UsageError(f"{name}, row {row.number}: {value} is there twice")
    pairs = list(zip(numbers, macs, strict=True))
    return Serials(iter([number for number, mac in pairs if not mac]), {mac: number for number, mac in pairs if mac})


def _column(found: Table, place: int | None) -> list[str]:
    return ["" if place is None else "".join(row.cells[place : place + 1]).strip() for row in found.rows]


def checked_mac(text: str, where: str) -> str:
    """Return a MAC as 12 hex digits, or the empty text. Raises UsageError, which names `where`, for what is not one."""
    digits = _SEPARATORS.sub("", text.lower())
    if digits and not _MAC_FORM.fullmatch(digits):
        raise UsageError(f"{where}: {text} is not a MAC: write e.g. a0:b7:65:00:00:01")
    return digits
