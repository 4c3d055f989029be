"""Tracebacks of boards, with the names and paths that the firmware's sources have.

On a board private names are short, and a file is called by its module's name (`bench.flash.shortening`); lines are
true. A board with another firmware needs the names of that one, which `bench firmware build` wrote.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

from bench.contract.events import Event
from bench.errors import BenchError, UsageError
from bench.flash import firmware
from bench.flash.shortening import dotted

Names = Mapping[str, Mapping[str, str]]
"""Path of a source -> short name -> the name that it stands for."""

_FRAME = re.compile(r'(\s*File ")([^"]+)(", line \d+)(?:, in (.+))?')
# MicroPython quotes names: 'App' object has no attribute '_a'
_QUOTED = re.compile(r"'(_\w+)'")


def read_names(path: Path) -> Names:
    """Return the names in a file of `bench firmware build`.

    Raises:
        UsageError: It is not such a file.
    """
    try:
        names = json.loads(path.read_text())
        return {source: {str(short): str(name) for short, name in each.items()} for source, each in names.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} is not a {firmware.NAMES} of bench firmware build") from error


def own_names() -> Names:
    """Return the names of the firmware that is beside the bench; none while it cannot be built."""
    try:
        return firmware.shortened().modules
    except BenchError:
        return {}


class Tracebacks:
    """A reader of a board's console, which makes names in tracebacks those of the sources."""

    def __init__(self, names: Callable[[], Names] = own_names) -> None:
        """Make a reader that has read nothing yet.

        Args:
            names: Returns the names of the board's firmware; called once, when there is a traceback.
        """
        self._names = names
        self._last: Mapping[str, str] = {}  # the names of the frame before, as the error may be about one

    def translate(self, event: Event) -> Event:
        """Return an event of the board as it is to be shown. Events have to come in their order."""
        if event["event"] != "console":
            return event
        return {**event, "text": self.translate_line(event["text"])}

    def translate_line(self, line: str) -> str:
        """Return a line of the console as it is to be shown. Lines have to come in their order."""
        frame = _FRAME.fullmatch(line)
        if not frame:
            names, self._last = self._last, {}
            return _QUOTED.sub(lambda found: f"'{names.get(found[1], found[1])}'", line) if names else line
        start, file, where, function = frame.groups()
        path, self._last = self._by_module.get(file, ("", {}))
        if not path:
            return line
        shown = f", in {self._last.get(function, function)}" if function else ""
        return f"{start}{path}{where}{shown}"

    @cached_property
    def _by_module(self) -> dict[str, tuple[str, Mapping[str, str]]]:
        """From what a board calls a file to its path and its names."""
        return {dotted(path): (path, names) for path, names in self._names().items()}
