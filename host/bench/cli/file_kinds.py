"""Files that commands write for other commands: one that is given to the wrong command names the right one."""

import csv
import json
import re
from enum import Enum
from pathlib import Path
from typing import Any

from bench.errors import UsageError

# So much of a file shows which one it is.
_LOOKED_AT = 1 << 16
_BACKUP_AT, _BACKUP = 257, b"ustar"
_TEMPLATE = re.compile(r'(?m)\A(# )?(topics|naming) = "')
_LABELS = {"name", "mac", "claim_secret", "association_code"}
_RESULTS = {"name", "mac", "port", "result", "micropython"}


class FileKind(Enum):
    """The kind of a file: what it is, and what reads it."""

    DEVICES = "a file of bench device export", "bench device import reads it"
    TABLE = "a table of devices", "bench import reads it"
    BATCH = "a file of bench provision, whose devices are made", "bench flash --batch gives them to boards"
    PROFILE = "a file of bench profile export", "bench profile import reads it"
    TEMPLATE = "a template", "bench profile template --file reads it"
    ROTATION = "a report of bench rotate", "bench rotate --report goes on with it"
    BACKUP = "a file of bench backup", "bench restore reads it"
    LABELS = "the labels of a tray", "they are there to be printed"
    RESULTS = "the results of a tray", "they are there to be read"


def check(file: Path, expected: FileKind) -> None:
    """Raise UsageError for a file that is surely of another kind. Of one that is not there nothing is known."""
    found = _kind(file)
    if found not in (None, expected):
        assert found
        what, reader = found.value
        raise UsageError(f"{file} is {what}: {reader}")


def _kind(file: Path) -> FileKind | None:
    """Return the kind of a file, None if that is not known; nothing else is read, standard input for one."""
    if not file.is_file():
        return None
    with file.open("rb") as stream:
        start = stream.read(_LOOKED_AT)
    if start[_BACKUP_AT:].startswith(_BACKUP):
        return FileKind.BACKUP
    text = start.decode("utf-8-sig", errors="replace").lstrip()
    first, end, _ = text.partition("\n")
    if text.startswith("{"):
        return _kind_of_json(text, first, is_whole=bool(end) or len(start) < _LOOKED_AT)
    if _TEMPLATE.match(text):
        return FileKind.TEMPLATE
    return _kind_of_table(first)


def _kind_of_json(text: str, first: str, *, is_whole: bool) -> FileKind | None:
    keys = _keys(first)
    if {"name", "profile", "attributes"} <= keys or (not is_whole and first.startswith('{"name": ')):
        return FileKind.DEVICES
    if {"id", "name", "status", "when_ms"} <= keys:
        return FileKind.ROTATION
    if {"device_type", "devices"} <= keys or (first.startswith('{"device_type": ') and '"devices": [' in first):
        return FileKind.BATCH
    if "profileData" in keys or (first.strip() == "{" and '"profileData"' in text):
        return FileKind.PROFILE
    return None


def _keys(line: str) -> set[str]:
    try:
        found: Any = json.loads(line)
    except (ValueError, RecursionError):
        return set()
    return set(found) if isinstance(found, dict) else set()


def _kind_of_table(first: str) -> FileKind | None:
    delimiter = max(",;\t|", key=first.count)
    try:
        head = [each.strip().lower() for row in csv.reader([first], delimiter=delimiter) for each in row]
    except csv.Error:
        return None
    cells = set(head)
    if {"device_id", "device_type"} <= cells:  # also a table of devices may have these, as attributes
        return FileKind.BATCH if head[0] == "device_id" and cells & {"mqtt_password", "device_key"} else None
    if cells >= _LABELS:
        return FileKind.LABELS
    if cells >= _RESULTS:
        return FileKind.RESULTS
    return FileKind.TABLE if "name" in cells else None
