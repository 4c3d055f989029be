"""What the server tells: one event a line, for a person or as JSON. Never a secret."""

import json
import sys
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape

from bench.registry.model import now_ms


class Journal:
    """Writes `{"event": ..., "ts": ms since epoch, ...}`, or the same for people.

    Callers pass names, addresses and numbers; keys, tokens and payloads have no business here.
    """

    def __init__(self, stream: TextIO = sys.stdout, *, as_json: bool = True) -> None:
        self._stream = stream
        self._console = None if as_json else Console(file=stream, highlight=False, soft_wrap=True)

    def write(self, event: str, **fields: Any) -> None:
        """One event."""
        if self._console is None:
            self._stream.write(json.dumps({"event": event, "ts": now_ms(), **fields}) + "\n")
            self._stream.flush()
        else:
            facts = "  ".join(f"[dim]{key}[/dim] {escape(str(value))}" for key, value in fields.items())
            self._console.print(f"{escape(event):<14} {facts}")
