"""The events of a board under test with their times, read on the thread that waits for them or on one of their own.

A board on a port is always read by a thread of its own, so that nothing is lost in the port's buffer. A virtual board
needs one too where a test does not read for a while: reading its events is what runs it across resets. A fleet of
hundreds is read without threads, by one loop that calls `follow(0)` on each.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from bench.contract.events import Event
from bench.errors import BenchError
from bench.flash.tracebacks import Tracebacks
from bench.serial.ports import PortError

_TURN_S = 0.05
_SHOW_S = 1.0  # the observer gets what has come at least this often
_SHOWN, _SHOWN_OF_LINE = 20, 120  # of the last events, in an error, and characters of a line

POWER_LOST = "power_lost"
"""The event of a virtual board whose power was cut, or whose CPU crashed."""


class EventMissing(BenchError):
    """An expected event did not come in time."""


@dataclass(frozen=True)
class RecordedEvent:
    """An event and the time at which it was read: seconds since 1970, by the host's clock."""

    at: float
    event: Event


class Source(Protocol):
    """A stream of a board's events: a virtual board's power cycle, or a serial line."""

    def follow(self, timeout_s: float | None = None) -> Iterator[Event]:
        """Yield events as they come, until `timeout_s` seconds are over or no more can come."""


class EventRecorder:
    """A recorder of all events of one board, across its power cycles."""

    def __init__(
        self,
        name: str,
        *,
        in_background: bool = True,
        history: int | None = None,
        tracebacks: Tracebacks | None = None,
    ) -> None:
        """Make a recorder without events.

        Args:
            name: The board's name, for errors and the thread.
            in_background: Have a thread read while a source is attached. Otherwise only `follow` reads.
            history: The number of events that are kept, the last ones; None: all.
            tracebacks: The reader of its tracebacks; None: for the firmware that is beside the bench.
        """
        self.recorded: deque[RecordedEvent] = deque(maxlen=history)
        self.observer: Callable[[Event], None] = lambda _event: None
        self._name = name
        self._tracebacks = tracebacks or Tracebacks()
        self._in_background = in_background
        self._unread: deque[Event] = deque()
        self._unobserved: deque[Event] = deque()
        self._changed = threading.Condition()
        self._source: Source | None = None
        self._is_lost: Callable[[], bool] = lambda: False
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._ended = True  # no more events can come from the present source
        self._failure: Exception | None = None
        self._muted = False

    @property
    def is_attached(self) -> bool:
        """True while there is a source to read from."""
        return self._source is not None

    def attach(self, source: Source, is_lost: Callable[[], bool] = lambda: False) -> None:
        """Begin to read from a source.

        Args:
            source: The stream of events.
            is_lost: Returns whether the board lost its power, after which the source has no more events.
        """
        self._source, self._is_lost = source, is_lost
        self._ended, self._failure = False, None
        if self._in_background:
            self._start_thread()

    def detach(self) -> None:
        """Stop reading. No-op if nothing is attached."""
        self._stop_thread()
        self._source, self._ended = None, True

    def mark(self, step: str) -> None:
        """Record an event of the bench itself, e.g. `switched_on`, and pass over all events so far, itself included."""
        self._record({"event": step})
        self.skip()
        self.show()

    def skip(self) -> None:
        """Pass over all events so far: they are neither followed nor expected any more."""
        with self._changed:
            self._unread.clear()

    def show(self) -> None:
        """Call the observer with all events that it has not received yet."""
        while self._unobserved:
            self.observer(self._unobserved.popleft())

    def follow(self, timeout_s: float | None = None) -> Iterator[Event]:
        """Yield events as they come, each once.

        Args:
            timeout_s: Seconds after which it ends; 0: only events that are there; None: never.

        Raises:
            Exception: Whatever the source raised, e.g. PortError.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            yield from self._read_unread()
            if self._failure:
                raise self._failure
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if self._ended or (left == 0 and self._thread):
                if not self._unread:
                    return
            elif self._thread:
                with self._changed:
                    self._changed.wait_for(self._has_news, _SHOW_S if left is None else min(left, _SHOW_S))
                self.show()
            else:
                yield from self._read_for(left)
                if left is not None:
                    return

    def expect(self, fits: Callable[[Event], bool], what: str, timeout_s: float, is_on: Callable[[], bool]) -> Event:
        """Return the next event that fits, and pass over those before it.

        If none fits, all events that came can still be expected.

        Args:
            fits: Returns whether an event is the expected one.
            what: The expected event in words, for the error.
            timeout_s: Seconds to wait.
            is_on: Returns whether the board is on, for the error.

        Raises:
            EventMissing: There was none within `timeout_s` seconds, or the power was lost before.
            PortError: The port is gone.
        """
        __tracebackhide__ = True
        passed: list[Event] = []
        try:
            self._raise_port_lost()
            for event in self.follow(timeout_s):
                if fits(event):
                    passed.clear()
                    return event
                passed.append(event)
                self._raise_port_lost()
        finally:
            self._unread.extendleft(reversed(passed))
        since = list(self._unread)
        lost = bool(since) and since[-1]["event"] == POWER_LOST
        why = "it lost power before" if lost else f"none came within {timeout_s:g} s" if is_on() else "it is off"
        shown = ", ".join(_short(event) for event in since[-_SHOWN:]) or "nothing"
        raise EventMissing(f"board {self._name}: no {what}, {why}; since the last one expected it said {shown}")

    @contextmanager
    def muted(self) -> Iterator[None]:
        """Read in this context, so that the board runs, but record nothing: it is a REPL's dialogue."""
        own_thread = self._thread is None and self._source is not None
        self._muted = True
        if own_thread:
            self._start_thread()
        try:
            yield
        finally:
            if own_thread:
                self._stop_thread()
            self._muted = False

    def _has_news(self) -> bool:
        return bool(self._unread) or self._ended

    def _read_unread(self) -> Iterator[Event]:
        while self._unread:
            event = self._unread.popleft()
            self.show()
            yield event

    def _read_for(self, timeout_s: float | None) -> Iterator[Event]:
        """Read the source on the caller's thread."""
        assert self._source
        for event in self._source.follow(timeout_s):
            self._record(event)
            yield from self._read_unread()
        if self._is_lost():
            self._end({"event": POWER_LOST})
            yield from self._read_unread()

    def _record(self, event: Event) -> None:
        event = self._tracebacks.translate(event)
        with self._changed:
            self.recorded.append(RecordedEvent(time.time(), event))
            self._unobserved.append(event)
            self._unread.append(event)
            self._changed.notify_all()

    def _end(self, last: Event | None = None) -> None:
        if last:
            self._record(last)
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _raise_port_lost(self) -> None:
        """Raise PortError if the last event is `port_lost` and all events before it were read."""
        last = self.recorded[-1].event if self.recorded else {}
        if last.get("event") == "port_lost" and not self._unread:
            raise PortError(last["port"], last["detail"])

    def _start_thread(self) -> None:
        assert self._source
        self._stop.clear()
        self._thread = threading.Thread(
            target=self._read, args=(self._source,), name=f"events of {self._name}", daemon=True
        )
        self._thread.start()

    def _stop_thread(self) -> None:
        if self._thread:
            self._stop.set()
            self._thread.join()
            self._thread = None

    def _read(self, source: Source) -> None:
        try:
            while not self._stop.is_set():
                lost = self._is_lost()  # checked first: the last events of a dead board may still be under way
                for event in source.follow(_TURN_S):
                    if not self._muted:
                        self._record(event)
                if lost:
                    self._end({"event": POWER_LOST})
                    return
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits for an event
            self._failure = error
            self._end()


def expectation(kind: str, fields: dict[str, Any]) -> str:
    """Return the words for an expected event in errors.

    Args:
        kind: The event's name.
        fields: The fields that it has to have.
    """
    return f"event {kind}{f' {json.dumps(fields)}' if fields else ''}"


def _short(event: Event) -> str:
    """Return an event as errors show it: its name with its fields, or a line; the beginning, if it is long."""
    if event["event"] == "console":
        return repr(event["text"][:_SHOWN_OF_LINE])
    fields = {name: value for name, value in event.items() if name not in ("event", "ms")}
    return f"{event['event']}{f' {json.dumps(fields)}' if fields else ''}"[:_SHOWN_OF_LINE]
