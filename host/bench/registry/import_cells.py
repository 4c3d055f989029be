"""Cells of an import's lines as ThingsBoard reads them, and all of a line that can be judged without a database.

The meaning of the columns comes beside the text; an empty cell counts as no column.
"""

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NoReturn

from bench.contract.releases import NEWEST, Release
from bench.errors import Refused
from bench.registry import credentials, names
from bench.registry.credentials import DeviceCredentials, InvalidCredentials, RefusedCredentials

_VALUES = ("SHARED_ATTRIBUTE", "SERVER_ATTRIBUTE", "TIMESERIES")
"""Types of columns whose cells are values; those of others are text."""
FIELD = "FIELD"
"""The type of columns of fields of templates, which is not ThingsBoard's: its key is the field's name."""
_MQTT = ("MQTT_CLIENT_ID", "MQTT_USER_NAME", "MQTT_PASSWORD")
# What devices cannot have here: another protocol's credentials and addresses, and what edges have.
_FOREIGN = ("LWM2M_", "SNMP_", "ROUTING_KEY", "SECRET")
# What Java's NumberUtils takes for a number: with a comma for a point, too, but no octal one with an 8 or a 9.
_NUMBER = re.compile(r"[+-]?(?:(?!0[0-9]*[89])[0-9]+|[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?")
_DECIMALS = 16
_LONG = range(-1 << 63, 1 << 63)


@dataclass(frozen=True)
class ImportColumn:
    """A column: ThingsBoard's name for its type, and the attribute, series or field it is for."""

    type: str
    key: str = ""


@dataclass
class ImportLine:
    """One device. `number` counts from 1, with the header; `error` says why the line is invalid."""

    number: int
    fields: dict[str, str] = field(default_factory=dict, repr=False)
    values: dict[ImportColumn, Any] = field(default_factory=dict, repr=False)
    custom: dict[str, str] = field(default_factory=dict, repr=False)
    """Texts of fields of its profile's template, by their names."""
    error: str = ""


def lines(
    text: str, columns: Sequence[ImportColumn], *, delimiter: str, header: bool, release: Release = NEWEST
) -> Iterator[ImportLine]:
    """Yield the lines of a CSV text that hold something. One that cannot be read is the last, with its error.

    Args:
        text: The CSV.
        columns: The meaning of its columns, in order.
        delimiter: One character.
        header: Whether the first line is a header, which is skipped.
        release: The release of ThingsBoard that reads the cells.
    """
    number = 0
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in filter(None, reader):  # empty lines are not counted, either
            number += 1
            if not (header and number == 1):
                yield line(number, row, columns, release)
    except csv.Error:
        yield ImportLine(number + 1, error="this is not CSV")


def line(number: int, row: Sequence[str], columns: Sequence[ImportColumn], release: Release = NEWEST) -> ImportLine:
    """Return a line of these cells, with the number that it is known by."""
    found = ImportLine(number)
    if len(row) > len(columns):
        found.error = f"there are {len(row)} cells for {len(columns)} columns"
    for column, cell in zip(columns, row, strict=False):
        if not cell:
            continue
        if column.type in _VALUES:
            found.values[column] = value(cell, release)
        elif column.type == FIELD:
            found.custom[column.key] = cell
        else:
            found.fields[column.type] = cell
    return found


def value(cell: str, release: Release = NEWEST) -> Any:
    """Return a cell as what it looks like: a number, a boolean, JSON, or text; `1,5` is 1.5, 1e3 a whole number."""
    text = cell.replace(",", ".")
    if _NUMBER.fullmatch(text):
        exact = Decimal(text)
        decimals = -int(exact.as_tuple().exponent)
        if exact != exact.to_integral_value() or ("." in text and "e" not in text.lower()):
            return float(exact) if decimals <= _DECIMALS and math.isfinite(float(exact)) else cell
        return int(exact) if abs(exact) < 1 << 64 and int(exact) in _LONG else cell
    if cell.lower() in {"true", "false"}:
        return cell.lower() == "true"
    if release.reads_json_cells and (cell.strip()[:1], cell.strip()[-1:]) in {("{", "}"), ("[", "]")}:
        return _json(cell)
    return cell


def _json(cell: str) -> Any:
    try:
        found = json.loads(cell, parse_constant=_no_constant)
        json.dumps(found, ensure_ascii=False).encode()  # half a surrogate pair is not text
    except (ValueError, RecursionError):
        return cell
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def check(line: ImportLine, release: Release = NEWEST) -> DeviceCredentials | None:
    """Check all of a line that can be judged by itself.

    Args:
        line: The line.
        release: The release of ThingsBoard whose rules are kept.

    Returns:
        The credentials that it names; None keeps those of its device, or makes a random token.

    Raises:
        Refused: There can be no such device.
        RefusedCredentials: No device may have these credentials.
    """
    fields = line.fields
    if line.error:
        raise Refused(line.error)
    if not fields.get("NAME", "").strip():  # ThingsBoard changes a device that was made before
        raise Refused("Device name should be specified!")
    names.check(name=fields["NAME"], type=fields.get("TYPE"), label=fields.get("LABEL"))
    names.check(serialNumber=fields.get("SERIAL_NUMBER"))
    names.check(additionalInfo={"description": fields.get("DESCRIPTION")})
    for column in line.values:
        names.check(key=column.key)
    for each in fields:
        if each.startswith(_FOREIGN):
            raise RefusedCredentials(f"Invalid device credentials: {each} is not supported!")
    try:
        own = _credentials(fields)
        if own is not None:
            own.check(release)
    except InvalidCredentials as error:
        raise RefusedCredentials(f"Invalid device credentials: {error}") from None
    return own


def _credentials(fields: dict[str, str]) -> DeviceCredentials | None:
    if "X509" in fields:
        return credentials.x509(fields["X509"])
    if any(each in fields for each in _MQTT):
        return credentials.mqtt_basic(*(fields.get(each) for each in _MQTT))
    if "ACCESS_TOKEN" in fields:
        return credentials.access_token(fields["ACCESS_TOKEN"])
    return None
