"""Waiting for a virtual board without looking: its output, its trace and its end wake whoever waits (Linux)."""

import ctypes
import os
import selectors
from contextlib import suppress
from pathlib import Path

_MODIFY = 0x2  # of inotify(7), for which Python has no module
_READ = 1 << 16


class Wakes:
    """Changes of files and the end of a process, for a selector.

    A board that writes much is looked at once in a while, as waking for each write would take longer than that.

    Args:
        files: The files that the board writes to, which exist.
        poll_s: How often it is looked at while it writes, or always where this system cannot wake.
    """

    def __init__(self, *files: Path, poll_s: float) -> None:
        self._poll_s = poll_s
        self._files = _watched(files)
        self._process: tuple[int, int] | None = None  # a process's id, and the descriptor that stands for it
        self._busy = True

    def close(self) -> None:
        """Close the descriptors."""
        self._close_process()
        if self._files is not None:
            os.close(self._files)

    def register(self, selector: selectors.BaseSelector, pid: int) -> float | None:
        """Register what to wait for, and return the seconds after which to look in any case; None: only if woken.

        Args:
            selector: Where to register it.
            pid: The id of the process.
        """
        process = None if self._busy or self._files is None else self._descriptor(pid)
        if process is None or self._files is None:
            return self._poll_s
        selector.register(self._files, selectors.EVENT_READ)
        selector.register(process, selectors.EVENT_READ)
        return None

    def clear(self) -> None:
        """Note that the files are about to be read: what changes from now on wakes again."""
        self._busy = False
        if self._files is not None:
            with suppress(BlockingIOError):
                while os.read(self._files, _READ):
                    self._busy = True

    def _descriptor(self, pid: int) -> int | None:
        if self._process is None or self._process[0] != pid:
            self._close_process()
            try:
                self._process = pid, os.pidfd_open(pid)
            except (AttributeError, OSError):  # another system, or the process is gone
                return None
        return self._process[1]

    def _close_process(self) -> None:
        if self._process is not None:
            os.close(self._process[1])
            self._process = None


def _watched(files: tuple[Path, ...]) -> int | None:
    """Return a descriptor that is readable after a file was written to; None where there is none, or too many are."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "inotify_init1"):
        return None
    descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        return None
    if any(libc.inotify_add_watch(descriptor, os.fsencode(each), _MODIFY) < 0 for each in files):
        os.close(descriptor)
        return None
    return descriptor
