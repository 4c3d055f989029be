"""A tray: boards that are flashed side by side, each with its serial number, and what became of them.

Its folder holds `tray.json`, which says which board has which number and claim secret, and a result a board. A tray
that was interrupted goes on: both stay with their boards, and finished boards are known by the name they answer to.
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
    """The tray in this folder, begun or gone on with. May be used from several threads."""

    def __init__(self, folder: Path, serials: Iterator[str] | None = None, *, boards: int = 1) -> None:
        """`serials` are the numbers to give; None if boards are called after their MAC.

        Raises UsageError if there are not enough for so many boards.
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
        """The serial number of the board with this MAC: the one it has, or the next. Raises UsageError at their end."""
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
        """What the board with this MAC is claimed with, the same each time."""
        with self._lock:
            if mac not in self._secrets:
                self._secrets[mac] = secrets.token_hex(_SECRET)
                self._keep()
            return self._secrets[mac]

    def record(self, result: TrayResult) -> None:
        """Keep what became of a board, in place of what became of it before.

        One whose MAC is not known is called after its port, until a board there tells its MAC.
        """
        port = re.sub(r"\W+", "_", result.port)
        with self._lock:
            (self.folder / f"board-{port}.json").unlink(missing_ok=True)
            file = self.folder / f"board-{result.mac or port}.json"
            paths.write_private(file, json.dumps(asdict(result), indent=1).encode())

    def results(self) -> list[TrayResult]:
        """What became of each board so far."""
        return [TrayResult(**json.loads(file.read_text())) for file in self._files()]

    def finished(self, port: str) -> TrayResult | None:
        """The board that was the last one to be brought online on this port, if there is one."""
        there = [each for each in self.results() if each.port == port and not each.error]
        return max(there, key=lambda each: each.when_ms, default=None)

    def labels(self) -> list[Label]:
        """What goes onto the boards that were brought online."""
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
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is no CSV file in UTF-8: {error}") from error
    if not rows or _COLUMN not in rows[0]:
        raise UsageError(f"{path} has no column {_COLUMN}: its first line names the columns")
    numbers = [str(row[_COLUMN] or "").strip() for row in rows]
    for line, number in enumerate(numbers, start=2):
        if not number:
            raise UsageError(f"{path}, line {line}: there is no {_COLUMN}")
        if numbers.index(number) != line - 2:
            raise UsageError(f"{path}, line {line}: {number} is there twice")
    return numbers
