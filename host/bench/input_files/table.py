"""CSV as spreadsheets write it: with commas, semicolons or tabs, a line `sep=;`, and empty rows."""

import csv
import io
import re
from dataclasses import dataclass, field

from bench.errors import UsageError

_DELIMITERS = ",;\t|"
# Excel's own: it names the character between the columns.
_SEP = re.compile(r'"?sep=(.)"?[,;\t|]*', re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """A row that is not empty. `number` counts all rows of the file from 1; `width` all its cells, also empty ones."""

    number: int
    cells: list[str] = field(repr=False)
    width: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Table:
    """A table: its head, its rows, and the character between cells. Empty cells at the end of a row are left out."""

    head: Row
    rows: list[Row]
    delimiter: str

    def too_wide(self, row: Row) -> str:
        """Return what is wrong with a row that has more cells than the head; "" for another one."""
        if len(row.cells) <= len(self.head.cells):
            return ""
        return (
            f"there are {len(row.cells)} cells for {len(self.head.cells)} columns between {self.delimiter!r}: "
            "put a cell that contains it in double quotes"
        )

    def column(self, name: str) -> int | None:
        """Return the place of the column with this name, whatever its case; None if there is none."""
        names = [each.strip().lower() for each in self.head.cells]
        return names.index(name.lower()) if name.lower() in names else None


def parse(text: str, name: str, delimiter: str = "") -> Table:
    """Return the table in a CSV text, without empty rows.

    Args:
        text: The text.
        name: The file's name, for messages.
        delimiter: The character between the cells; empty: what a line `sep=` names, else what the head shows.

    Raises:
        UsageError: It is not CSV, or empty.
    """
    first, _, rest = text.partition("\n")
    before = 0
    if sep := _SEP.fullmatch(first.strip(" \r")):
        text, before = rest, 1
        delimiter = delimiter or sep[1]
    delimiter = delimiter or _delimiter(text)
    try:
        read = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise UsageError(f"{name} is not CSV ({error}): export it as CSV again") from None
    rows = [Row(number, cells) for number, cells in enumerate(read, before + 1) if any(map(_content, cells))]
    if not rows:
        raise UsageError(f"{name} is empty: its first line must name the columns")
    head, *rows = (Row(each.number, _without_empty_end(each.cells), len(each.cells)) for each in rows)
    return Table(head, rows, delimiter)


def _delimiter(text: str) -> str:
    """Return the character that most columns of the first row that is not empty are between; a comma if none is."""
    head = next(filter(_content, text.split("\n")), "")
    return max(_DELIMITERS, key=lambda each: len(next(csv.reader([head], delimiter=each), [])))


def _content(text: str) -> str:
    return text.strip(f" {_DELIMITERS}")


def _without_empty_end(cells: list[str]) -> list[str]:
    count = max((number for number, cell in enumerate(cells, 1) if _content(cell)), default=0)
    return cells[:count]
