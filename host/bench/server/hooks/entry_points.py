"""Python functions that get events: entry points of installed packages, called one after the other in a thread.

They get an event once or, if the server dies or they are too slow, not at all: a webhook is for what must not be lost.
"""

import asyncio
import copy
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import entry_points
from typing import Any

from bench.registry.hook_events import Event, Feed
from bench.server.journal import Journal

GROUP = "firstboot.hooks"
WAITING = 10_000
"""Events that wait for the functions."""
# For what waits when the server ends.
_CLOSE_S = 1.0


class EntryPoints:
    """The functions that are installed, and the thread that calls them. One that cannot be loaded is left out.

    Args:
        feed: Has the events.
        journal: Told which were loaded, and which raise errors.
    """

    def __init__(self, feed: Feed, journal: Journal) -> None:
        self._journal = journal
        self._loop = asyncio.get_running_loop()
        self._functions: dict[str, Callable[[Event], Any]] = {}
        for each in sorted(entry_points(group=GROUP), key=lambda each: each.name):
            try:
                self._functions[each.name] = each.load()
            except Exception as error:  # noqa: BLE001 - of somebody else's package
                journal.failure(error, what="hook", hook=each.name)
        self._waiting: queue.Queue[Event | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="hooks", daemon=True)
        if self._functions:
            journal.write("hooks_loaded", hooks=list(self._functions))
            self._thread.start()
            feed.listen(self._put)

    def _put(self, events: Sequence[Event]) -> None:
        """Have the functions called with events, from any thread. Those for which there is no room are lost."""
        for event in events:
            try:
                self._waiting.put_nowait(event)
            except queue.Full:
                self._write_soon(lambda: self._journal.write_rarely("hook_dropped", waiting=WAITING))

    async def close(self) -> None:
        """Have what waits dealt with, for a second at most."""
        if self._functions:
            with suppress(queue.Full):
                self._waiting.put_nowait(None)
            await asyncio.to_thread(self._thread.join, _CLOSE_S)

    def _run(self) -> None:
        while (event := self._waiting.get()) is not None:
            for name, function in self._functions.items():
                try:
                    function(copy.deepcopy(event))
                except Exception as error:  # noqa: BLE001 - of somebody else's package
                    self._report(error, name)

    def _report(self, error: Exception, name: str) -> None:
        self._write_soon(lambda: self._journal.failure(error, what="hook", hook=name))

    def _write_soon(self, write: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(write)
