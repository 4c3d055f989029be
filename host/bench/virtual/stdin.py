"""The standard input of a virtual board: text goes through a FIFO, Ctrl-C is a signal to the interpreter."""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections import deque
from pathlib import Path

_INTERRUPT_S = 0.5
_CTRL_C = b"\x03"
_TYPED_AHEAD = 1 << 20  # bytes that a board may be behind


class Stdin:
    """Typed keys, kept until the board reads them."""

    def __init__(self, path: Path) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        # open at both ends: never at its end, whoever comes and goes, and whatever is reset
        self.standard_input = path.open("r+b", buffering=0)
        """The board's end."""
        self._keys = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        self._typed: deque[bytes] = deque()
        self._interrupt_by = 0.0  # 0: no Ctrl-C waits

    def close(self) -> None:
        """Close both ends."""
        self.standard_input.close()
        os.close(self._keys)

    def type(self, keys: bytes) -> None:
        """Type keys, Ctrl-C too. Keys that the board has no room for are lost, as in the buffer of a UART."""
        if sum(map(len, self._typed)) + len(keys) > _TYPED_AHEAD:
            return
        self._typed.extend(part for part in re.split(b"(\x03)", keys) if part)

    def deliver(self, board: subprocess.Popen[bytes], *, interruptible: bool) -> None:
        """Deliver typed keys, as far as the board's process can receive them now.

        A signal is safe while the interpreter waits for something: so that is awaited. A program that never waits is
        interrupted all the same.

        Args:
            board: The process.
            interruptible: False while the board has not got to its programs, and ignores Ctrl-C.
        """
        while self._typed:
            if self._typed[0] == _CTRL_C:
                if not self._interrupt(board, interruptible=interruptible):
                    return
            else:
                with contextlib.suppress(BlockingIOError):
                    self._typed[0] = self._typed[0][os.write(self._keys, self._typed[0]) :]
                if self._typed[0]:
                    return
            self._typed.popleft()

    def _interrupt(self, board: subprocess.Popen[bytes], *, interruptible: bool) -> bool:
        """Interrupt the interpreter; return False if it should be later."""
        now = time.monotonic()
        self._interrupt_by = self._interrupt_by or now + _INTERRUPT_S
        if now < self._interrupt_by and not (interruptible and _waits(board.pid)):
            return False
        if interruptible:
            board.send_signal(signal.SIGINT)
        self._interrupt_by = 0.0
        return True


def _waits(pid: int) -> bool:
    """Return whether a process is asleep, in a system call that is not about the flash."""
    try:
        return "\nState:\tS" in Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it is gone, or this host does not report it
        return True
