"""Faults of a network, with their kinds, amounts and times."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from bench.errors import UsageError
from bench.input_files import decoding


class FaultKind(StrEnum):
    """The kinds of network faults. The amount of most is a chance, from 0 to 1, that a message meets it."""

    DROP = "drop"  # it never arrives; on TCP what follows does
    DELAY = "delay"  # it arrives so many milliseconds late, and on TCP so does what follows in its direction
    JITTER = "jitter"  # it is late by a random time up to so many milliseconds; datagrams overtake each other
    BANDWIDTH = "bandwidth"  # of a connection, in bytes a second
    RESET = "reset"  # both ends get a RST instead: TCP's, or CoAP's
    HALF_OPEN = "half_open"  # from here on nothing passes on this connection, either way, nor does its end
    BLACKHOLE = "blackhole"  # nothing passes; TCP has it all afterwards, datagrams are lost
    TRUNCATE = "truncate"  # only its begin arrives; on TCP that is the end of the connection
    CORRUPT = "corrupt"  # some of its bytes change
    DUPLICATE = "duplicate"
    REFUSE = "refuse"  # nobody listens: new connections are refused, datagrams unreachable
    UNAVAILABLE = "unavailable"  # answered in the server's stead; seconds to stay away, or 0


CHANCES = (
    FaultKind.RESET,
    FaultKind.HALF_OPEN,
    FaultKind.DROP,
    FaultKind.TRUNCATE,
    FaultKind.CORRUPT,
    FaultKind.DUPLICATE,
)
"""Kinds that a message meets by chance."""
AT_ONE_STEP = (*CHANCES, FaultKind.DELAY, FaultKind.JITTER, FaultKind.BANDWIDTH)
"""Kinds that one message can meet alone. The others last."""
USUAL = -1.0  # recognised by its identity: -1 itself is refused as an amount
_MOST = (1 << 32) - 1  # of any amount and time, as of CoAP's Max-Age
_USUALLY = {FaultKind.DELAY: 1000.0, FaultKind.JITTER: 500.0, FaultKind.BANDWIDTH: 1000.0, FaultKind.UNAVAILABLE: 0.0}
# Kinds that hit each connection that is open at their time once, unless they have a duration.
AT_ONCE = (FaultKind.RESET, FaultKind.HALF_OPEN)


class Direction(StrEnum):
    """Direction of messages: up, from boards to the server, or down, back."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"

    def covers(self, *, up: bool) -> bool:
        """Return whether this direction includes up, or else down."""
        return self is not (Direction.DOWN if up else Direction.UP)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault: at the `step`-th message since `Network.begin`, from 1, or after `at_s` seconds.

    At a step, that one message meets it, unless it lasts: for `for_s` seconds, or, if no single message can meet its
    kind, until it is healed. At a time it lasts, too; but RESET and HALF_OPEN hit the open connections and are over,
    unless there is a `for_s`.

    Raises:
        UsageError: The amount is not one of this kind, or the times do not fit together.
    """

    kind: FaultKind
    amount: float = USUAL
    """In the unit of the kind. By default: always, 1 s of delay, up to 0.5 s of jitter, 1000 bytes a second."""
    direction: Direction = Direction.BOTH
    step: int = 0
    at_s: float = 0.0
    for_s: float = 0.0

    def __post_init__(self) -> None:
        if self.amount is USUAL:
            object.__setattr__(self, "amount", _USUALLY.get(self.kind, 1.0))
        check(self.kind, self.amount)
        if not all(0 <= each <= _MOST for each in (self.step, self.at_s, self.for_s)) or (self.step and self.at_s):
            raise UsageError(f"{self.kind}: a fault comes at a step (from 1) or at a time, and lasts some time")

    @property
    def lasts(self) -> bool:
        """True for a fault that is not over with the message or the connections that it hit."""
        if self.for_s:
            return True
        return self.kind not in (AT_ONE_STEP if self.step else AT_ONCE)

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Self:
        """Return the fault of an entry of a schedule.

        Args:
            entry: E.g. `{"at_s": 2, "for_s": 5, "fault": "blackhole"}`; also `amount`, `direction` and `step`.

        Raises:
            UsageError: A key or a value is invalid, or the kind is missing.
        """
        numbers = {"amount": float, "step": int, "at_s": float, "for_s": float}
        if unknown := entry.keys() - numbers.keys() - {"fault", "direction"}:
            raise UsageError(f"a fault has fault, direction, {', '.join(numbers)}; not {', '.join(sorted(unknown))}")
        if "fault" not in entry:
            raise UsageError(f"{json.dumps(entry)} does not say which fault: choose one of {', '.join(FaultKind)}")
        values: dict[str, Any] = {}
        for name, number in numbers.items():
            if name in entry:
                if type(entry[name]) not in (int, number):
                    raise UsageError(f"{name} must be a number: {json.dumps(entry[name])}")
                values[name] = entry[name]
        return cls(kind=kind_of(entry["fault"]), direction=direction_of(entry.get("direction", "both")), **values)

    def entry(self) -> dict[str, Any]:
        """Return the fault as an entry that `read` accepts."""
        found: dict[str, Any] = {"fault": self.kind.value, "amount": self.amount}
        if self.direction is not Direction.BOTH:
            found["direction"] = self.direction.value
        return found | {name: value for name in ("step", "at_s", "for_s") if (value := getattr(self, name))}


@dataclass(frozen=True, kw_only=True)
class FaultEvent:
    """A fault that happened: at the `step`-th message, of `size` bytes; both are 0 if it did not hit a message.

    `time_s` is of `time.monotonic`. `port` is the server's, 0 for all of them. `kind` may also be "healed".
    """

    time_s: float
    kind: str
    port: int
    direction: Direction
    size: int
    step: int


def kind_of(text: object) -> FaultKind:
    """Return the kind of this name. Raises UsageError, with all names, if there is none."""
    try:
        return FaultKind(text)  # type: ignore[arg-type]
    except ValueError:
        raise UsageError(f"there is no fault {text}: choose one of {', '.join(FaultKind)}") from None


def direction_of(text: object) -> Direction:
    """Return the direction of this name. Raises UsageError, with all names, if there is none."""
    try:
        return Direction(text)  # type: ignore[arg-type]
    except ValueError:
        raise UsageError(f"there is no direction {text}: choose one of {', '.join(Direction)}") from None


def check(kind: FaultKind, amount: float) -> None:
    """Raise for an amount that a kind cannot have.

    Args:
        kind: The kind of fault.
        amount: A chance from 0 to 1, or a number from 0 to 2**32 - 1 in the unit of the kind.

    Raises:
        UsageError: The amount is out of this range.
    """
    most = 1 if kind in CHANCES else _MOST
    if not 0 <= amount <= most:
        raise UsageError(f"{kind} takes {'a chance' if kind in CHANCES else 'a number'} from 0 to {most}")


def read_schedule(path: Path) -> list[Fault]:
    """Return the faults of a schedule.

    Args:
        path: A file in JSON: a list of entries, as for `Fault.read`.

    Raises:
        UsageError: The file is not such a list, or an entry is invalid.
        OSError: The file cannot be read.
    """
    try:
        entries = json.loads(decoding.read(path).content)
    except (ValueError, RecursionError):
        raise UsageError(f"{path} is not JSON") from None
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise UsageError(f'{path} must be a list of objects: [{{"at_s": 2, "for_s": 5, "fault": "blackhole"}}]')
    return [Fault.read(each) for each in entries]
