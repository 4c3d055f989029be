"""The folder that a virtual board lives in: its identity, its serial line's two ends, and the lock on it."""

import fcntl
import json
import os
import time
from pathlib import Path
from typing import TextIO

from bench import paths
from bench.errors import BenchError

_LOCK_S = 1.0
_LOCK_POLL_S = 0.002


class BoardFolder:
    """A virtual board's folder: `flash.bin`, `board.json`, `console.log`, `console.in` and a lock."""

    def __init__(self, folder: Path) -> None:
        """Open the folder of a board.

        Args:
            folder: The folder, as `VirtualBoard.create` made it.

        Raises:
            BenchError: There is no board in this folder.
        """
        self.folder = folder
        try:
            burnt_in = json.loads((folder / "board.json").read_text())
        except FileNotFoundError:
            raise BenchError(f"no board {folder.name}: make it with bench board new {folder.name}") from None
        self.mac: str = burnt_in["mac"]
        self.definition: str = burnt_in["board"]

    @property
    def console(self) -> Path:
        """The file with everything the board ever wrote to its console."""
        return self.folder / "console.log"

    @property
    def keyboard(self) -> Path:
        """The pipe to the board's serial line; its last reader is gone when the board is off."""
        return self.folder / "console.in"

    def is_on(self) -> bool:
        """Return whether any process runs this board: its pipe has a reader then."""
        try:
            os.close(os.open(self.keyboard, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # no pipe, or no reader at its end
            return False
        return True

    def send_line(self, text: str) -> None:
        """Type a line on the board's serial line, from any process.

        Args:
            text: The line, without its end.

        Raises:
            BenchError: The board is off, or has not read for so long that the pipe is full.
        """
        line = text.encode(errors="surrogateescape") + b"\n"
        try:
            keyboard = os.open(self.keyboard, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            name = self.folder.name
            raise BenchError(f"board {name} is off: bench board boot {name} switches it on") from None
        try:
            written = os.write(keyboard, line)
        except (BlockingIOError, BrokenPipeError):
            written = 0
        finally:
            os.close(keyboard)
        if written < len(line):
            raise BenchError(f"board {self.folder.name} does not read what is typed")

    def lock(self) -> TextIO:
        """Lock the board, so that it is on only once.

        Returns:
            The lock's file. The lock is held until all copies of its descriptor are closed: the board's process
            inherits one.

        Raises:
            BenchError: The board is still on after a second.
        """
        # Not by filelock, whose release unlocks the file for all: here the board's process inherits the descriptor, and
        # holds the lock as long as it lives.
        paths.private_file(self.folder / "lock")
        found = (self.folder / "lock").open("w")
        # Processes that a board had started when its power was cut may live on for a moment, and hold the lock.
        deadline = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() > deadline:
                    found.close()
                    raise BenchError(f"board {self.folder.name} is on already: switch it off first") from None
                time.sleep(_LOCK_POLL_S)
            else:
                return found
