"""Records of refusals, in the audit trail and in the journal: no more than fit, so that nobody fills either.

Room is like a bucket: it is there for so many at once, and comes back slowly. Of one address there is less than of all
together; and the senders of datagrams, whose addresses may be made up, share some of their own.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from bench.registry import audit
from bench.registry.audit import Origin, Subject
from bench.registry.model import User
from bench.registry.registry import Registry
from bench.server.journal import Journal
from bench.server.metrics import ServerMetrics

# Addresses whose room is remembered.
_ADDRESSES = 4096


@dataclass(frozen=True)
class Room:
    """Room for `at_once`, of which `per_s` a second come back."""

    at_once: int
    per_s: float


@dataclass(frozen=True, kw_only=True)
class Rooms:
    """Room for one proven address, for all of them, and for all that are not proven."""

    address: Room
    proven: Room
    unproven: Room


# Rows: 86,400 a day at most, some 25 MB, and a fifth more of forged datagrams.
AUDIT = Rooms(address=Room(120, 0.2), proven=Room(600, 1.0), unproven=Room(120, 0.2))
# Lines.
JOURNAL = Rooms(address=Room(1_000, 10.0), proven=Room(5_000, 50.0), unproven=Room(200, 2.0))


class _Bucket:
    __slots__ = ("at", "left", "room")

    def __init__(self, room: Room, now: float) -> None:
        self.room = room
        self.left = float(room.at_once)
        self.at = now

    def fill(self, now: float) -> bool:
        """Put back what came back since; return whether there is room for one."""
        self.left = min(self.room.at_once, self.left + (now - self.at) * self.room.per_s)
        self.at = now
        return self.left >= 1


class RefusalRoom:
    """The room for one kind of record. `clock`: seconds, monotonic."""

    def __init__(self, rooms: Rooms, clock: Callable[[], float] = time.monotonic) -> None:
        self._rooms = rooms
        self._clock = clock
        now = clock()
        self._shared = {True: _Bucket(rooms.proven, now), False: _Bucket(rooms.unproven, now)}
        self._own: OrderedDict[str, _Bucket] = OrderedDict()
        self.skipped = 0
        """How many had no room since this was last set to 0."""

    def acquire(self, source: Origin) -> bool:
        """Return whether there is room for a refusal of this sender, which then is taken."""
        now = self._clock()
        buckets = [self._shared[source.is_proven]]
        if source.is_proven:
            own = self._own.pop(source.address, None) or _Bucket(self._rooms.address, now)
            self._own[source.address] = own
            if len(self._own) > _ADDRESSES:
                self._own.popitem(last=False)
            buckets.append(own)
        if not all(each.fill(now) for each in buckets):
            return False
        for each in buckets:
            each.left -= 1
        return True

    def release(self, source: Origin) -> None:
        """Return room that was taken for what was not refused in the end."""
        for each in (self._shared[source.is_proven], self._own.get(source.address) if source.is_proven else None):
            if each is not None:
                each.left = min(each.room.at_once, each.left + 1)


class Refusals:
    """Records refusals as long as there is room, and then how many there was none for."""

    def __init__(self, registry: Registry, journal: Journal, metrics: ServerMetrics) -> None:
        self._registry = registry
        self._journal = journal
        self._metrics = metrics
        self._rows = RefusalRoom(AUDIT)
        self._lines = RefusalRoom(JOURNAL)

    def log(self, event: str, source: Origin, **fields: Any) -> None:
        """Write an event of a refusal to the journal."""
        if not self._lines.acquire(source):
            self._lines.skipped += 1
            self._metrics.refusal_skipped("journal")
            return
        if self._lines.skipped:
            self._journal.write("refusals_skipped", count=self._lines.skipped)
            self._lines.skipped = 0
        self._journal.write(event, peer=source.address, transport=source.transport, request=source.request, **fields)

    async def record(
        self, source: Origin, *, who: User | str = audit.DEVICE, what: str, entity: Subject | str, result: str
    ) -> None:
        """Store a row of the audit trail (see `audit.entry`)."""
        if self._rows.acquire(source):
            await self._report_skipped()
            await self._registry.record(audit.entry(source, who=who, what=what, entity=entity, result=result))
        else:
            self._skip()

    async def limited(
        self,
        source: Origin,
        retry_after_s: int,
        *,
        who: User | str = audit.DEVICE,
        what: str,
        entity: Subject | str = "",
        **fields: Any,
    ) -> None:
        """Write an event, with these fields besides, and store a row, of somebody who failed too often."""
        self.log("limited", source, retry_after_s=retry_after_s, **fields)
        await self.record(source, who=who, what=what, entity=entity, result="limited")

    def reserve(self, source: Origin) -> Origin:
        """Return the origin of what may be refused and recorded by the registry; `settle` comes after it."""
        return source if self._rows.acquire(source) else replace(source, keeps_refusal=False)

    async def settle(self, source: Origin, *, refused: bool) -> None:
        """Say what became of a reserved origin."""
        if source.keeps_refusal:
            if refused:
                await self._report_skipped()
            else:
                self._rows.release(source)
        elif refused:
            self._skip()

    def _skip(self) -> None:
        self._rows.skipped += 1
        self._metrics.refusal_skipped("audit")

    async def _report_skipped(self) -> None:
        """Store how many refusals have no row."""
        skipped, self._rows.skipped = self._rows.skipped, 0
        if skipped:
            row = audit.entry(
                audit.UNKNOWN_ORIGIN, who=audit.SERVER, what="refusals_skipped", entity="", result=f"{skipped} refusals"
            )
            await self._registry.record(row)
