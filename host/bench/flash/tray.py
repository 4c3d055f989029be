"""Trays: boards that are flashed side by side, with serial numbers and results.

The folder of a tray holds `tray.json`, with the number and claim secret of each board, and a result a board. A tray
that was interrupted goes on: both stay with their boards, and finished boards are recognized by their name.
"""

import json
import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice, tee
from pathlib import Path

from bench import paths
from bench.errors import UsageError
from bench.flash import tray_results
from bench.flash.batch import Batch, Entry
from bench.flash.labels import Label
from bench.flash.serials import Serials
from bench.flash.tray_results import TrayResult
from bench.flash.turns import Turns
from bench.text import printable

_FILE = "tray.json"
_NAME = re.compile(r"[^/\\\x00-\x1f]{1,100}")
_SECRET = 8  # bytes; short enough to be typed, and a wrong one ends the offer


def tray_folder(trays: Path, name: str) -> Path:
    """Return the folder of a tray.

    Args:
        trays: The folder of all trays.
        name: The tray's name.

    Raises:
        UsageError: The name would lead to another place.
    """
    if not _NAME.fullmatch(name) or name.startswith("."):
        raise UsageError(
            f"--tray {printable(name)}: a name, not a path: without / and \\, and not beginning with a dot"
        )
    return trays / name


class Tray:
    """The tray in a folder, new or continued. May be used from several threads.

    Boards get their numbers, or devices of a batch, in the order of their ports, whichever answers first. A port
    without a board leaves its place free.
    """

    def __init__(
        self,
        folder: Path,
        serials: Serials | None = None,
        *,
        batch: Batch | None = None,
        ports: Sequence[str] = ("",),
    ) -> None:
        """Begin the tray, or continue the one that is in the folder.

        Args:
            folder: The folder; it is made private.
            serials: Serial numbers to assign; None if boards have none.
            batch: Devices to assign; None if there are none.
            ports: The boards' ports.

        Raises:
            UsageError: There are fewer serial numbers than boards.
        """
        self.folder = paths.private_folder(folder)
        self._lock = threading.Lock()
        self._turns = Turns(ports, self._pass)
        self._batch = batch
        try:
            kept: dict[str, dict[str, str]] = json.loads((folder / _FILE).read_text())
        except FileNotFoundError:
            kept = {}
        self._given = kept.get("serials", {})
        self._secrets = kept.get("claim_secrets", {})
        self._codes = kept.get("association_codes", {})
        self._of_macs = serials.of_macs if serials else {}
        taken = {*self._given.values(), *self._of_macs.values()}
        self._free: Iterator[str] | None = None
        if serials is not None:
            boards = len(ports)
            self._free, ahead = tee(each for each in serials.free if each not in taken)
            if (enough := len(taken) + sum(1 for _ in islice(ahead, boards))) < boards:
                raise UsageError(f"there are {boards} boards and {enough} serial numbers: --serials names too few")

    def serial(self, mac: str, port: str = "") -> str:
        """Return the serial number of a board: its own, or the next; empty without serial numbers.

        It waits for the port's turn.

        Args:
            mac: The board's MAC, 12 hex digits.
            port: The port that it is on.

        Raises:
            UsageError: There is no number left, or the file with the numbers has another one for this board.
        """
        if self._free is None:
            return ""
        with self._turns.turn(port), self._lock:
            return self._serial(mac)

    def device(self, mac: str, port: str = "") -> Entry:
        """Return the device of the batch for a board: its own, or the next, whose label is noted. Waits likewise.

        Args:
            mac: The board's MAC, 12 hex digits.
            port: The port that it is on.

        Raises:
            BenchError: As `Batch.acquire` does.
        """
        assert self._batch
        with self._turns.turn(port):
            own = self._batch.acquire(mac, port)
        self._note(mac, own.serial, own.association_code)
        return own

    def leave(self, port: str) -> None:
        """End a port's turn: its board gets no number any more."""
        self._turns.leave(port)

    def _pass(self, port: str) -> None:
        """Leave the place of a board free that was never seen."""
        macs = [each.mac for each in self.results_on(port)]
        if self._free is not None and not any(mac in self._given for mac in macs):
            next(self._free, None)
        if self._batch:
            self._batch.skip(port, macs)

    def _serial(self, mac: str) -> str:
        assert self._free is not None
        own, given = self._of_macs.get(mac), self._given.get(mac)
        if own and given and own != given:
            raise UsageError(
                f"the board {mac} has the serial number {given} in this tray, and {own} in the file: correct the "
                "file, or begin another tray with --tray"
            )
        number = given or own or next(self._free, None)
        if number is None:
            raise UsageError(f"there is no serial number for the board {mac}: --serials names too few, or other MACs")
        if number != given:
            self._given[mac] = number
            self._keep()
        return number

    def claim_secret(self, mac: str) -> str:
        """Return the claim secret of the board with this MAC (12 hex digits): 16 hex digits, the same each time."""
        with self._lock:
            if mac not in self._secrets:
                self._secrets[mac] = secrets.token_hex(_SECRET)
                self._keep()
            return self._secrets[mac]

    def _note(self, mac: str, serial: str, association_code: str) -> None:
        """Note what a board's label says that was made in advance; empty texts are not on it."""
        with self._lock:
            for kept, value in ((self._given, serial), (self._codes, association_code)):
                if value:
                    kept[mac] = value
            self._keep()

    def record(self, result: TrayResult) -> None:
        """Store the result for a board, in place of an earlier one.

        A board whose MAC is unknown is filed under its port, until the MAC of the board there is known.
        """
        port = re.sub(r"\W+", "_", result.port)
        with self._lock:
            (self.folder / f"board-{port}.json").unlink(missing_ok=True)
            file = self.folder / f"board-{result.mac or port}.json"
            paths.write_private(file, json.dumps(asdict(result), indent=1).encode())
            table = tray_results.table(self.results(), self._given)
            paths.write_private(self.folder / tray_results.FILE, table.encode())

    def results(self) -> list[TrayResult]:
        """Return the results so far, one a board."""
        return [TrayResult(**json.loads(file.read_text())) for file in self._files()]

    def results_on(self, port: str) -> list[TrayResult]:
        """Return the results for boards that were on a port."""
        return [each for each in self.results() if each.port == port]

    def finished(self, port: str) -> TrayResult | None:
        """Return the result for the last board that got online on a port, if there is one."""
        there = [each for each in self.results_on(port) if not each.error]
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
                association=self._codes.get(each.mac, ""),
            )
            for each in done
        ]

    def _keep(self) -> None:
        kept = {"serials": self._given, "claim_secrets": self._secrets, "association_codes": self._codes}
        paths.write_private(self.folder / _FILE, json.dumps(kept, indent=1).encode())

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("board-*.json"))
