"""Telemetry: collected at its interval, online or not, and kept in RAM until the server has acknowledged it."""

import json
import time

from firstboot import board, events, memory
from firstboot.settings import Settings


class Telemetry:
    """A queue of at most `session.queue` records; the oldest makes room for a new one.

    Args:
        settings: the board's own.
        sample: a function that returns further values as a dict. If it raises, that is an event, and only its
            values are missing.

    Attributes:
        dropped: the number of records lost to make room, and not reported yet.
    """

    def __init__(self, settings: Settings, sample: object = None) -> None:
        self._interval_ms = settings.number("session.telemetry_s") * 1000
        self._limit = settings.number("session.queue")
        self._not_before = settings.number("clock.not_before")
        self._sample = sample
        self._due = time.ticks_ms()
        self._records: list[str] = []
        self.dropped = 0

    def left_ms(self) -> int:
        """Return the milliseconds until the next record is due."""
        return max(time.ticks_diff(self._due, time.ticks_ms()), 0)

    def poll(self) -> None:
        """Collect a record if one is due; called during every wait."""
        if time.ticks_diff(self._due, time.ticks_ms()) <= 0:
            self.collect()

    def collect(self) -> None:
        """Collect a record now, if there is memory for it. The next one is due an interval later."""
        self._due = time.ticks_add(time.ticks_ms(), self._interval_ms)
        try:
            self._collect()
        except MemoryError:
            self.dropped += 1
            memory.report("telemetry")

    def _collect(self) -> None:
        values = memory.facts()
        values["uptime_s"] = events.uptime_ms() // 1000
        if self._sample:
            try:
                # parsed again, because dumps() silently writes what is not JSON (sensors return nan), and a record
                # that the server cannot read would be the oldest for ever
                values.update(json.loads(json.dumps(self._sample())))  # type: ignore[operator]
            except MemoryError:
                raise
            except Exception as error:  # the application's, and no reason to stop
                events.emit("error", kind="sample", detail=type(error).__name__)
        now = board.unix_time()
        # a wrong clock's time would hide later records: without one the server uses its own
        dated = self._not_before <= now <= self._not_before + board.LIFE_S
        record = json.dumps({"ts": now * 1000, "values": values} if dated else values)
        if len(self._records) == self._limit:
            self._records.pop(0)
            self.dropped += 1
        self._records.append(record)

    def oldest(self) -> str:
        """Return the oldest record as JSON; "" if there is none."""
        return self._records[0] if self._records else ""

    def acknowledged(self, record: str) -> None:
        """Remove a record that the server has, unless it has made room since."""
        if self._records and self._records[0] is record:
            self._records.pop(0)
        events.emit("telemetry", waiting=len(self._records))

    def reported(self, count: int) -> None:
        """Subtract lost records that the server knows about."""
        self.dropped -= count
        events.emit("dropped", count=count)
