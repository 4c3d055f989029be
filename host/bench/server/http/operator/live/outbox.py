"""Messages that wait to be sent over one WebSocket."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

WAITING_LIMIT = 1000
"""Updates that wait for a client that reads slowly, as ThingsBoard has it."""
SIZE_LIMIT = 1 << 20
"""Characters of the values in them."""

Update = Callable[[], str | None]
"""Makes the text of an update; None if there is nothing to be said any more."""


@dataclass
class _Waiting:
    make: Update
    size: int


class Outbox:
    """Sends answers and updates in their order.

    An update is made when it is its turn: to have one wait costs whoever caused it next to nothing.

    Args:
        send: Sends a message; takes as long as the client does.
        on_full: Called when too many updates wait.
    """

    def __init__(self, send: Callable[[str], Awaitable[None]], on_full: Callable[[], None]) -> None:
        self._send = send
        self._on_full = on_full
        self._waiting: deque[_Waiting | asyncio.Future[Sequence[str]]] = deque()
        self._updates = self._size = 0
        self._full = False
        self._some = asyncio.Event()
        self._none = asyncio.Event()

    def reserve(self) -> "asyncio.Future[Sequence[str]]":
        """Return the place of answers that are being made: what is put after it waits for them."""
        place: asyncio.Future[Sequence[str]] = asyncio.get_running_loop().create_future()
        self._put(place)
        return place

    def put(self, make: Update, size: int) -> None:
        """Have an update sent; one that is larger than the limit waits if no other does."""
        if self._full:
            return
        if self._updates and (self._updates >= WAITING_LIMIT or self._size + size > SIZE_LIMIT):
            self._full = True
            self._on_full()
            return
        self._updates += 1
        self._size += size
        self._put(_Waiting(make, size))

    def _put(self, item: "_Waiting | asyncio.Future[Sequence[str]]") -> None:
        self._waiting.append(item)
        self._none.clear()
        self._some.set()

    async def run(self) -> None:
        """Send, until cancelled or the connection is lost."""
        try:
            while True:
                await self._some.wait()
                item = self._waiting[0]
                texts = [item.make()] if isinstance(item, _Waiting) else await item
                for text in texts:
                    if text is not None and not self._full:
                        await self._send(text)
                    await asyncio.sleep(0)  # a client that reads as fast as this sends must not keep others waiting
                self._waiting.popleft()
                if isinstance(item, _Waiting):
                    self._updates -= 1
                    self._size -= item.size
                if not self._waiting:
                    self._some.clear()
                    self._none.set()
        finally:
            self._full = True
            self._none.set()

    async def flush(self) -> None:
        """Wait until everything is sent."""
        while self._waiting and not self._full:
            await self._none.wait()
