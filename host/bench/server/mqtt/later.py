"""Messages of a gateway that wait for a hook, each behind those before it that are about the same devices."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any

MESSAGES = 100
"""Messages of one gateway that wait at once: beyond that the gateway itself waits."""
BYTES = 256 << 10
"""Bytes of them, likewise."""

Work = Callable[[], Coroutine[Any, Any, None]]


class Later:
    """The messages that wait."""

    def __init__(self) -> None:
        self._last: dict[str, asyncio.Task[None]] = {}
        self._sizes: dict[asyncio.Task[None], int] = {}

    def has(self, names: Collection[str]) -> bool:
        """Return whether a message that comes now has to wait behind others about the same devices."""
        return not self._last.keys().isdisjoint(names) and asyncio.current_task() not in self._sizes

    async def add(self, names: Collection[str], size: int, work: Work) -> None:
        """Have work done after what waits for these devices; return at once while there is room for more.

        Args:
            names: The devices.
            size: The bytes that are kept for it.
            work: Handles a message. It raises nothing.
        """
        before = {self._last[name] for name in names if name in self._last}
        task = asyncio.create_task(_after(before, work))
        self._last |= dict.fromkeys(names, task)
        self._sizes[task] = size
        task.add_done_callback(lambda _: self._forget(task, names))
        while len(self._sizes) > MESSAGES or sum(self._sizes.values()) > BYTES:
            await asyncio.wait(self._sizes, return_when=asyncio.FIRST_COMPLETED)

    def _forget(self, task: asyncio.Task[None], names: Collection[str]) -> None:
        del self._sizes[task]
        for name in names:
            if self._last.get(name) is task:
                del self._last[name]

    def cancel(self) -> None:
        """Handle none of them any more."""
        for task in list(self._sizes):
            task.cancel()


async def _after(before: Collection[asyncio.Task[None]], work: Work) -> None:
    if before:
        await asyncio.wait(before)
    await work()
