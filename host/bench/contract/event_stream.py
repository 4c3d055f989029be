"""Base of the streams of events: a serial connection with a board, and a virtual board's power cycle.

All following of boards ends here: that of `dut.board.Board`, which most of the bench follows boards through, that of
`flash.bring_up`, which is on a floor below it and follows the serial connection that it flashed over, and that of
single power cycles.
"""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, MutableSequence
from typing import Any

from bench.contract.event_parser import EventParser
from bench.contract.events import Event
from bench.errors import BenchError


class EventStream(ABC):
    """A board's console as events, each yielded once."""

    def __init__(self, events: MutableSequence[Event]) -> None:
        """Make a stream from which nothing was read yet.

        Args:
            events: Keeps the events that were yielded.
        """
        self.events = events
        """The events that were yielded, the last ones at least."""
        self.started_s = 0.0
        """The last start of the board, by `time.monotonic`: of its CPU, or the end of a reset."""
        self._parser = EventParser()
        self._unseen: deque[Event] = deque()

    def follow(self, timeout_s: float | None = None) -> Iterator[Event]:
        """Yield events as they come; any other line is one as well: `{"event": "console", "text": ...}`.

        Args:
            timeout_s: Seconds after which it ends; 0: after what has arrived; None: when nothing can follow.

        Yields:
            The events, each once, also over several calls.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self._collect()
            while self._unseen:
                self.events.append(self._unseen.popleft())
                yield self.events[-1]
            if not self._proceed() or (deadline is not None and time.monotonic() >= deadline):
                return
            self._pause()

    def expect_event(self, kind: str, /, *, timeout_s: float = 20.0, **fields: Any) -> Event:
        """Return the next event of this name with these fields.

        Args:
            kind: The event's name.
            timeout_s: Seconds to wait.
            **fields: Values that the event has to have.

        Raises:
            BenchError: There is none within `timeout_s`, or none can follow.
        """
        for found in self.follow(timeout_s):
            if matches(found, kind, fields):
                return found
        raise self._missing(kind, fields, timeout_s)

    @abstractmethod
    def _collect(self) -> None:
        """Read the bytes that have arrived, and append their events to `_unseen`."""

    def _proceed(self) -> bool:
        """Do what is due between two reads; return whether any event can follow."""
        return True

    def _pause(self) -> None:  # noqa: B027 - a stream whose reads wait needs none
        """Wait a moment before the next read."""

    @abstractmethod
    def _missing(self, event: str, fields: Mapping[str, Any], timeout_s: float) -> BenchError:
        """Return the error for an event that did not come."""


def matches(event: Event, name: str, fields: Mapping[str, Any]) -> bool:
    """Return whether an event has this name and these fields.

    Args:
        event: The event.
        name: The name that it has to have.
        fields: Fields that it has to have, with their values; it may have more.
    """
    return event["event"] == name and fields.items() <= event.items()
