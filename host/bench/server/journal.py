"""The journal: one event a line, for people or as JSON. Never a secret, and never in the way of an answer."""

import io
import json
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console

from bench.registry.clock import now_ms
from bench.server.journal_output import FileTarget, LineWriter, StreamTarget
from bench.text import printable

# Bytes of a line; in one that would be longer, texts and lists are cut.
LINE_LIMIT = 4096
_TEXT_LIMIT = 256
_ITEM_LIMIT = 16
# How long the end of the server waits for lines that nobody takes.
_CLOSE_S = 1.0
_RARELY_S = 60.0
_encode = json.JSONEncoder(default=str).encode


class Journal:
    """Writes `{"event": ..., "ts": ms since epoch, ...}`, or the same for people.

    Nothing that is wrong with the output reaches the caller: no error, and no wait. Lines that could not be written are
    counted, and told once lines can be written again (`journal_lost`).

    Callers pass names, addresses and numbers; keys, tokens and payloads must not be passed.

    Args:
        output: Where the lines go: a stream, or a log file; standard output by default.
        as_json: False writes for people.
    """

    def __init__(self, output: TextIO | FileTarget | None = None, *, as_json: bool = True) -> None:
        target = sys.stdout if output is None else output
        self._as_json = as_json
        self._unwritable = 0
        self._rare: dict[str, tuple[float, int]] = {}
        self._dim, self._plain = "", ""
        self._encoding = "utf-8"
        if not isinstance(target, FileTarget):
            self._encoding = getattr(target, "encoding", None) or "utf-8"
            if not as_json and Console(file=target).color_system:
                self._dim, self._plain = "\x1b[2m", "\x1b[0m"
        # Memory holds up nobody
        self._memory = target if isinstance(target, io.StringIO) else None
        self._writer: LineWriter | None = None
        if self._memory is None:
            where = target if isinstance(target, FileTarget) else StreamTarget(target)
            self._writer = LineWriter(where, lambda lost: self._line("journal_lost", {"events": lost}))

    @property
    def lost(self) -> int:
        """The number of events that could not be told so far."""
        return self._unwritable + (self._writer.lost if self._writer else 0)

    def failure(self, error: BaseException, **fields: Any) -> None:
        """Write an unexpected error: its type and place, but not its text, which may quote anything.

        Of SQLite's own the name is written, e.g. SQLITE_BUSY, SQLITE_FULL.
        """
        name = getattr(getattr(error, "orig", None), "sqlite_errorname", None)
        self.write(
            "failure", **fields, kind=type(error).__name__, where=_place(error), **({"why": name} if name else {})
        )

    def write_rarely(self, event: str, **fields: Any) -> None:
        """Write an event of which thousands may come: one a minute, with the number of those that were left out."""
        now = time.monotonic()
        due, left_out = self._rare.get(event, (now, 0))
        if now < due:
            self._rare[event] = due, left_out + 1
            return
        self._rare[event] = now + _RARELY_S, 0
        self.write(event, **fields, **({"left_out": left_out} if left_out else {}))

    def write(self, event: str, **fields: Any) -> None:
        """Write one event."""
        try:
            self._put(self._line(event, fields))
        except Exception:  # noqa: BLE001 - what cannot be told must not undo what is told of
            self._unwritable += 1

    def show(self, text: str) -> None:
        """Write text for people as it is, before or between events."""
        self._put(self._encode(text))

    def close(self) -> None:
        """Wait for what is not written yet, for a second at most."""
        if self._writer is not None:
            self._writer.close(_CLOSE_S)

    def _put(self, line: bytes) -> None:
        if self._memory is not None:
            self._memory.write(line.decode(self._encoding))
        elif self._writer is not None:
            self._writer.put(line)

    def _line(self, event: str, fields: dict[str, Any]) -> bytes:
        line = self._written(event, fields)
        if len(line) > LINE_LIMIT:
            line = self._written(event, {key: _cut(value) for key, value in fields.items()})
        return line if len(line) <= LINE_LIMIT else self._written(event, {"cut": True})

    def _written(self, event: str, fields: dict[str, Any]) -> bytes:
        ts = now_ms()
        if self._as_json:
            return _encode({"event": event, "ts": ts, **fields}).encode() + b"\n"
        clock = datetime.fromtimestamp(ts / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]  # as `bench audit` has it
        facts = "  ".join(f"{self._dim}{key}{self._plain} {printable(str(value))}" for key, value in fields.items())
        return self._encode(f"{clock}Z  {event:<14} {facts}\n")

    def _encode(self, text: str) -> bytes:
        return text.encode(self._encoding, "backslashreplace")


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _TEXT_LIMIT:
        return value[:_TEXT_LIMIT] + "..."
    if isinstance(value, (list, tuple)) and len(value) > _ITEM_LIMIT:
        return [*map(_cut, value[:_ITEM_LIMIT]), f"and {len(value) - _ITEM_LIMIT} more"]
    if isinstance(value, (list, tuple)):
        return list(map(_cut, value))
    return value
