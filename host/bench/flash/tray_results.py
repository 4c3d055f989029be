"""Results of a tray's boards, and the one table of them."""

import csv
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bench.contract.names import with_colons
from bench.text import cell

FILE = "results.csv"
_COLUMNS = ("serial", "name", "mac", "port", "result", "error", "firmware", "micropython", "image", "seconds", "when")


@dataclass(frozen=True, kw_only=True)
class TrayResult:
    """The result for one board.

    `error` is empty if it is online, or done without network, and does not name the port; `when_ms` is Unix time in
    milliseconds.
    """

    port: str
    mac: str
    name: str
    error: str = ""
    online: bool = True
    image: str = ""
    image_sha256: str = ""
    micropython: str = ""
    firmware: str = ""
    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    sent: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    when_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)

    @property
    def outcome(self) -> str:
        """The result in words: `online`, `flashed` (without network) or `not online`."""
        return "not online" if self.error else "online" if self.online else "flashed"


def table(results: Sequence[TrayResult], serials: Mapping[str, str]) -> str:
    """Return the results as CSV, for programs and spreadsheets: a row a board, in the order of the serial numbers.

    Args:
        results: The results.
        serials: From the boards' MACs to their serial numbers.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for each in sorted(results, key=lambda each: (serials.get(each.mac, ""), each.name, each.port)):
        row = (serials.get(each.mac, ""), each.name, with_colons(each.mac), each.port, each.outcome, each.error)
        when = datetime.fromtimestamp(each.when_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        spent = f"{sum(each.seconds.values()):.1f}"
        writer.writerow(map(cell, (*row, each.firmware, each.micropython, each.image, spent, when)))
    return text.getvalue()
