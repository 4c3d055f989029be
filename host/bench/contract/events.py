"""What a board says on its console, as events."""

import json
from typing import Any

Event = dict[str, Any]
# What never ends its line, as a board at another baud rate seems to, is cut into pieces of this size.
_LONGEST = 1 << 16
# What the bench says of a board is nothing that a board can say.
_THE_BENCH_S = frozenset(
    ("console", "switched_on", "switched_off", "reset_line", "power_lost", "port_lost", "port_back"),
)


class Listener:
    """Takes a console's bytes as they come, and makes events of its lines.

    A line that is none, whatever it is, comes as `{"event": "console", "text": ...}`.
    """

    def __init__(self) -> None:
        self._rest = b""  # the begin of a line

    def hear(self, said: bytes) -> list[Event]:
        """The events that these bytes complete."""
        *lines, self._rest = (self._rest + said).split(b"\n")
        while len(self._rest) > _LONGEST:
            lines.append(self._rest[:_LONGEST])
            self._rest = self._rest[_LONGEST:]
        return [_event(line) for line in lines]

    def end(self) -> list[Event]:
        """Nothing follows: what is there of a line was the last one."""
        line, self._rest = self._rest, b""
        return [_event(line)] if line else []


def _event(line: bytes) -> Event:
    text = line.decode(errors="replace").rstrip("\r")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    kind = found.get("event") if isinstance(found, dict) else None
    is_event = isinstance(kind, str) and kind not in _THE_BENCH_S
    return found if is_event else {"event": "console", "text": text}
