"""A named check of a contract, and how it ended."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Generic, Protocol, TypeVar

from bench.errors import BenchError, UsageError
from bench.text import legible


class Checked(Protocol):
    """What checks are for."""

    def shown(self, text: str) -> str:
        """A text of a check fit to be shown: without the secrets that this one has."""


S = TypeVar("S", bound=Checked)

_SHOWN = 200


class Broken(Exception):
    """The contract does not hold: says what was seen instead of what."""


class NotHere(Exception):
    """The check makes no sense for this subject, or cannot be done with what was given: says why."""


class Verdict(StrEnum):
    """How a check ended. `TROUBLE`: it could not be carried out, e.g. nobody answers at all."""

    HOLDS = "holds"
    BROKEN = "broken"
    SKIPPED = "skipped"
    TROUBLE = "trouble"


@dataclass(frozen=True, kw_only=True)
class Check(Generic[S]):
    """`name` is for good: reports are compared by it. `says` is what holds, `source` who says so.

    `run` returns if it holds; else raises Broken, NotHere, or BenchError for trouble.
    """

    name: str
    says: str
    source: str
    run: Callable[[S], None]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A check's end. `detail` is empty if it holds."""

    name: str
    says: str
    source: str
    verdict: Verdict
    detail: str
    seconds: float


def chosen(checks: Iterable[Check[S]], patterns: Iterable[str]) -> list[Check[S]]:
    """The checks whose names fit one of the patterns (`mqtt.*`), all if there are none. Raises UsageError."""
    there, wanted = list(checks), list(patterns)
    for pattern in wanted:
        if not any(fnmatchcase(each.name, pattern) for each in there):
            raise UsageError(f"no check is called {pattern}: --list shows all")
    return [each for each in there if not wanted or any(fnmatchcase(each.name, pattern) for pattern in wanted)]


def shown(text: str, secrets: Iterable[str], *, most: int = _SHOWN) -> str:
    """A text for people's eyes: without secrets, without what a terminal would obey, and not too long."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    text = legible(text)
    return text if len(text) <= most else f"{text[:most]}..."


def run(checks: Iterable[Check[S]], subject: S) -> Iterator[Outcome]:
    """Run checks one after the other; their outcomes as they end, fit to be shown."""
    for check in checks:
        begin = time.monotonic()
        verdict, detail = Verdict.HOLDS, ""
        try:
            check.run(subject)
        except Broken as broken:
            verdict, detail = Verdict.BROKEN, str(broken)
        except NotHere as reason:
            verdict, detail = Verdict.SKIPPED, str(reason)
        except BenchError as error:
            verdict, detail = Verdict.TROUBLE, str(error)
        yield Outcome(
            name=check.name,
            says=check.says,
            source=check.source,
            verdict=verdict,
            detail=subject.shown(detail),
            seconds=round(time.monotonic() - begin, 3),
        )
