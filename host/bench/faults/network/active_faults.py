"""Faults that hold on a network now, and faults that wait for a message."""

from collections import Counter
from collections.abc import Iterable

from bench.faults.network.rules import Direction, Fault, FaultKind


class ActiveFaults:
    """The state of a network's faults, and the count of its messages. It has no clock and no lock of its own."""

    def __init__(self) -> None:
        self._standing: dict[bool, dict[FaultKind, float]] = {True: {}, False: {}}
        self._lasting: list[Fault] = []
        self._ahead: dict[tuple[Direction, int], list[Fault]] = {}
        self._counts: Counter[Direction | tuple[int, bool]] = Counter()

    @property
    def steps(self) -> int:
        """The number of messages so far, over all routes and directions."""
        return self._counts[Direction.BOTH]

    @property
    def waits(self) -> bool:
        """True while a fault waits for its step."""
        return bool(self._ahead)

    @property
    def holds(self) -> bool:
        """True while any fault holds."""
        return bool(self._lasting or any(self._standing.values()))

    def heal(self) -> None:
        """End all faults, and forget those that wait. Messages are counted on."""
        self._standing = {True: {}, False: {}}
        self._lasting, self._ahead = [], {}

    def schedule(self, fault: Fault) -> None:
        """Have a fault wait for its step."""
        self._ahead.setdefault((fault.direction, fault.step), []).append(fault)

    def add(self, fault: Fault) -> None:
        """Have a fault hold from now on."""
        self._lasting.append(fault)

    def remove(self, fault: Fault) -> None:
        """End a fault that holds."""
        self._lasting.remove(fault)

    def set(self, amounts: dict[FaultKind, float], direction: Direction) -> None:
        """Set the amounts of these kinds in a direction; the other kinds stay as they are."""
        for up, standing in self._standing.items():
            if direction.covers(up=up):
                standing.update(amounts)

    def count(self, route: int, *, up: bool) -> tuple[int, list[Fault]]:
        """Count a message of a route.

        Args:
            route: The number of the route.
            up: The direction of the message.

        Returns:
            Its number among those of its route and direction, from 1, and the faults that waited for it.
        """
        way, own = Direction.UP if up else Direction.DOWN, (route, up)
        self._counts.update((Direction.BOTH, way, own))
        due = [fault for each in (Direction.BOTH, way) for fault in self._ahead.pop((each, self._counts[each]), ())]
        return self._counts[own], due

    def amounts(self, *, up: bool, due: Iterable[Fault] = ()) -> dict[FaultKind, float]:
        """Return the amounts of the faults that a message meets, by kind.

        Args:
            up: The direction of the message.
            due: Faults of this message alone, which override those that hold.
        """
        lasting = {each.kind: each.amount for each in self._lasting if each.direction.covers(up=up)}
        return self._standing[up] | lasting | {each.kind: each.amount for each in due}

    def amounts_of_both(self) -> dict[FaultKind, float]:
        """Return the amounts for faults without a direction, as REFUSE and UNAVAILABLE."""
        return self.amounts(up=False) | self.amounts(up=True)
