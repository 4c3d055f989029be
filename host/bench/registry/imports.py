"""Devices made ahead of their first boot, many at once: CSV, one device a line.

The meaning of the columns comes beside the text; an empty cell counts as no column.
"""

import csv
import io
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from bench.contract.names import trimmed
from bench.errors import Refused
from bench.registry import credentials, devices, profiles, timeseries
from bench.registry.clock import now_ms
from bench.registry.credentials import DeviceCredentials, InvalidCredentials
from bench.registry.model import SERVER_SCOPE, SHARED_SCOPE, Device

_SCOPES = {"SHARED_ATTRIBUTE": SHARED_SCOPE, "SERVER_ATTRIBUTE": SERVER_SCOPE}
_SERIES = "TIMESERIES"
_MQTT = ("MQTT_CLIENT_ID", "MQTT_USER_NAME", "MQTT_PASSWORD")
# What devices cannot have here: another protocol's credentials and addresses, and what edges have.
_FOREIGN = ("LWM2M_", "SNMP_", "ROUTING_KEY", "SECRET")
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_TEXT_LIMIT = 255


@dataclass(frozen=True)
class ImportColumn:
    """A column: ThingsBoard's name for its type, and the attribute or series it is for."""

    type: str
    key: str = ""


@dataclass
class ImportLine:
    """One device. `number` counts from 1, with the header; `error` says why the line is invalid."""

    number: int
    fields: dict[str, str] = field(default_factory=dict, repr=False)
    values: dict[ImportColumn, Any] = field(default_factory=dict, repr=False)
    error: str = ""


@dataclass(frozen=True)
class ImportedDevice:
    """The result of a line."""

    device_id: uuid.UUID
    name: str
    created: bool
    shared: dict[str, Any]
    """The shared attributes that were set."""
    new_credentials: bool


def lines(text: str, columns: Sequence[ImportColumn], *, delimiter: str, header: bool) -> Iterator[ImportLine]:
    """Yield the lines of a CSV text that hold something. One that cannot be read is the last, with its error.

    Args:
        text: The CSV.
        columns: The meaning of its columns, in order.
        delimiter: One character.
        header: Whether the first line is a header, which is skipped.
    """
    number = 0
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            number += 1
            if row and not (header and number == 1):
                yield _line(number, row, columns)
    except csv.Error:
        yield ImportLine(number + 1, error="this is not CSV")


def _line(number: int, row: Sequence[str], columns: Sequence[ImportColumn]) -> ImportLine:
    line = ImportLine(number)
    if len(row) > len(columns):
        line.error = f"there are {len(row)} cells for {len(columns)} columns"
    for column, cell in zip(columns, row, strict=False):
        if not cell:
            continue
        if column.type in _SCOPES or column.type == _SERIES:
            line.values[column] = _value(cell)
        else:
            line.fields[column.type] = cell
    return line


def _value(cell: str) -> Any:
    """Return a cell as what it looks like: a number, a boolean, or text."""
    if _WHOLE.fullmatch(cell) and -(1 << 63) <= int(cell) < 1 << 63:
        return int(cell)
    if _NUMBER.fullmatch(cell) and abs(float(cell)) != float("inf"):
        return float(cell)
    return cell.lower() == "true" if cell.lower() in {"true", "false"} else cell


def store(session: Session, line: ImportLine, *, update: bool) -> ImportedDevice:
    """Create or change the device of a line.

    Args:
        session: In a transaction that may write.
        line: The line.
        update: Whether a device that exists gets attributes and telemetry, too.

    Raises:
        Refused: The line is invalid, or its device cannot be stored.
    """
    if line.error:
        raise Refused(line.error)
    name = trimmed(line.fields.get("NAME", ""))
    known = session.scalar(select(Device).where(Device.name == name))
    own = _credentials(line.fields)
    kind = line.fields.get("TYPE")
    profile = profiles.find_or_create(session, kind) if kind else profiles.default(session)
    if known is None:
        device = devices.create(session, name, profile, own=own)
    else:
        device = known
        device.profile_id = profile.id
        if own is not None:
            devices.set_credentials(session, device.id, own)
    _describe(device, line.fields)
    session.flush()
    shared = _set_values(session, device, line.values) if known is None or update else {}
    return ImportedDevice(device.id, device.name, known is None, shared, known is not None and own is not None)


def _credentials(fields: dict[str, str]) -> DeviceCredentials | None:
    """Return the credentials of a line; None keeps those of its device, or makes a random token."""
    for each in fields:
        if each.startswith(_FOREIGN):
            raise Refused(f"Invalid device credentials: {each} is not supported!")
    try:
        if "X509" in fields:
            return credentials.x509(fields["X509"])
        if any(each in fields for each in _MQTT):
            return credentials.mqtt_basic(*(fields.get(each) for each in _MQTT))
        if "ACCESS_TOKEN" in fields:
            return credentials.access_token(fields["ACCESS_TOKEN"])
    except InvalidCredentials as error:
        raise Refused(f"Invalid device credentials: {error}") from None
    return None


def _describe(device: Device, fields: dict[str, str]) -> None:
    if "LABEL" in fields:
        if len(fields["LABEL"]) > _TEXT_LIMIT:
            raise Refused(f"Device label must have at most {_TEXT_LIMIT} characters!")
        device.label = fields["LABEL"]
    info = dict(device.additional_info or {})
    if "DESCRIPTION" in fields:
        info["description"] = fields["DESCRIPTION"]
    if "IS_GATEWAY" in fields:
        info["gateway"] = fields["IS_GATEWAY"].lower() == "true"
    device.additional_info = info or None


def _set_values(session: Session, device: Device, values: dict[ImportColumn, Any]) -> dict[str, Any]:
    groups: dict[str, dict[str, Any]] = {}
    for column, value in values.items():
        if len(column.key) > _TEXT_LIMIT:
            raise Refused(f"Key must have at most {_TEXT_LIMIT} characters")
        if column.key:
            groups.setdefault(column.type, {})[column.key] = value
    for kind, scope in _SCOPES.items():
        if kind in groups:
            timeseries.set_attributes(session, device.id, scope, groups[kind])
    if _SERIES in groups:
        now = now_ms()
        entries = [(now, key, value) for key, value in groups[_SERIES].items()]
        timeseries.save_telemetry(session.connection(), [(device.id, entries)])
    return groups.get("SHARED_ATTRIBUTE", {})
