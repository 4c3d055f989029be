"""The journal: one event a line, for people or as JSON. Never a secret."""

import json
import sys
import traceback
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape  # noqa: TID251 - a room below the command line

from bench.registry.clock import now_ms
from bench.text import printable


class Journal:
    """Writes `{"event": ..., "ts": ms since epoch, ...}`, or the same for people.

    Callers pass names, addresses and numbers; keys, tokens and payloads must not be passed.

    Args:
        stream: Where the lines go.
        as_json: False writes for people.
    """

    def __init__(self, stream: TextIO = sys.stdout, *, as_json: bool = True) -> None:
        self._stream = stream
        self._console = None if as_json else Console(file=stream, highlight=False, soft_wrap=True, emoji=False)

    def failure(self, error: BaseException, **fields: Any) -> None:
        """Write an unexpected error: its type and place, but not its text, which may quote anything.

        Of SQLite's own the name is written, e.g. SQLITE_BUSY, SQLITE_FULL.
        """
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        name = getattr(getattr(error, "orig", None), "sqlite_errorname", None)
        self.write("failure", **fields, kind=type(error).__name__, where=where, **({"why": name} if name else {}))

    def write(self, event: str, **fields: Any) -> None:
        """Write one event."""
        if self._console is None:
            self._stream.write(json.dumps({"event": event, "ts": now_ms(), **fields}) + "\n")
            self._stream.flush()
        else:
            facts = "  ".join(f"[dim]{key}[/dim] {escape(printable(str(value)))}" for key, value in fields.items())
            self._console.print(f"{escape(event):<14} {facts}")
