"""Per-address and per-name limits on failed attempts: wrong keys and secrets, and refused logins.

Failures are counted in windows of a minute:

- A caller (an address and the name it gives) that failed too often is refused for the rest of the window, and its
  attempts then count for no one: one bad board uses up its own share and no more.
- An address may fail more often, with all its names together. A fleet behind one NAT has the room; a guesser who makes
  up names does not. Beyond that it is still served what it logged in with before: a guesser locks out no neighbour.
- A key (of a profile, or a user name) may fail more often still, from everywhere together. Beyond that, those addresses
  are refused that failed with it themselves: a fleet that never did is served. An account, whose name is its key, is
  then closed to every address that it was not used from before. A person's account is closed so for an hour, after
  fewer failures: people choose worse passwords than devices.

The sender of a datagram may be anybody: its address costs no round trip. Its failures have counts of their own, which
refuse datagrams and nothing else.
"""

import asyncio
import contextlib
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import lru_cache

from bench import addresses

# Requests of one address that are decided at once; the others wait for their turn. So many may fail beyond a
# limit, less one, since what is not decided yet is not counted. Enough to share commits.
AT_ONCE = 32
# Counts of a kind, some 300 bytes each. Beyond that those are forgotten that failed least lately: who goes on guessing
# stays.
COUNTS = 8192
# What logged in from where; likewise.
KNOWN = 32_768
# Addresses whose place is remembered: those of the requests of the moment. Who is only checked takes no memory.
_PLACES = 32
_HOUR_S = 3600.0


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
    per_person: int = 100
    """For a person's account, from everywhere together, in an hour."""
    lift_loopback: bool = False
    """True for a bench that tests itself: callers on this machine have no limits."""


class _Counts:
    """Numbers of failures. Names and keys are there by their hashes: they may be long, and secret."""

    def __init__(self) -> None:
        self._failures: OrderedDict[Hashable, int] = OrderedDict()

    def of(self, counted: Hashable) -> int:
        return self._failures.get(counted, 0)

    def add(self, counted: Hashable, number: int = 1) -> None:
        self._failures[counted] = self._failures.pop(counted, 0) + number
        if len(self._failures) > COUNTS:
            self._failures.popitem(last=False)

    def clear(self) -> None:
        self._failures.clear()


class _Window:
    """Counts that are forgotten together when their time is over."""

    def __init__(self, clock: Callable[[], float], seconds: float, kinds: int) -> None:
        self._clock = clock
        self._seconds = seconds
        self._ends = 0.0
        self.counts = tuple(_Counts() for _ in range(kinds))

    def begin(self) -> None:
        """Begin another window if this one is over."""
        if (now := self._clock()) >= self._ends:
            for each in self.counts:
                each.clear()
            self._ends = now + self._seconds

    def limited(self) -> Limited:
        return Limited(max(1, int(self._ends - self._clock()) + 1))


class _Ledger:
    """All that is remembered of senders who are as credible as each other."""

    def __init__(self, clock: Callable[[], float], rules: Rules) -> None:
        self.window = _Window(clock, rules.window_s, 4)
        self.callers, self.places, self.keys, self.keys_at = self.window.counts
        self.hour = _Window(clock, _HOUR_S, 1)
        (self.persons,) = self.hour.counts
        self._known: OrderedDict[tuple[str, int], None] = OrderedDict()

    def knows(self, place: str, name: str) -> bool:
        """Return whether an account was used from there."""
        return (place, hash(name)) in self._known

    def remember(self, place: str, name: str) -> None:
        self._known[place, hash(name)] = None
        self._known.move_to_end((place, hash(name)))
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)


class Limits:
    """Counts failures. `clock`: seconds, monotonic.

    Each method takes the sender's address, and whether it is `proven` to be the sender's own: by a TCP handshake.
    """

    def __init__(self, rules: Rules, clock: Callable[[], float] = time.monotonic) -> None:
        self._rules = rules
        self._ledgers = {proven: _Ledger(clock, rules) for proven in (True, False)}
        self._place = lru_cache(maxsize=_PLACES)(self._look_up)  # each request needs it several times
        self._turns: weakref.WeakValueDictionary[tuple[str, bool], asyncio.Semaphore] = weakref.WeakValueDictionary()

    def turn(self, address: str, *, proven: bool = True) -> AbstractAsyncContextManager[None]:
        """Return a lock that waits for an address's turn: `async with` it check, decide, and count a failure."""
        place = self.place(address)
        if place is None:
            return contextlib.nullcontext()
        turns = self._turns.get((place, proven))
        if turns is None:
            turns = self._turns[place, proven] = asyncio.Semaphore(AT_ONCE)
        return turns

    def check(self, address: str, name: str, key: str, *, proven: bool = True, person: bool = False) -> None:
        """Raise Limited if this caller is to be refused.

        Args:
            address: The sender's.
            name: What the caller calls itself; for a login the same as the key.
            key: What is guessed at.
            proven: Whether the address is the sender's own.
            person: Whether the account is a person's.
        """
        place = self.place(address)
        if place is None:
            return
        ledger, rules = self._ledgers[proven], self._rules
        ledger.window.begin()
        if ledger.callers.of((place, hash(name))) >= rules.per_caller:
            raise ledger.window.limited()
        if ledger.knows(place, name):
            return
        closed_to_all = name == key
        if ledger.places.of(place) >= rules.per_address or (
            ledger.keys.of(hash(key)) >= rules.per_key and (closed_to_all or ledger.keys_at.of((place, hash(key))))
        ):
            raise ledger.window.limited()
        if person:
            ledger.hour.begin()
            if ledger.persons.of(hash(key)) >= rules.per_person:
                raise ledger.hour.limited()

    def check_address(self, address: str, *, proven: bool = True) -> None:
        """Raise Limited if an address failed so often that what it sent now is not even to be read."""
        if (place := self.place(address)) is not None:
            ledger = self._ledgers[proven]
            ledger.window.begin()
            if ledger.places.of(place) >= self._rules.per_address:
                raise ledger.window.limited()

    def failed(self, address: str, name: str, key: str, *, proven: bool = True, person: bool = False) -> None:
        """Count a failure of a caller that was not refused."""
        place = self.place(address)
        if place is None:
            return
        ledger = self._ledgers[proven]
        ledger.callers.add((place, hash(name)))
        ledger.places.add(place)
        ledger.keys.add(hash(key))
        ledger.keys_at.add((place, hash(key)))
        if person:
            ledger.persons.add(hash(key))

    def failed_at(self, address: str, *, number: int = 1, proven: bool = True) -> None:
        """Count failures for an address alone: of a request that names nobody, or that cost as much as several."""
        if number and (place := self.place(address)) is not None:
            self._ledgers[proven].places.add(place, number)

    def succeeded(self, address: str, name: str, *, proven: bool = True) -> None:
        """Remember that an account was used from an address."""
        if (place := self.place(address)) is not None:
            self._ledgers[proven].remember(place, name)

    def is_known(self, address: str, name: str) -> bool:
        """Return whether an account was used from a proven address before, or whether that has no limits."""
        place = self.place(address)
        return place is None or self._ledgers[True].knows(place, name)

    def place(self, address: str) -> str | None:
        """Return what counts as one address: of IPv6 the network of 64 bits. None for one without limits."""
        return self._place(address)

    def _look_up(self, address: str) -> str | None:
        lifted = self._rules.lift_loopback and addresses.is_loopback(address)
        return None if lifted else addresses.network(address)
