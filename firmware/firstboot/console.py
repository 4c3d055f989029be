"""The serial console: gathers the line that a person types, and runs its command.

It is polled during every wait, so it never waits itself, and allocates nothing while nobody types.
Typed characters are echoed as long as the line is one of ours, `firstboot ...`: three words in clear, the
rest, where secrets are, as asterisks. Anything else is not echoed, so that two boards, or one whose
lines are bridged, never answer each other for ever.
"""

import select
import sys

from micropython import const

from firstboot import events, memory, temporary
from firstboot.errors import FirstbootError
from firstboot.vault import Vault

POLL_MS = 50
_NAME = b"firstboot"
# The longest line, in bytes; a longer one is dropped.
_LIMIT = const(512)
# The most bytes of one poll: input that never ends must not stop the board.
_BURST = const(256)
_CLEAR_WORDS = const(3)
_HINT = "This board listens to: firstboot help"
_HINT_MS = const(60000)

_BACKSPACE = const(8)
_NEWLINE = const(10)
_RETURN = const(13)
_SPACE = const(32)
_DELETE = const(127)


class Console:
    """A terminal on standard input.

    Args:
        vault: the board's own.
        status: a function that returns the board's state as a dict, for `firstboot status`.
    """

    def __init__(self, vault: Vault, status: object) -> None:
        self._vault = vault
        self._status = status
        # bytes: decoding text would raise for what is not UTF-8
        self._input = sys.stdin.buffer
        self._open = True
        self._poll = select.poll()
        self._poll.register(sys.stdin, select.POLLIN)
        self._byte = bytearray(1)
        self._last = 0
        self._line = bytearray(_LIMIT)
        self._hint_ms = 0  # the earliest time of the next one
        self._clear()

    def _clear(self) -> None:
        self._length = 0
        self._words = 0  # begun so far
        self._ours = True  # as far as it is known
        self._too_long = False

    def poll(self) -> None:
        """Read what was typed since the last time; run the command if that ended a line."""
        if self._open:
            for _ in range(_BURST):
                if not self._read():
                    return
                self._edit(self._byte[0])

    def _read(self) -> bool:
        for _ in self._poll.ipoll(0):
            try:
                if self._input.readinto(self._byte):
                    return True
            except OSError:  # there is no input, and never will be
                pass
            self._open = False
        return False

    def _edit(self, byte: int) -> None:
        last, self._last = self._last, byte
        if byte == _RETURN or (byte == _NEWLINE and last != _RETURN):
            self._end()
        elif byte in (_BACKSPACE, _DELETE):
            self._erase()
        elif byte < _SPACE:  # no command has control characters
            pass
        elif self._length == _LIMIT:
            self._too_long = True
        else:
            self._line[self._length] = byte
            self._length += 1
            self._echo(self._track(self._length - 1))

    def _track(self, at: int) -> str:
        """Advance by one byte; return its echo."""
        byte = self._line[at]
        if byte != _SPACE and (at == 0 or self._line[at - 1] == _SPACE):
            self._words += 1
        if at <= len(_NAME):
            self._ours = self._ours and byte == (_NAME[at] if at < len(_NAME) else _SPACE)
        if not self._ours or _continues(byte):
            return ""
        return chr(byte) if self._words <= _CLEAR_WORDS and byte < _DELETE else "*"

    def _erase(self) -> None:
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
            self._track(at)
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
            self._run(line)

    def _hint(self) -> None:
        if events.uptime_ms() >= self._hint_ms:
            self._hint_ms = events.uptime_ms() + _HINT_MS
            print(_HINT)

    def _run(self, line: bytes) -> None:
        try:
            with temporary.Imports():
                from firstboot.console_commands import Commands

                Commands(self._vault, self._status).run(line.decode())
        except UnicodeError:
            print("That line is not UTF-8; it was dropped.")
        except FirstbootError as error:
            print("error: %s" % error)
        except MemoryError:
            memory.report("console")
        except Exception as error:  # a defect in a command must not stop the board
            events.emit("error", kind="console", detail=type(error).__name__)


def _continues(byte: int) -> bool:
    """Return whether this byte continues a character (UTF-8)."""
    return byte & 0xC0 == 0x80
