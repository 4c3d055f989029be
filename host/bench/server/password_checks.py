"""Turns at checking passwords, which is slow on purpose: strangers do not keep those waiting who have been here before.

Two passwords are checked at a time: one of somebody who logged in before from the same address, and one of the others.
An address has one check under way and a few that wait, whatever names it gives; what comes on top is refused at once.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from bench.server.limits import Limited, Limits

# Checks of an address that wait while one of it is under way; of all strangers together, under way or waiting.
PER_ADDRESS = 8
STRANGERS = 32
# Until another try is worthwhile: what a check takes, roughly.
_SOON_S = 1


class PasswordChecks:
    """The order in which passwords are checked."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lanes = {known: asyncio.Lock() for known in (True, False)}
        self._places: dict[str, asyncio.Lock] = {}
        self._waiting: Counter[str] = Counter()
        self._strangers = 0

    @asynccontextmanager
    async def turn(self, address: str, name: str) -> AsyncIterator[None]:
        """Wait for a turn: `async with` it check the limits and the password, and count a failure.

        Args:
            address: The sender's.
            name: The name of the account for the limits.

        Raises:
            Limited: Too many wait already.
        """
        known = self._limits.is_known(address, name)
        place = self._limits.place(address)
        # Who was here before waits for no stranger, not even for one behind the same NAT
        group = f"{known} {place}"
        if place is not None and (self._waiting[group] > PER_ADDRESS or (not known and self._strangers >= STRANGERS)):
            raise Limited(_SOON_S)
        self._waiting[group] += 1
        self._strangers += not known
        own = nullcontext() if place is None else self._places.setdefault(group, asyncio.Lock())
        try:
            async with own, self._lanes[known]:
                yield
        finally:
            self._strangers -= not known
            self._waiting[group] -= 1
            if not self._waiting[group]:
                del self._waiting[group]
                self._places.pop(group, None)
