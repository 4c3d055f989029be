"""A tray: boards that are flashed side by side, each with its serial number, and what became of them.

Its folder holds `tray.json`, which says which board has which number, and a result a board. A tray that was
interrupted goes on: numbers stay with their boards, and finished boards are known by the name they answer to.
"""

import csv
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from bench import house
from bench.errors import UsageError

_FILE = "tray.json"
_COUNTER = re.compile(r"^(.*?)(\d+)$")
_COLUMN = "serial"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one board. `error` is empty if it is online; `when_ms` counts from 1970."""

    port: str
    mac: str
    name: str
    error: str = ""
    image: str = ""
    image_sha256: str = ""
    written: list[str] = field(default_factory=list)
    sent: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    when_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)


class Tray:
    """The tray in this folder, begun or gone on with. May be used from several threads."""

    def __init__(self, folder: Path, serials: Iterator[str] | None = None) -> None:
        """`serials` are the numbers to give; None if boards are called after their MAC."""
        self.folder = house.private_folder(folder)
        self._lock = threading.Lock()
        self._serials = serials
        try:
            self._given: dict[str, str] = json.loads((folder / _FILE).read_text())
        except FileNotFoundError:
            self._given = {}

    def serial(self, mac: str) -> str:
        """The serial number of the board with this MAC: the one it has, or the next. Raises UsageError at their end."""
        if self._serials is None:
            return ""
        with self._lock:
            if mac not in self._given:
                taken = set(self._given.values())
                number = next((each for each in self._serials if each not in taken), None)
                if number is None:
                    raise UsageError(f"there is no serial number left for the board {mac}: --serials names too few")
                self._given[mac] = number
                house.write_private(self.folder / _FILE, json.dumps(self._given, indent=1).encode())
            return self._given[mac]

    def record(self, result: Result) -> None:
        """Keep what became of a board; what became of the same one before is replaced."""
        with self._lock:
            for earlier in self._files():
                if json.loads(earlier.read_text())["port"] == result.port:
                    earlier.unlink()
            name = result.mac or re.sub(r"\W+", "_", result.port)
            house.write_private(self.folder / f"board-{name}.json", json.dumps(asdict(result), indent=1).encode())

    def results(self) -> list[Result]:
        """What became of each board so far."""
        return [Result(**json.loads(file.read_text())) for file in self._files()]

    def finished(self, port: str) -> Result | None:
        """The board that was brought online on this port, if there is one."""
        return next((each for each in self.results() if each.port == port and not each.error), None)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("board-*.json"))


def serials(text: str) -> Iterator[str]:
    """Serial numbers: those in the column `serial` of a CSV file, or counted up from one, e.g. `press-0041`.

    Raises UsageError for anything else, and for a number that is there twice.
    """
    path = Path(text)
    if path.suffix == ".csv":
        return iter(_of_file(path))
    if not (found := _COUNTER.match(text)):
        raise UsageError(f"{text} is no serial number to count from, nor a .csv file: write e.g. press-0041")
    prefix, digits = found.groups()
    return (f"{prefix}{number:0{len(digits)}d}" for number in count(int(digits)))


def _of_file(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    if not rows or _COLUMN not in rows[0]:
        raise UsageError(f"{path} has no column {_COLUMN}: its first line names the columns")
    numbers = [str(row[_COLUMN] or "").strip() for row in rows]
    for line, number in enumerate(numbers, start=2):
        if not number:
            raise UsageError(f"{path}, line {line}: there is no {_COLUMN}")
        if numbers.index(number) != line - 2:
            raise UsageError(f"{path}, line {line}: {number} is there twice")
    return numbers
