"""Virtual boards whose every power cycle is behind a serial line: `--bench-target virtual` for tests of virtual boards.

A test's input to such boards and their output go through RFC 2217; facts that only the bench can know of a virtual
board, e.g. its writes to the flash, are read from the power cycle itself.
"""

import dataclasses
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Self

from bench.errors import BenchError
from bench.serial.connection import SerialConnection
from bench.virtual.auto_reset import Start
from bench.virtual.board import VirtualBoard
from bench.virtual.environment import Conditions
from bench.virtual.line_server import serve
from bench.virtual.power import PowerLost

_TURN_S = 0.02


class BoardOnALine(VirtualBoard):
    """A virtual board that is followed on its serial line."""

    def power_on(self, conditions: Conditions | None = None, *, lock: Any = None) -> Any:
        """Serve the line for a test; the line's server itself, which has the board's lock, gets the power cycle."""
        return super().power_on(conditions, lock=lock) if lock else PowerOnALine(self, conditions or Conditions())


class PowerOnALine:
    """A power cycle behind a serial line, with the interface of PowerCycle.

    The ROM is left out, unless it is asked for: these tests are those of boards without a line, once more.
    """

    def __init__(self, board: VirtualBoard, conditions: Conditions) -> None:
        if conditions.boot_s is None:
            conditions = dataclasses.replace(conditions, boot_s=0)
        with ExitStack() as held:
            self._served = held.enter_context(serve(board, start=Start.HELD))
            self._line = held.enter_context(SerialConnection(self._served.url))
            self._served.reset(Start.RUN, conditions)
            self._held = held.pop_all()
        self._power = self._served.power
        self.send_line = self._line.send_line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.power_off()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._power, name)

    @property
    def events(self) -> list[dict[str, Any]]:
        return list(self._line.events)

    def type(self, keys: bytes) -> None:
        self._line.port.write(keys)

    def power_off(self) -> None:
        self._served.reset(Start.HELD)
        self._held.close()

    def follow(self, timeout_s: float | None = None) -> Iterator[dict[str, Any]]:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            lost = self._power.is_lost  # read first: the output of a dead board is complete
            yield from self._line.follow(_TURN_S)
            if lost or (deadline is not None and time.monotonic() > deadline):
                return

    def expect_event(self, kind: str, /, *, timeout_s: float = 20.0, **fields: Any) -> dict[str, Any]:
        for found in self.follow(timeout_s):
            if found["event"] == kind and fields.items() <= found.items():
                return found
        if self._power.is_lost:
            raise PowerLost(f"the board lost power before {kind}")
        raise BenchError(f"no event {kind} within {timeout_s:.0f} s; the board said {self.events}")
