"""Lines of an import, each checked before anything is sent.

ThingsBoard is not asked to find the mistakes in a file: it stores what it can of each line, changes a device that has
nothing to do with a line without a name, and stores text as another value where that looks like a number.
"""

import base64
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from cryptography import x509

from bench.errors import Refused, UsageError
from bench.input_files.table import Row, Table
from bench.registry import credentials, import_cells
from bench.registry.credentials import DeviceCredentials
from bench.registry.import_cells import ImportColumn, ImportLine
from bench.server import json_reader

# ThingsBoard's column types, and one of our own; any other head but FIELD.NAME is the name of a server attribute.
_TYPES = (
    *("NAME", "TYPE", "LABEL", "ACCESS_TOKEN", "X509", "MQTT_CLIENT_ID", "MQTT_USER_NAME", "MQTT_PASSWORD"),
    *("IS_GATEWAY", "DESCRIPTION", "SERIAL_NUMBER"),
)
FIELD = "FIELD."
"""What the name of a column of a template's field begins with."""
_KINDS = (("X509",), ("MQTT_CLIENT_ID", "MQTT_USER_NAME", "MQTT_PASSWORD"), ("ACCESS_TOKEN",))
_ATTRIBUTE = "SERVER_ATTRIBUTE"
# A number as it is shown again: nothing of it is lost.
_PLAIN = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.(?:0|[0-9]*[1-9]))?")


@dataclass
class FileLine:
    """A line of a file, with all that is wrong with it."""

    row: Row
    line: ImportLine
    own: DeviceCredentials | None = field(default=None, repr=False)
    problems: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The device's name."""
        return self.line.fields.get("NAME", "")

    @property
    def kind(self) -> str:
        """The device's profile; empty if the line names none."""
        return self.line.fields.get("TYPE", "")


def columns(head: Row, file: str) -> list[ImportColumn]:
    """Return the columns that a file's first line names.

    Raises:
        UsageError: There is no name of a device, a column has no name, or one is there twice.
    """
    found = [_column(each.strip()) for each in head.cells]
    if ImportColumn("NAME") not in found:
        raise UsageError(f"{file} has no column NAME: its first line must name the columns")
    for column, count in Counter(found).items():
        called = column.key or column.type
        if column == ImportColumn(_ATTRIBUTE):
            raise UsageError(f"{file} has a column without a name: name it, or delete it")
        if count > 1:
            raise UsageError(f"{file} has {count} columns {called}: delete one, or give it another name")
    return found


def _column(head: str) -> ImportColumn:
    kind = head.upper().replace(" ", "_")
    if kind in _TYPES:
        return ImportColumn(kind)
    name = head[len(FIELD) :]
    return ImportColumn(import_cells.FIELD, name) if head.startswith(FIELD) and name else ImportColumn(_ATTRIBUTE, head)


def is_attribute(head: str) -> bool:
    """Return whether a column of this name is for the attribute of this name."""
    return bool(head) and _column(head).key == head


def read(found: Table, meaning: Sequence[ImportColumn]) -> list[FileLine]:
    """Return the lines of a table, with what is wrong with each by itself, and beside the others."""
    lines = [_read(found, row, meaning) for row in found.rows]
    for each, first in _repeated(lines, lambda line: line.name):
        each.problems.append(f"{each.name} is in line {first.row.number} already")
    for each, first in _repeated(lines, lambda line: line.own and (line.own.type, line.own.id)):
        each.problems.append(f"its credentials are in line {first.row.number} already: each device needs its own")
    return lines


def _repeated(lines: Iterable[FileLine], key: Callable[[FileLine], object]) -> Iterator[tuple[FileLine, FileLine]]:
    """Yield each line whose key an earlier one has, with that one. An empty key is not compared."""
    first: dict[object, FileLine] = {}
    for each in lines:
        if found := key(each):
            if found in first:
                yield each, first[found]
            first.setdefault(found, each)


def _read(found: Table, row: Row, meaning: Sequence[ImportColumn]) -> FileLine:
    each = FileLine(row, import_cells.line(row.number, row.cells[: len(meaning)], meaning))
    if problem := found.too_wide(row):
        each.problems.append(problem)
        return each  # its cells are not under their heads
    if row.width < len(meaning):
        each.problems.append(f"there are {row.width} cells for {len(meaning)} columns: write empty ones, too")
        return each
    try:
        each.own = import_cells.check(each.line)
    except Refused as error:
        each.problems.append(str(error))
    each.problems += _contradictions(each.line.fields)
    each.problems += filter(None, (cell_problem(column.key, cell) for column, cell in _attributes(row, meaning)))
    return each


def _attributes(row: Row, meaning: Sequence[ImportColumn]) -> Iterator[tuple[ImportColumn, str]]:
    return ((column, cell) for column, cell in zip(meaning, row.cells, strict=False) if column.type == _ATTRIBUTE)


def _contradictions(fields: dict[str, str]) -> Iterator[str]:
    name = fields.get("NAME", "")
    if name.strip() and name != name.strip():
        yield "NAME begins or ends with a space"
    if sum(any(each in fields for each in kind) for kind in _KINDS) > 1:
        yield "it has credentials of two kinds, and a device has one: leave the others empty"
    if "X509" in fields and not _is_certificate(fields["X509"]):
        yield "X509 is not a certificate: write PEM, or what is between its first and last line"
    if fields.get("IS_GATEWAY", "true").lower() not in ("true", "false"):
        yield "IS_GATEWAY must be true or false: all else would be false"


def _is_certificate(text: str) -> bool:
    try:
        x509.load_der_x509_certificate(base64.b64decode(credentials.trim_certificate(text)))
    except (ValueError, x509.InvalidVersion):
        return False
    return True


def cell_problem(key: str, cell: str) -> str:
    """Return what is wrong with a cell for an attribute; "" if nothing is."""
    return cast_problem(key, cell, json_reader.stored(import_cells.value(cell))) if cell else ""


def cast_problem(key: str, written: str, stored: Any) -> str:
    """Return what is wrong with a text that ThingsBoard stores as another value than what is written; "" if nothing is.

    What cannot be told from a number is stored as one: `007` as 7, in a cell also `1,5` as 1.5. So only numbers that
    are written as they are shown again can be meant.

    Args:
        key: The attribute.
        written: The text.
        stored: What becomes of it.
    """
    if isinstance(stored, bool) or not isinstance(stored, int | float):
        return ""
    if _PLAIN.fullmatch(written) and Decimal(written) == Decimal(str(stored)):
        return ""
    return f"{key}: ThingsBoard stores {written} as {stored}: write that if it is a number, else put a letter before it"
