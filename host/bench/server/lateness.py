"""The lateness of a production server, for boards and tests that trust too much in its answers.

A ThingsBoard with its queues acknowledges a message before it is stored, and what happens at the same moment in two
places of it has no order. This server is on time by default: a message that it acknowledged is on the disk.
"""

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from bench.registry.batching import Conflict
from bench.server.presence import Stop

# Messages that wait to be stored; what comes on top is stored at once.
_LIMIT = 10_000


@dataclass(frozen=True)
class Lateness:
    """Delays in seconds, each as seen on running ThingsBoards."""

    store_s: tuple[float, float] = (0.0, 0.0)
    """From the acknowledgement of a message until it is stored: at least, at most."""
    puback_s: float = 0.0
    """Until a PUBACK, at most; by that they may change places."""
    subscribe_s: float = 0.0
    """From SUBACK until changes of shared attributes are sent."""
    session_s: float = 0.0
    """From CONNACK until new credentials end the session; before, they leave it open."""

    def puback(self) -> float:
        """Return a delay for a PUBACK."""
        return _between(0, self.puback_s)

    def begin(self, seconds: float, listen: Callable[[], Stop]) -> Stop:
        """Begin to listen in so many seconds; return what stops it, also before."""
        if not seconds:
            return listen()
        begun: list[Stop] = []
        timer = asyncio.get_running_loop().call_later(seconds, lambda: begun.append(listen()))

        def stop() -> None:
            timer.cancel()
            for each in begun:
                each()

        return stop


def _between(least: float, most: float) -> float:
    return random.uniform(least, most)  # noqa: S311 - it keeps no secret


NONE = Lateness()
PRODUCTION = Lateness((0.05, 0.2), 0.03, 0.02, 0.1)

injected: Lateness | None = None
"""A fault: how late every server of this process is, whatever its own options say."""


class LateStore:
    """Stores what devices report some time after it was acknowledged, each device's messages in their order.

    Args:
        on_failure: Called with an error that no one else is told.
        on_gone: Called with a device that was deleted meanwhile.
    """

    def __init__(self, on_failure: Callable[[BaseException], None], on_gone: Callable[[uuid.UUID], None]) -> None:
        self._on_failure = on_failure
        self._on_gone = on_gone
        self._last: dict[uuid.UUID, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()

    async def put(
        self, device_id: uuid.UUID, after_s: tuple[float, float], store: Callable[[], Awaitable[None]]
    ) -> None:
        """Have something stored later.

        Args:
            device_id: Whose it is.
            after_s: In how many seconds, at least and at most.
            store: Stores it.
        """
        before = self._last.get(device_id)
        if len(self._tasks) >= _LIMIT:
            await self._store(before, device_id, 0, store)
            return
        task = asyncio.create_task(self._store(before, device_id, _between(*after_s), store))
        self._last[device_id] = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: self._forget(device_id, done))

    async def drain(self) -> None:
        """Store at once what waits."""
        self._over.set()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _store(
        self,
        before: asyncio.Task[None] | None,
        device_id: uuid.UUID,
        seconds: float,
        store: Callable[[], Awaitable[None]],
    ) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
        if before is not None:
            await asyncio.wait([before])
        try:
            await store()
        except Conflict:
            self._on_gone(device_id)
        except Exception as error:  # noqa: BLE001 - it was acknowledged: there is no one left to tell
            self._on_failure(error)

    def _forget(self, device_id: uuid.UUID, done: asyncio.Task[None]) -> None:
        if self._last.get(device_id) is done:
            del self._last[device_id]
