"""The serial console: gathers the line that a person types, and has it answered.

It is looked at during every wait, so it never waits itself, and allocates nothing while nobody types.
What is typed is echoed as long as the line is one of ours, `firstboot ...`: three words in clear, the
rest, where secrets are, as asterisks. Anything else is not echoed, so that two boards, or one whose
lines are bridged, never talk each other to death.
"""

import select
import sys

from firstboot import events
from firstboot.errors import FirstbootError
from firstboot.vault import Vault

POLL_MS = 50
_NAME = b"firstboot"
# The longest line, in bytes; what is longer is dropped.
_LIMIT = 512
# So many bytes at a time: somebody who never stops must not stop the board.
_BURST = 256
_CLEAR_WORDS = 3
_HINT = "This board listens to: firstboot help"
_HINT_MS = 60000

_BACKSPACE, _NEWLINE, _RETURN, _SPACE, _DELETE = 8, 10, 13, 32, 127


class Console:
    """A terminal on standard input. `facts()` says how the board is, as a dict for `firstboot status`."""

    def __init__(self, vault: Vault, facts: object) -> None:
        self._vault = vault
        self._facts = facts
        # text would be decoded, and what is no text raise
        self._input = sys.stdin.buffer
        self._open = True
        self._poll = select.poll()
        self._poll.register(sys.stdin, select.POLLIN)
        self._byte = bytearray(1)
        self._last = 0
        self._line = bytearray(_LIMIT)
        self._hint_ms = 0  # when the next one may come
        self._clear()

    def _clear(self) -> None:
        self._length = 0
        self._words = 0  # begun so far
        self._ours = True  # as far as one can tell
        self._too_long = False

    def poll(self) -> None:
        """Take what was typed since the last time; answer if that ended a line."""
        if self._open:
            for _ in range(_BURST):
                if not self._read():
                    return
                self._take(self._byte[0])

    def _read(self) -> bool:
        for _ in self._poll.ipoll(0):
            try:
                if self._input.readinto(self._byte):
                    return True
            except OSError:  # there is no input, and never will be
                pass
            self._open = False
        return False

    def _take(self, byte: int) -> None:
        last, self._last = self._last, byte
        if byte == _RETURN or (byte == _NEWLINE and last != _RETURN):
            self._end()
        elif byte in (_BACKSPACE, _DELETE):
            self._take_back()
        elif byte < _SPACE:  # no command has control characters
            pass
        elif self._length == _LIMIT:
            self._too_long = True
        else:
            self._line[self._length] = byte
            self._length += 1
            self._echo(self._look(self._length - 1))

    def _look(self, at: int) -> str:
        """Go on by one byte; returns what is shown of it."""
        byte = self._line[at]
        if byte != _SPACE and (at == 0 or self._line[at - 1] == _SPACE):
            self._words += 1
        if at <= len(_NAME):
            self._ours = self._ours and byte == (_NAME[at] if at < len(_NAME) else _SPACE)
        if not self._ours or _continues(byte):
            return ""
        return chr(byte) if self._words <= _CLEAR_WORDS and byte < _DELETE else "*"

    def _take_back(self) -> None:
        """Undo the last character, which may have several bytes (UTF-8)."""
        if self._too_long or not self._length:
            return
        shown = self._ours
        length = self._length - 1
        while length and _continues(self._line[length]):
            length -= 1
        self._clear()
        self._length = length
        for at in range(length):
            self._look(at)
        if shown:
            self._echo("\b \b")

    def _echo(self, text: str) -> None:
        if text:
            events.typing = True
            sys.stdout.write(text)

    def _end(self) -> None:
        ours, too_long = self._ours and self._length >= len(_NAME), self._too_long
        line = bytes(memoryview(self._line)[: self._length])
        self._clear()
        if events.typing:
            events.typing = False
            print()
        if not ours:
            self._hint()
        elif too_long:
            print("A line has at most %d characters; this one was dropped." % _LIMIT)
        else:
            self._answer(line)

    def _hint(self) -> None:
        if events.uptime_ms() >= self._hint_ms:
            self._hint_ms = events.uptime_ms() + _HINT_MS
            print(_HINT)

    def _answer(self, line: bytes) -> None:
        try:
            from firstboot.console_commands import Operator

            Operator(self._vault, self._facts).obey(line.decode())
        except UnicodeError:
            print("That line is not UTF-8; it was dropped.")
        except FirstbootError as error:
            print("error: %s" % error)
        except Exception as error:  # whatever it is, the board has more to do than to talk
            events.emit("error", kind="console", detail=type(error).__name__)


def _continues(byte: int) -> bool:
    """Whether this byte is a later one of a character (UTF-8)."""
    return byte & 0xC0 == 0x80
