"""Serial lines with an action at a given text from the host or the board."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

from bench.virtual import line_server
from bench.virtual.board import VirtualBoard
from bench.virtual.line_server import LineServer
from bench.virtual.uart_timing import LineFaults, Wire


@dataclass(frozen=True)
class Moment:
    """The n-th time that a text is sent over a line, in either direction, just before it arrives."""

    name: str
    text: bytes
    number: int = 1

    def __str__(self) -> str:
        return self.name


class Tripwire:
    """An action that is done once, at a moment."""

    def __init__(self, moment: Moment) -> None:
        self.moment = moment
        self.tripped = threading.Event()
        self.act: Callable[[], None] = lambda: None

    def trip(self) -> None:
        if not self.tripped.is_set():
            self.tripped.set()
            self.act()


@contextmanager
def serve(board: VirtualBoard, wire: Tripwire, faults: LineFaults | None = None) -> Iterator[LineServer]:
    """Serve a board's line with a tripwire, whose action runs on the line's thread."""
    moment = wire.moment

    class Tripped(Wire):
        seen = 0
        rest = b""

        def send(self, data: bytes, *, baud: int, now: float) -> None:
            text = self.rest + data
            self.seen += text.count(moment.text)
            self.rest = text[1 - len(moment.text) :]
            if self.seen >= moment.number:
                wire.trip()
            super().send(data, baud=baud, now=now)

    with mock.patch.object(line_server, "Wire", Tripped):
        served = line_server.serve(board, faults=faults)
        entered = served.__enter__()
    try:
        yield entered
    finally:
        served.__exit__(None, None, None)
