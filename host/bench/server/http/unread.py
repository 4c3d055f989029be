"""Clients that do not read: what waits for them, and the end of their connection, is waited for not too long."""

import asyncio
import math

from bench.server.connections import Slot

# A client that reads nothing of what waits for it, or does not take the end of its connection, is left after so long.
UNREAD_S = 30.0
LINGER_S = 10.0


class LeavesUnread(asyncio.Protocol):
    """A connection of uvicorn's that is left if its client does not read: the first base of two that are."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    slot: Slot
    _unread: asyncio.TimerHandle | None = None
    _closing_since = math.inf

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_S, self.transport.abort)
        self.slot.set_unread(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
            self.slot.set_unread(0)

    def drop_unfinished_request(self) -> None:
        """Close the connection if part of a request has arrived, but not all of it: there is none."""

    def check(self) -> None:
        """Leave a client that does not read to the end of its connection."""
        now = self.loop.time()
        if self.transport.is_closing():
            self._closing_since = min(self._closing_since, now)
            if now - self._closing_since >= LINGER_S:
                self.transport.abort()
