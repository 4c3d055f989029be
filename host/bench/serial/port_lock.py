"""Ports that a process has for itself, for as long as it likes: also while no program has them open.

A serial port is locked by who opens it, which esptool, mpremote and the bench do in turn; between them
another run could slip in. So every line of the bench takes a lock in the user's cache first.
"""

import fcntl
import hashlib
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self, TextIO

import platformdirs

from bench.serial.ports import PortError, is_url

_POLL_S = 0.05  # another process's lock cannot be awaited with a deadline

_held: dict[str, tuple[TextIO, int]] = {}
_guard = threading.Lock()


class PortLock:
    """A port that is this process's until `release`. The same process may have several of the same port."""

    def __init__(self, port: str) -> None:
        """Take it. Raises PortError if another process has it."""
        self.port = port
        self._name = _name(port)
        with _guard:
            lock, count = _held.get(self._name) or (_lock(port, self._name), 0)
            _held[self._name] = (lock, count + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Give it free, once."""
        if not self._name:
            return
        with _guard:
            lock, count = _held.pop(self._name)
            if count > 1:
                _held[self._name] = (lock, count - 1)
            else:
                lock.close()
        self._name = ""


def acquire_first_free(ports: Sequence[str], count: int = 1, *, patience_s: float) -> list[PortLock]:
    """The first of some ports that no other process has: so many, or none.

    Two who have one each and wait for another would wait for ever. Raises PortError if there are not as many
    within `patience_s`.
    """
    deadline = time.monotonic() + patience_s
    while True:
        with ExitStack() as taken:
            found: list[PortLock] = []
            for port in ports:
                if len(found) == count:
                    break
                try:
                    found.append(taken.enter_context(PortLock(port)))
                except PortError as error:
                    trouble = error
            if len(found) == count:
                taken.pop_all()
                return found
        if time.monotonic() > deadline:
            raise trouble
        time.sleep(_POLL_S)


def _name(port: str) -> str:
    """What stands for a port: one device may have several names."""
    place = port.partition("?")[0] if is_url(port) else os.path.realpath(port)
    return hashlib.sha256(place.encode()).hexdigest()[:16]


def _lock(port: str, name: str) -> TextIO:
    folder = platformdirs.user_cache_path("firstboot") / "ports"
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / f"{name}.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        who = lock.read().strip() or "another program"
        lock.close()
        raise PortError(f"{port} is in use by {who}: end that first") from None
    lock.truncate(0)
    lock.write(f"{Path(sys.argv[0]).name or 'python'} (process {os.getpid()})")
    lock.flush()
    return lock
