"""Reading and writing payloads without holding up the event loop."""

import asyncio
from collections.abc import Callable, Sized
from typing import Any, TypeVar

T = TypeVar("T")

# Bytes of a payload that is read at once. A longer one is read in a thread, one after the other.
QUICKLY_READ = 8192
# Likewise of values that are written.
_QUICKLY_WRITTEN = 256


class Payloads:
    """Reads what devices and strangers send, and writes answers. Strangers' long payloads keep no device's waiting."""

    def __init__(self) -> None:
        self._turns = {known: asyncio.Lock() for known in (True, False)}

    async def read(self, read: Callable[..., T], payload: bytes, *args: Any, known: bool = True) -> T:
        """Return what a payload says.

        Args:
            read: A function of `device_json`.
            payload: Its first argument.
            args: Its others.
            known: Whether the sender is a device.
        """
        if len(payload) <= QUICKLY_READ:
            return read(payload, *args)
        async with self._turns[known]:
            return await asyncio.to_thread(read, payload, *args)

    async def write(self, write: Callable[..., bytes], *groups: Sized) -> bytes:
        """Return the payload that a function of `device_json` makes of groups of values."""
        if sum(map(len, groups)) <= _QUICKLY_WRITTEN:
            return write(*groups)
        async with self._turns[True]:
            return await asyncio.to_thread(write, *groups)
