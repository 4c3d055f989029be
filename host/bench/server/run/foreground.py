"""The server in the foreground: signals, file limits, and its addresses in files for other commands."""

import asyncio
import gc
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from bench import file_limits, paths
from bench.server.journal import Journal
from bench.server.server import Options, Server
from bench.server.tls import authority

_FILES = 65536
# Seconds for which a thread may keep the event loop from going on, if others want to (Python's own are 5 ms). There are
# several wake-ups in one exchange, and several threads that read long payloads or many rows.
_SWITCH_S = 0.0005
# It promises to be gone 5 s after the signal. What still holds it up then is cut short: every commit is on the disk.
_STOP_S = 4.5


async def run(
    options: Options, journal: Journal, ready_files: list[Path], welcome: Callable[[dict[str, Any], str], None]
) -> None:
    """Serve until SIGTERM or SIGINT; what is in flight then is finished.

    Args:
        options: The server's.
        journal: Gets its events.
        ready_files: Get its addresses once it listens; the first one is deleted at the end.
        welcome: Called once it listens, with its addresses and the name of the profile that a first start makes, or "".

    Raises:
        BenchError: The server cannot start.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    for path in ready_files:  # left behind by a server that was killed
        path.unlink(missing_ok=True)
    file_limits.allow(_FILES)
    sys.setswitchinterval(_SWITCH_S)
    try:
        with _Watchdog(stop, journal, ready_files[0]):
            await _serve(options, journal, ready_files, welcome, stop)
    finally:
        journal.close()


async def _serve(
    options: Options,
    journal: Journal,
    ready_files: list[Path],
    welcome: Callable[[dict[str, Any], str], None],
    stop: asyncio.Event,
) -> None:
    async with Server(options, journal) as server:
        # What lives as long as the server (mostly SQLAlchemy's objects) is not worth looking through
        # again: a full collection would hold up every exchange for 80 ms.
        gc.collect()
        gc.freeze()
        ready: dict[str, Any] = {
            "pid": os.getpid(),
            "host": options.host,
            **{f"{name}_port": port for name, port in asdict(server.ports).items()},
            "ca": str((options.tls_cert or authority.ca_file(options.data)).resolve()),
            "data": str(options.data.resolve()),
        }
        welcome(ready, server.new_profile.name if server.new_profile else "")
        try:
            for path in ready_files:
                paths.write_private(path, json.dumps(ready).encode())
            journal.write("listening", **ready)
            await stop.wait()
            journal.write("stopping")
        finally:
            ready_files[0].unlink(missing_ok=True)
    journal.write("stopped")


class _Watchdog:
    """Ends the process in time after the signal, even if what is under way does not end."""

    def __init__(self, stop: asyncio.Event, journal: Journal, ready_file: Path) -> None:
        self._journal = journal
        self._ready_file = ready_file
        self._timer = threading.Timer(_STOP_S, self._end)
        self._timer.daemon = True
        self._waiting = asyncio.create_task(self._wait(stop))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.cancel()
        self._timer.cancel()

    async def _wait(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._timer.start()

    def _end(self) -> None:
        self._journal.write("stop_forced")
        self._journal.close()
        self._ready_file.unlink(missing_ok=True)
        os._exit(1)
