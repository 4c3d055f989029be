"""Rates of a board's attempts: judged by counts and ratios, and generously, because waits have to be random."""

from itertools import pairwise
from statistics import mean

from bench.conformance.board.behaviours import Behaviour
from bench.conformance.board.session import BoardSession
from bench.conformance.board.subject import Subject
from bench.conformance.check import Broken

UNAVAILABLE, NOT_AUTHORISED = 3, 5
"""CONNACK's return codes (MQTT 3.1.1, 3.2.2.3)."""

_MOST = 20
# Attempts until it is clear whether the waits grow: the first four of them against the six behind.
_ATTEMPTS, _EARLY = 11, 4
_GROWTH = 1.5
# Waits that are compared one by one, and what two boards in step may differ by: a part, and seconds.
_COMPARED = 8
_PART, _NOISE_S = 0.03, 0.005


def no_tight_loop(subject: Subject, mark: int, what: str) -> None:
    """Watch, from that connection on. Raises Broken for more of them, or of requests, than a patient board makes."""
    subject.watch()
    sessions = subject.network.since(mark)
    for count, of in ((len(sessions), "connections"), (sum(len(each.requests) for each in sessions), "requests")):
        if count > _MOST:
            raise Broken(f"{what}, the board made {count} {of} in {subject.pace.watch_s:.0f} s; {_MOST} are allowed")


def applied(subject: Subject, behaviour: Behaviour, times: int, otherwise: str) -> None:
    """Wait until the behaviour was applied so often, each time as long as the board may take. Raises Broken."""
    for count in range(1, times + 1):
        subject.wait(lambda count=count: behaviour.applied >= count, otherwise)  # type: ignore[misc]


def waits(subject: Subject, mark: int, attempts: int) -> list[float]:
    """Return the seconds between so many attempts from that connection on. Raises Broken if one is missing."""
    for count in range(1, attempts + 1):
        what = f"the board gave up after {count - 1} attempts: the next one did not come"
        subject.wait(lambda count=count: len(subject.network.since(mark)) >= count, what)  # type: ignore[misc]
    return _between(subject.network.since(mark)[:attempts])


def grows(found: list[float]) -> bool:
    """Return whether the later waits are longer than the early ones, which random ones are but for one in thousands."""
    return mean(found[_EARLY:]) > _GROWTH * mean(found[:_EARLY])


def growing_waits(subject: Subject, mark: int) -> list[float]:
    """Return as many waits as `grows` needs."""
    return waits(subject, mark, _ATTEMPTS)


def compared_waits(subject: Subject, mark: int) -> list[float]:
    """Return as many waits as `in_step` needs."""
    return waits(subject, mark, _COMPARED)


def in_step(one: list[float], other: list[float]) -> bool:
    """Return whether most waits of two runs are the same but for noise."""
    same = [abs(a - b) <= _PART * max(a, b) + _NOISE_S for a, b in zip(one, other, strict=True)]
    return sum(same) > len(same) / 2


def _between(sessions: list[BoardSession]) -> list[float]:
    return [later.opened - earlier.opened for earlier, later in pairwise(sessions)]
