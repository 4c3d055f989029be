"""Devices as CSV: the lines of `bench import`, which reads back what is written here."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.cli import import_lines
from bench.contract.credentials import CredentialsType
from bench.errors import UsageError
from bench.input_files import decoding, table
from bench.registry.device_states import Access
from bench.registry.import_cells import value
from bench.server import json_reader

_FIELDS = ("NAME", "TYPE", "LABEL", "SERIAL_NUMBER", "IS_GATEWAY", "DESCRIPTION")
_SECRETS = ("ACCESS_TOKEN", "X509", "MQTT_CLIENT_ID", "MQTT_USER_NAME", "MQTT_PASSWORD")
_PARTS = {"MQTT_CLIENT_ID": "clientId", "MQTT_USER_NAME": "userName", "MQTT_PASSWORD": "password"}
# What an import takes for the end of a column's name, or of the first line.
_MARKS = frozenset(";\t|\r\n")


class DeviceTable:
    """A table of devices (see `rest_client.device_files`), with a column for each field and server attribute of any.

    Args:
        names: The fields.
        keys: The attributes.
        with_credentials: Whether there are columns of credentials.
    """

    def __init__(self, names: Iterable[str], keys: Iterable[str], *, with_credentials: bool) -> None:
        custom = (f"{import_lines.FIELD}{each}" for each in sorted(names))
        self._fields = (*_FIELDS, *custom, *(_SECRETS if with_credentials else ()))
        self._keys = sorted(keys)
        self.head = _line([*self._fields, *self._keys])

    def line(self, device: Mapping[str, Any]) -> str:
        """Return the line of a device."""
        known, values = _fields(device), attributes(device)
        return _line(
            [*(known.get(each, "") for each in self._fields), *(_cell(values.get(each)) for each in self._keys)]
        )


def attributes(device: Mapping[str, Any]) -> dict[str, Any]:
    """Return a device's server attributes."""
    found: dict[str, Any] = device["attributes"]["SERVER_SCOPE"]
    return found


def check(device: Mapping[str, Any]) -> None:
    """Raise ValueError for a device of whose line an import would make another one; the message says why."""
    if device["access"] == Access.DEACTIVATED:
        raise ValueError("it is deactivated")
    for key, stored in attributes(device).items():
        _check_attribute(key, stored)
    for name, stored in device["fields"].items():
        if not _cell(stored):
            raise ValueError(f"the field {name} is empty, which would be read as none")
    alone = DeviceTable(device["fields"], attributes(device), with_credentials="credentials" in device)
    text = alone.head + alone.line(device)
    try:
        content = decoding.decode(text.encode(), "").content
    except UsageError:
        raise ValueError("it has control characters") from None
    if content != text:
        raise ValueError("it has carriage returns")
    found = table.parse(text, "", ",")
    (line,) = import_lines.read(found, import_lines.columns(found.head, ""))
    if line.problems:
        raise ValueError(line.problems[0])


def _check_attribute(key: str, stored: Any) -> None:
    if not import_lines.is_attribute(key) or key != key.strip() or _MARKS.intersection(key):
        raise ValueError(f"{key} cannot be the name of a column")
    again = json_reader.stored(value(_cell(stored)))
    if not _cell(stored) or json.dumps(again) != json.dumps(stored):
        raise ValueError(f"{key} would be read as another value")


def _fields(device: Mapping[str, Any]) -> dict[str, str]:
    info = device["additionalInfo"]
    info = info if isinstance(info, dict) else {}
    found = {
        "NAME": device["name"],
        "TYPE": device["profile"],
        "LABEL": device["label"] or "",
        "SERIAL_NUMBER": device["serialNumber"] or "",
        "IS_GATEWAY": "true" if info.get("gateway") is True else "",
        "DESCRIPTION": str(info.get("description") or ""),
        **{f"{import_lines.FIELD}{name}": _cell(stored) for name, stored in device["fields"].items()},
    }
    return {**found, **_secrets(device["credentials"])} if "credentials" in device else found


def _secrets(own: Mapping[str, Any]) -> dict[str, str]:
    match own["credentialsType"]:
        case CredentialsType.ACCESS_TOKEN:
            return {"ACCESS_TOKEN": own["credentialsId"]}
        case CredentialsType.X509_CERTIFICATE:
            return {"X509": own["credentialsValue"]}
        case CredentialsType.MQTT_BASIC:
            parts = json.loads(own["credentialsValue"])
            return {column: parts.get(part) or "" for column, part in _PARTS.items()}
        case kind:
            raise ValueError(f"its credentials are {kind}")


def _cell(stored: Any) -> str:
    """Return the cell of a field or an attribute: text as it is, and all else as JSON; none for None."""
    if stored is None or isinstance(stored, str):
        return stored or ""
    return json.dumps(stored, ensure_ascii=False)


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
