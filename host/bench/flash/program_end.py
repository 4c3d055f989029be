"""Finding out from a board's console that its program has ended by an exception."""

import re

from bench.contract.events import Event

_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(: .*)?")
_PROMPT = 'Type "help()" for more information.'
_INTERRUPT = "KeyboardInterrupt"  # the bench's own, which stops a program before the board is reset


class ProgramEnd:
    """Reader of a console for an exception after which MicroPython's prompt follows: nothing caught it."""

    def __init__(self) -> None:
        self._in_traceback = False
        self._exception = ""

    def feed(self, event: Event) -> str:
        """Return the exception that ended the program; empty while it runs.

        Args:
            event: The next event of the board.
        """
        text = str(event["text"]).rstrip() if event["event"] == "console" else ""
        if text == _TRACEBACK:
            self._in_traceback, self._exception = True, ""
        elif self._in_traceback and text and not text.startswith(" "):
            self._in_traceback = False
            self._exception = text if _EXCEPTION.fullmatch(text) else ""
        elif text == _PROMPT and not self._exception.startswith(_INTERRUPT):
            return self._exception
        return ""
