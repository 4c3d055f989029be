"""Boots of virtual boards: their duration, and their writes to the flash."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.contract import settings
from bench.contract.events import TROUBLE
from bench.errors import BenchError
from bench.virtual.board import VirtualBoard
from bench.virtual.environment import Conditions
from bench.virtual.power import PowerCycle
from benchmarks.processes import Endpoint

_PATIENCE_S = 20.0
# A failure has to show at once: short waits, so that none hides an attempt that failed.
_IMPATIENT = {"base_ms": 1, "cap_ms": 1, "long_ms": 1000}
# Events after which a boot does not count as a plain one any more.
_TROUBLE = TROUBLE | {"retry"}


class BootFailed(BenchError):
    """A boot that did not reach its first telemetry without trouble. `lines`: the board's output, events as JSON."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        """Make the error from all events of the boot."""
        super().__init__(f"a board did not reach its first telemetry; its events: {[each['event'] for each in events]}")
        self.lines = [each["text"] if each["event"] == "console" else json.dumps(each) for each in events]


@dataclass(kw_only=True)
class Boot:
    """One power cycle up to its first telemetry."""

    ms: dict[str, int] = field(default_factory=dict)
    """The board's own clock at each event, in ms since its firmware began to run."""
    wall_ms: dict[str, float] = field(default_factory=dict)
    """Milliseconds from the start of its process until the bench had read the event."""
    writes: list[dict[str, Any]] = field(default_factory=list)
    """The writes to the flash, from PowerCycle."""
    micropython: str = ""
    """The version that the board reports."""


class Bench:
    """A factory of blank boards for one server."""

    def __init__(self, data: Path, server: Endpoint) -> None:
        """Make a factory.

        Args:
            data: The folder for the boards' folder.
            server: The server that their settings name.
        """
        self._data = data
        self._made = 0
        self.server = server

    def board(self, files: dict[str, bytes] | None = None, **sections: dict[str, Any]) -> VirtualBoard:
        """Make a blank board, which is off.

        Args:
            files: Path -> content, added to the firmware's files or in place of them; None for no others.
            **sections: Sections of its settings, added to the usual ones.
        """
        self._made += 1
        return VirtualBoard.create(
            self._data / "boards" / f"board{self._made}",
            files=files,
            settings=settings.encode(
                {"backoff": _IMPATIENT},
                sections,
                host="127.0.0.1",
                port=self.server.ports["mqtt"],
                key=self.server.key,
                secret=self.server.secret,
            ),
        )


def boot(board: VirtualBoard, conditions: Conditions | None = None) -> Boot:
    """Switch a board on until its first telemetry is acknowledged, then off.

    Args:
        board: The board, which is off.
        conditions: The conditions of the power cycle; None for the usual ones.

    Returns:
        Its times and writes to the flash.

    Raises:
        BootFailed: It did not get there at once: it sits at the REPL, an event reported trouble, or 20 s were over.
    """
    found = Boot()
    with board.power_on(conditions) as power:
        start = time.perf_counter()  # the process was started a moment ago
        _follow(power, found, start)
    found.writes = power.writes
    return found


def _follow(power: PowerCycle, found: Boot, start: float) -> None:
    for event in power.follow(_PATIENCE_S):
        name = event["event"]
        if name == "console":
            if event["text"].startswith("MicroPython "):  # the REPL's: the firmware did not even report a failure
                break
            continue
        found.ms.setdefault(name, event["ms"])
        found.wall_ms.setdefault(name, (time.perf_counter() - start) * 1000)
        if name == "boot":
            found.micropython = event["micropython"]
        if name == "telemetry":
            return
        if name in _TROUBLE:
            break
    raise BootFailed(power.events)
