"""Locks on serial ports that outlast the programs which open them.

A serial port is locked by the program that has it open, and esptool, mpremote and the bench open it in turn:
another run could slip in between. So every connection of the bench first takes a lock file in the user's cache.
The operating system releases it when its process ends, however that comes.
"""

import hashlib
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from bench import paths
from bench.serial.ports import PortError, is_url

_POLL_S = 0.05


class PortLock:
    """A lock on a port, held by this process until `release`. A context manager.

    The same process may hold several of the same port; the port is free when the last one is released.
    """

    def __init__(self, port: str) -> None:
        """Acquire the lock, without waiting.

        Args:
            port: A device's path or a URL. A device is the same under all its names, a URL with any options.

        Raises:
            PortError: Another process holds it. The message names that process.
        """
        self.port = port
        # one instance a file: it counts how often this process holds it, in whichever thread
        self._lock: FileLock | None = FileLock(_lock_file(port), blocking=False, thread_local=False, is_singleton=True)
        holder = Path(self._lock.lock_file)
        try:
            self._lock.acquire()
        except Timeout:
            who = holder.read_text().strip() or "another program"
            raise PortError(port, f"in use by {who}: end that program first") from None
        holder.write_text(f"{Path(sys.argv[0]).name or 'python'} (process {os.getpid()})")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Release the lock; no-op if it was released before."""
        if self._lock:
            self._lock.release()
            self._lock = None


def acquire_first_free(ports: Sequence[str], count: int = 1, *, patience_s: float) -> list[PortLock]:
    """Lock the first ports that no other process holds: as many as wanted, or none.

    None are kept while there are too few: two processes with one each, waiting for another, would wait for ever.

    Args:
        ports: Ports to choose from, in order of preference.
        count: Number of ports wanted.
        patience_s: Seconds to wait for ports that are in use.

    Returns:
        The locks, `count` of them, for the caller to release.

    Raises:
        PortError: There were not as many within `patience_s`.
    """
    deadline = time.monotonic() + patience_s
    while True:
        with ExitStack() as acquired:
            found: list[PortLock] = []
            for port in ports:
                if len(found) == count:
                    break
                try:
                    found.append(acquired.enter_context(PortLock(port)))
                except PortError as error:
                    in_use = error
            if len(found) == count:
                acquired.pop_all()
                return found
        if time.monotonic() > deadline:
            raise in_use
        time.sleep(_POLL_S)


def _lock_file(port: str) -> Path:
    """Return the lock file of a port, in a folder that exists."""
    place = port.partition("?")[0] if is_url(port) else os.path.realpath(port)
    folder = paths.user_cache() / "ports"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{hashlib.sha256(place.encode()).hexdigest()[:16]}.lock"
