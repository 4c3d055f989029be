"""The inventory of boards, `boards.local.toml`, which both the user and the bench write.

    [[board]]
    name = "press-4"                  # the user's, for --port and --bench-target
    definition = "esp32_generic"      # the user's; the bench fills it in if only one fits
    mac = "02005e005301"              # from here on the bench's, as the board reports
    port = "/dev/ttyUSB0"
    ...

The bench writes the file whole or not at all; comments, order and other keys stay.
"""

import os
import re
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomlkit
from filelock import FileLock
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT

from bench import paths
from bench.boards.table import Table
from bench.errors import BenchError
from bench.flash.probe import ProbedBoard
from bench.serial import ports

_NAME = "boards.local.toml"
_COLONS = re.compile("[:-]")


@dataclass(frozen=True, kw_only=True)
class InventoryEntry:
    """A board of the inventory. Unknown values are empty, or 0; `seen` is in UTC."""

    name: str = ""
    definition: str = ""
    mac: str = ""
    port: str = ""
    chip: str = ""
    flash_mb: int = 0
    micropython: str = ""
    firmware: str = ""
    seen: str = ""


_KEYS = tuple(each.name for each in fields(InventoryEntry))


def path() -> Path:
    """Return the path of the inventory: `BENCH_BOARDS`, or in the working directory."""
    return Path(os.environ.get("BENCH_BOARDS", _NAME))


def read() -> list[InventoryEntry]:
    """Return all boards, an empty list without a file. Raises BenchError if the file is invalid or unreadable."""
    return [_known(each) for each in _tables(_document())]


def find(wanted: str) -> InventoryEntry | None:
    """Return the board of a name, MAC or port.

    Args:
        wanted: A name, a port, or a MAC of 12 hex digits, with colons or hyphens or without.

    Returns:
        The first board that fits, or None.

    Raises:
        BenchError: As `read` does.
    """
    mac = _COLONS.sub("", wanted).lower()
    return next((each for each in read() if wanted in (each.name, each.port) or (mac and mac == each.mac)), None)


def choose(given: str | None, *, chip: str = "") -> str:
    """Return the port of a board.

    Args:
        given: A name or MAC in the inventory, or as for `ports.choose`.
        chip: As for `ports.choose`.

    Returns:
        The name of a device, or a URL.

    Raises:
        UsageError: As `ports.choose` does.
        BenchError: As `read` does.
    """
    known = find(given) if given and path().exists() else None
    return ports.choose(known.port if known and known.port else given, chip=chip)


def record(found: ProbedBoard, definition: str = "") -> InventoryEntry:
    """Record a board's own report, in the entry with its MAC or in a new one.

    Args:
        found: The report.
        definition: The board's definition, unless the entry has one already; empty if unknown.

    Returns:
        The entry as it is stored.

    Raises:
        BenchError: The file is invalid or unreadable.
    """
    file = path().absolute()
    # a tray's boards are recorded side by side, by threads and by other processes: the last to write would lose others
    with FileLock(file.with_name(f".{file.name}.lock")):
        return _merge(found, definition)


def _merge(found: ProbedBoard, definition: str) -> InventoryEntry:
    document = _document()
    _tables(document)  # raises if it is not in its form
    tables = document.setdefault("board", tomlkit.aot())
    if not isinstance(tables, AoT):
        raise BenchError(f"{path()}: board must be sections, [[board]], for the bench to add to them")
    entry = next((each for each in tables if _known(each).mac == found.mac), None)
    if entry is None:
        entry = tomlkit.table()
        tables.append(entry)
    for other in tables:  # a port has one board
        if other is not entry and other.get("port") == found.port:
            other["port"] = ""
    if definition and not entry.get("definition"):
        entry["definition"] = definition
    entry.update({**asdict(found), "seen": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")})
    file = path()
    paths.write_private(file, tomlkit.dumps(document).encode())
    return _known(entry)


def _document() -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(path().read_text())
    except FileNotFoundError:
        return tomlkit.document()
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise BenchError(f"{path()}: {error}") from error
    except OSError as error:
        raise BenchError(f"{path()}: {error.strerror}") from error


def _tables(document: tomlkit.TOMLDocument) -> list[dict[str, Any]]:
    """Return the tables as plain values. Raises BenchError if the file has anything else."""
    plain = document.unwrap()
    root = Table(plain, path(), ["board"])
    root.sections("board", _KEYS)
    found: list[dict[str, Any]] = plain.get("board", [])
    return found


def _known(entry: Any) -> InventoryEntry:
    values = {key: entry[key] for key in _KEYS if key in entry}
    for key, value in values.items():
        if not isinstance(value, int if key == "flash_mb" else str):
            raise BenchError(f"{path()}: board.{key} must be {'a number' if key == 'flash_mb' else 'text'}")
    return InventoryEntry(**values)
