"""Per-address and per-name limits on failed attempts: wrong keys and secrets, and refused logins.

Failures are counted in windows of a minute:

- A caller (an address and the name it gives) that failed too often is refused for the rest of the window, and its
  attempts then count for no one: one bad board uses up its own share and no more.
- An address may fail more often, with all its names together. A fleet behind one NAT has the room; a guesser who makes
  up names does not.
- A key (of a profile, or a user name) may fail more often still, from everywhere together. Beyond that, those addresses
  are refused that failed with it themselves: a fleet that never did is served.
"""

import asyncio
import contextlib
import ipaddress
import time
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from bench import addresses

# Requests of one address that are decided at once; the others wait for their turn. So many may fail beyond a
# limit, less one, since what is not decided yet is not counted. Enough to share commits.
AT_ONCE = 32


class Limited(Exception):
    """Too many failures. `retry_after_s`: seconds until another try is worthwhile, at least 1."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many failures: try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Numbers of failures that a window has room for."""

    per_caller: int = 10
    per_address: int = 120
    per_key: int = 600
    window_s: float = 60.0
    lift_loopback: bool = False
    """True for a bench that tests itself: callers on this machine have no limits."""


class Limits:
    """Counts failures. `clock`: seconds, monotonic."""

    def __init__(self, rules: Rules, clock: Callable[[], float] = time.monotonic) -> None:
        self._rules = rules
        self._clock = clock
        self._failures: Counter[tuple[str | int, ...]] = Counter()
        self._ends = 0.0
        self._turns: weakref.WeakValueDictionary[str, asyncio.Semaphore] = weakref.WeakValueDictionary()

    def turn(self, address: str) -> AbstractAsyncContextManager[None]:
        """Return a lock that waits for an address's turn: `async with` it check, decide, and count a failure."""
        place = self._place(address)
        if place is None:
            return contextlib.nullcontext()
        turns = self._turns.get(place)
        if turns is None:
            turns = self._turns[place] = asyncio.Semaphore(AT_ONCE)
        return turns

    def check(self, address: str, name: str, key: str) -> None:
        """Raise Limited if this caller is to be refused."""
        place = self._place(address)
        if place is None:
            return
        now = self._clock()
        if now >= self._ends:  # a new window: what was counted is forgotten, so that no one can fill the memory
            self._failures.clear()
            self._ends = now + self._rules.window_s
        count = self._failures
        caller, at_address, with_key, both = _counted(place, name, key)
        if (
            count[caller] >= self._rules.per_caller
            or count[at_address] >= self._rules.per_address
            or (count[with_key] >= self._rules.per_key and count[both])
        ):
            raise Limited(max(1, int(self._ends - now) + 1))

    def failed(self, address: str, name: str, key: str) -> None:
        """Count a failure of a caller that was not refused."""
        place = self._place(address)
        if place is not None:
            self._failures.update(_counted(place, name, key))

    def _place(self, address: str) -> str | None:
        """Return what counts as one address: of IPv6 the network of 64 bits. None for one without limits."""
        if self._rules.lift_loopback and addresses.is_loopback(address):
            return None
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return address
        if isinstance(ip, ipaddress.IPv6Address):
            ip = ip.ipv4_mapped or ip
        return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))


def _counted(place: str, name: str, key: str) -> tuple[tuple[str | int, ...], ...]:
    """Return what a failure counts for. Names and keys by their hashes: they may be long, and secret."""
    return ("caller", place, hash(name)), ("address", place), ("key", hash(key)), ("both", place, hash(key))
