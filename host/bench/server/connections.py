"""Connections of all TCP transports: how many there may be, and which one has to go if there are too many.

A connection is a *stranger* until a device is logged in on it, and whenever it has no whole request under way: it has
shown no right to be there yet. If there are too many, the oldest stranger has to go, of the address that has the most
of them. So connections that say nothing take the place of no one but themselves, however many there are, and one
address is in the way of no other.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from bench import addresses
from bench.server.journal import Journal

# All connections together, unless an option says otherwise; fewer where fewer files may be open.
CONNECTIONS = 20_000
# Of these, how many may be strangers: so many of all, but never more than so many; and likewise from one address.
STRANGERS_SHARE, STRANGERS = 0.5, 4096
ADDRESS_SHARE, ADDRESS = 0.25, 1024
# Bytes of answers over HTTP that wait for clients to read them, of all and of one address.
UNREAD, UNREAD_ADDRESS = 256 << 20, 64 << 20
# Files that are open besides connections: databases, logs, certificates. Some are opened only later.
_OTHER_FILES = 64
_FEWEST = 8


@dataclass(frozen=True)
class Bounds:
    """Numbers of connections: in all, strangers, and strangers from one address."""

    all: int
    strangers: int
    address: int

    @classmethod
    def of(cls, wanted: int, files: float) -> "Bounds":
        """Return the bounds for so many connections, of which each takes one of the files that may still be opened."""
        count = int(max(_FEWEST, min(wanted, files - _OTHER_FILES)))
        return cls(
            count,
            max(1, min(STRANGERS, int(count * STRANGERS_SHARE))),
            max(1, min(ADDRESS, int(count * ADDRESS_SHARE))),
        )


class Slot:
    """One connection's place among all. `place` is what counts as its address."""

    __slots__ = ("_connections", "abort", "exempt", "known", "place", "released")

    def __init__(self, connections: "Connections", place: str, *, exempt: bool) -> None:
        self._connections = connections
        self.place = place
        self.exempt = exempt
        self.known = self.released = False
        self.abort: Callable[[], object] = _no_action

    def set_known(self, known: bool) -> None:  # noqa: FBT001 - it says what it is
        """Say whether the connection has shown a right to be there."""
        if known is not self.known:
            self.known = known
            self._connections.move(self)

    def set_address(self, address: str) -> None:
        """Say whose connection it is, as a proxy told."""
        self._connections.move_to(self, addresses.network(address))

    def set_unread(self, size: int) -> None:
        """Say how many bytes wait for the client to read them."""
        self._connections.set_unread(self, size)

    def release(self) -> None:
        """Give the place back; twice does no harm."""
        self._connections.release(self)


class Connections:
    """All connections of a server.

    Args:
        bounds: How many there may be.
        journal: Is told of what is refused, once a minute.
        is_exempt: Returns whether an address's strangers count for all only, not for the address.
    """

    def __init__(self, bounds: Bounds, journal: Journal, *, is_exempt: Callable[[str], bool]) -> None:
        self.bounds = bounds
        self.refused = 0
        """Connections that were closed to make room, or found none, so far."""
        self.journal = journal
        self._is_exempt = is_exempt
        self._slots: set[Slot] = set()
        self._strangers: dict[str, OrderedDict[Slot, None]] = {}
        self._stranger_count = 0
        self._unread: dict[str, OrderedDict[Slot, int]] = {}
        self._unread_at: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._slots)

    def admit(self, address: str) -> Slot | None:
        """Return a place for a new connection from an address; None if all are taken by those that may stay."""
        slot = Slot(self, addresses.network(address), exempt=self._is_exempt(address))
        own = self._strangers.get(slot.place, ())
        if len(own) >= self.bounds.address and not slot.exempt:
            self._make_room(slot.place, "address")
        elif self._stranger_count >= self.bounds.strangers:
            self._make_room(self._most(), "strangers")
        if len(self._slots) >= self.bounds.all:
            if not self._stranger_count:
                self._refuse(slot.place, "all")
                return None
            self._make_room(self._most(), "all")
        self._slots.add(slot)
        self._add(slot)
        return slot

    def abort_all(self) -> None:
        """Close all connections at once."""
        for slot in list(self._slots):
            slot.abort()

    # The slots' side.

    def move(self, slot: Slot) -> None:
        """Note that a connection became a stranger, or is not one any more."""
        if slot in self._slots:
            if slot.known:
                self._remove(slot)
            else:
                self._add(slot)

    def move_to(self, slot: Slot, place: str) -> None:
        """Note that a stranger's connection comes from another address."""
        if slot in self._slots and not slot.known and slot.place != place:
            self._remove(slot)
            slot.place = place
            self._add(slot)
            if len(self._strangers[place]) > self.bounds.address:
                self._make_room(place, "address")

    def set_unread(self, slot: Slot, size: int) -> None:
        """Note what waits for a client; if that is too much, cut off who has waited longest where most waits."""
        self._forget_unread(slot)
        if size and slot in self._slots:
            self._unread.setdefault(slot.place, OrderedDict())[slot] = size
            self._unread_at[slot.place] += size
            while self._unread_at[slot.place] > UNREAD_ADDRESS and not slot.exempt:
                self._cut_off(slot.place, "unread_address")
            while self._unread_at.total() > UNREAD:
                self._cut_off(self._unread_at.most_common(1)[0][0], "unread")

    def _cut_off(self, place: str, bound: str) -> None:
        longest = next(iter(self._unread[place]))
        self.release(longest)
        self._refuse(place, bound)
        longest.abort()

    def _forget_unread(self, slot: Slot) -> None:
        own: dict[Slot, int] = self._unread.get(slot.place, OrderedDict())
        self._unread_at[slot.place] -= own.pop(slot, 0)
        if not own:
            self._unread.pop(slot.place, None)
            del self._unread_at[slot.place]

    def release(self, slot: Slot) -> None:
        """Forget a connection."""
        self._forget_unread(slot)
        if slot in self._slots:
            self._slots.discard(slot)
            slot.released = True
            if not slot.known:
                self._remove(slot)

    def _add(self, slot: Slot) -> None:
        self._strangers.setdefault(slot.place, OrderedDict())[slot] = None
        self._stranger_count += 1

    def _remove(self, slot: Slot) -> None:
        own = self._strangers[slot.place]
        del own[slot]
        self._stranger_count -= 1
        if not own:
            del self._strangers[slot.place]

    def _most(self) -> str:
        return max(self._strangers, key=lambda place: len(self._strangers[place]))

    def _make_room(self, place: str, bound: str) -> None:
        oldest = next(iter(self._strangers[place]))
        self.release(oldest)
        self._refuse(place, bound)
        oldest.abort()

    def _refuse(self, place: str, bound: str) -> None:
        self.refused += 1
        limits = {"all": self.bounds.all, "strangers": self.bounds.strangers, "address": self.bounds.address}
        limit = {**limits, "unread": UNREAD, "unread_address": UNREAD_ADDRESS}[bound]
        self.journal.write_rarely("too_many_connections", peer=place, bound=bound, limit=limit)


def _no_action() -> None:
    pass
