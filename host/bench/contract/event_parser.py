"""Parser that turns a console's bytes into events."""

import json

from bench.contract.events import BENCH_EVENTS, Event

# A line that never ends, as a board at another baud rate seems to send, is cut into pieces of this size.
_LONGEST = 1 << 16


class EventParser:
    """Incremental parser for the bytes of one console.

    Any line that is not an event becomes `{"event": "console", "text": ...}`. So does one that claims to be
    an event of the bench itself (`BENCH_EVENTS`): no board can report that its own power was lost.
    """

    def __init__(self) -> None:
        self._rest = b""  # the beginning of a line

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that these bytes complete."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > _LONGEST:
            lines.append(self._rest[:_LONGEST])
            self._rest = self._rest[_LONGEST:]
        return [_event(line) for line in lines]

    def end(self) -> list[Event]:
        """Return the unfinished line as an event, if there is one, since nothing follows."""
        line, self._rest = self._rest, b""
        return [_event(line)] if line else []


def _event(line: bytes) -> Event:
    text = line.decode(errors="replace").rstrip("\r")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    name = found.get("event") if isinstance(found, dict) else None
    is_event = isinstance(name, str) and name not in BENCH_EVENTS
    return found if is_event else {"event": "console", "text": text}
