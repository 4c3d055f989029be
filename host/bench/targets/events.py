"""What a board says on its console, as events."""

import json
from typing import Any

Event = dict[str, Any]
# What never ends its line, as a board at another baud rate seems to, is cut into pieces of this size.
_LONGEST = 1 << 16


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
    is_event = isinstance(found, dict) and isinstance(found.get("event"), str)
    return found if is_event else {"event": "console", "text": text}
