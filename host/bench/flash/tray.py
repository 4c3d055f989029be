"""Trays: boards that are flashed side by side, with serial numbers and results.

The folder of a tray holds `tray.json`, with the number and claim secret of each board, and a result a board. A tray
that was interrupted goes on: both stay with their boards, and finished boards are recognized by their name.
"""

import csv
import json
import re
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import count, islice, tee
from pathlib import Path
from typing import Any

from bench import paths
from bench.errors import UsageError
from bench.flash.labels import Label

_FILE = "tray.json"
_COUNTER = re.compile(r"^(.*?)(\d+)$")
_COLUMN = "serial"
_SECRET = 8  # bytes; short enough to be typed, and a wrong one ends the offer


@dataclass(frozen=True, kw_only=True)
class TrayResult:
    """The result for one board.

    `error` is empty if it is online, and does not name the port; `when_ms` is Unix time in milliseconds.
    """

    port: str
    mac: str
    name: str
    error: str = ""
    image: str = ""
    image_sha256: str = ""
    micropython: str = ""
    firmware: str = ""
    written: list[str] = field(default_factory=list)
    sent: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    when_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)


class Tray:
    """The tray in a folder, new or continued. May be used from several threads."""

    def __init__(self, folder: Path, serials: Iterator[str] | None = None, *, boards: int = 1) -> None:
        """Begin the tray, or continue the one that is in the folder.

        Args:
            folder: The folder; it is made private.
            serials: Serial numbers to assign; None if boards have none.
            boards: The number of boards.

        Raises:
            UsageError: There are fewer serial numbers than boards.
        """
        self.folder = paths.private_folder(folder)
        self._lock = threading.Lock()
        try:
            kept: dict[str, dict[str, str]] = json.loads((folder / _FILE).read_text())
        except FileNotFoundError:
            kept = {}
        self._given = kept.get("serials", {})
        self._secrets = kept.get("claim_secrets", {})
        taken = set(self._given.values())
        self._free: Iterator[str] | None = None
        if serials is not None:
            self._free, ahead = tee(each for each in serials if each not in taken)
            if (enough := len(taken) + sum(1 for _ in islice(ahead, boards))) < boards:
                raise UsageError(f"there are {boards} boards and {enough} serial numbers: --serials names too few")

    def serial(self, mac: str) -> str:
        """Return the serial number of a board: the one it has, or the next; empty without serial numbers.

        Args:
            mac: The board's MAC, 12 hex digits.

        Raises:
            UsageError: There is no number left.
        """
        if self._free is None:
            return ""
        with self._lock:
            if mac not in self._given:
                number = next(self._free, None)
                if number is None:
                    raise UsageError(f"there is no serial number left for the board {mac}: --serials names too few")
                self._given[mac] = number
                self._keep()
            return self._given[mac]

    def claim_secret(self, mac: str) -> str:
        """Return the claim secret of the board with this MAC (12 hex digits): 16 hex digits, the same each time."""
        with self._lock:
            if mac not in self._secrets:
                self._secrets[mac] = secrets.token_hex(_SECRET)
                self._keep()
            return self._secrets[mac]

    def record(self, result: TrayResult) -> None:
        """Store the result for a board, in place of an earlier one.

        A board whose MAC is unknown is filed under its port, until the MAC of the board there is known.
        """
        port = re.sub(r"\W+", "_", result.port)
        with self._lock:
            (self.folder / f"board-{port}.json").unlink(missing_ok=True)
            file = self.folder / f"board-{result.mac or port}.json"
            paths.write_private(file, json.dumps(asdict(result), indent=1).encode())

    def results(self) -> list[TrayResult]:
        """Return the results so far, one a board."""
        return [TrayResult(**json.loads(file.read_text())) for file in self._files()]

    def finished(self, port: str) -> TrayResult | None:
        """Return the result for the last board that got online on a port, if there is one."""
        there = [each for each in self.results() if each.port == port and not each.error]
        return max(there, key=lambda each: each.when_ms, default=None)

    def labels(self) -> list[Label]:
        """Return the labels of the boards that got online, by name."""
        done = sorted((each for each in self.results() if not each.error), key=lambda each: each.name)
        return [
            Label(
                name=each.name,
                mac=each.mac,
                serial=self._given.get(each.mac, ""),
                secret=self._secrets.get(each.mac, ""),
            )
            for each in done
        ]

    def _keep(self) -> None:
        kept = {"serials": self._given, "claim_secrets": self._secrets}
        paths.write_private(self.folder / _FILE, json.dumps(kept, indent=1).encode())

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("board-*.json"))


def serials(text: str) -> Iterator[str]:
    """Return serial numbers: those of a CSV file in UTF-8, or an endless count.

    Args:
        text: The name of a CSV file with a column `serial`, or the first number, e.g. `press-0041`.

    Raises:
        UsageError: It is neither, or the file has no such column, an empty number, or a number twice.
        OSError: The file cannot be read.
    """
    path = Path(text)
    if path.suffix == ".csv":
        return iter(_of_file(path))
    if not (found := _COUNTER.match(text)):
        raise UsageError(f"{text!r} is not a .csv file, and does not end in digits: write e.g. press-0041")
    prefix, digits = found.groups()
    return (f"{prefix}{number:0{len(digits)}d}" for number in count(int(digits)))


def _of_file(path: Path) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is not a CSV file in UTF-8: {error}") from error
    if not rows or _COLUMN not in rows[0]:
        raise UsageError(f"{path} has no column {_COLUMN}: its first line names the columns")
    numbers = [str(row[_COLUMN] or "").strip() for row in rows]
    for line, number in enumerate(numbers, start=2):
        if not number:
            raise UsageError(f"{path}, line {line}: there is no {_COLUMN}")
        if numbers.index(number) != line - 2:
            raise UsageError(f"{path}, line {line}: {number} is there twice")
    return numbers
