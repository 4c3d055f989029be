"""Standard input of a virtual board: text goes through a FIFO, Ctrl-C is a signal to the interpreter."""

import contextlib
import os
import re
import select
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
        """Open the FIFO at this path, which is made if it is missing."""
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        # opened for reading and writing: the board never reads an end of file, whoever comes and goes, at any reset
        self.standard_input = path.open("r+b", buffering=0)
        """The board's end."""
        self._keys = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        self._typed: deque[bytes] = deque()
        self._interrupt_by = 0.0  # 0: no Ctrl-C waits

    def close(self) -> None:
        """Close both ends."""
        self.standard_input.close()
        os.close(self._keys)

    @property
    def is_waiting(self) -> bool:
        """True while typed keys wait for the board."""
        return bool(self._typed)

    def clear(self) -> None:
        """Lose what is typed and not read yet."""
        self._typed.clear()
        self._interrupt_by = 0.0
        unread = select.poll()
        unread.register(self.standard_input, select.POLLIN)
        while unread.poll(0):
            self.standard_input.read(_TYPED_AHEAD)

    def type(self, keys: bytes) -> None:
        """Type keys, Ctrl-C (03) included. If more than 1 MiB would wait, these are lost, as in a UART's buffer."""
        if sum(map(len, self._typed)) + len(keys) > _TYPED_AHEAD:
            return
        self._typed.extend(part for part in re.split(b"(\x03)", keys) if part)

    def deliver(self, board: subprocess.Popen[bytes], *, interruptible: bool) -> None:
        """Deliver typed keys, as far as the board's process can receive them now.

        A signal is safe while the interpreter waits for something, so Ctrl-C is delayed until it does. A program that
        never waits is interrupted after half a second all the same.

        Args:
            board: The board's process.
            interruptible: False while the board has not reached its programs, and ignores Ctrl-C.
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
        """Interrupt the interpreter; return False if it is too early for that."""
        now = time.monotonic()
        self._interrupt_by = self._interrupt_by or now + _INTERRUPT_S
        if now < self._interrupt_by and not (interruptible and _waits(board.pid)):
            return False
        if interruptible:
            board.send_signal(signal.SIGINT)
        self._interrupt_by = 0.0
        return True


def _waits(pid: int) -> bool:
    """Return whether a process is asleep, in a system call that does not concern the flash."""
    try:
        return "\nState:\tS" in Path(f"/proc/{pid}/status").read_text()
    except OSError:  # the process is gone, or this host has no /proc
        return True
