"""What the device measures: taken at its interval, online or not, and kept in RAM until the server has it."""

import json
import time

from firstboot import board, events
from firstboot.settings import Settings


class Telemetry:
    """A queue of at most `session.queue` records; the oldest makes room for a new one.

    `sample()` gives further values as a dict; what it raises is told as an event, and costs its values only.
    """

    def __init__(self, settings: Settings, sample: object = None) -> None:
        self._interval_ms = settings.number("session.telemetry_s") * 1000
        self._limit = settings.number("session.queue")
        self._not_before = settings.number("clock.not_before")
        self._sample = sample
        self._due = time.ticks_ms()
        self._records: list[str] = []
        self.dropped = 0
        """How many records were lost to make room, and are not reported yet."""

    def left_ms(self) -> int:
        """Until the next record is due."""
        return max(time.ticks_diff(self._due, time.ticks_ms()), 0)

    def poll(self) -> None:
        """Take a record if one is due; called while the board waits for something else."""
        if time.ticks_diff(self._due, time.ticks_ms()) <= 0:
            self.take()

    def take(self) -> None:
        """Take a record now. The next one is due an interval later."""
        self._due = time.ticks_add(time.ticks_ms(), self._interval_ms)
        values = {"free_heap": board.free_heap(), "uptime_s": events.uptime_ms() // 1000}
        if self._sample:
            try:
                # read again, because dumps() writes what is none of JSON without a word (nan is what sensors give),
                # and a record that the server cannot read would be the oldest for ever
                values.update(json.loads(json.dumps(self._sample())))  # type: ignore[operator]
            except Exception as error:  # not ours, and no reason to stop
                events.emit("error", kind="sample", detail=type(error).__name__)
        now = board.unix_time()
        if len(self._records) == self._limit:
            self._records.pop(0)
            self.dropped += 1
        # a time from a clock that is wrong would hide what is measured later: then it is the server's
        dated = self._not_before <= now <= self._not_before + board.LIFE_S
        self._records.append(json.dumps({"ts": now * 1000, "values": values} if dated else values))

    def oldest(self) -> str:
        """The record whose turn it is, as JSON; "" if there is none."""
        return self._records[0] if self._records else ""

    def acknowledged(self, record: str) -> None:
        """The server has it; or it made room by now."""
        if self._records and self._records[0] is record:
            self._records.pop(0)
        events.emit("telemetry", waiting=len(self._records))

    def reported(self, count: int) -> None:
        """The server knows about so many lost records."""
        self.dropped -= count
        events.emit("dropped", count=count)
