"""A named check of a contract, and how it ended."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Generic, Protocol, TypeVar

from bench.errors import BenchError, UsageError
from bench.text import printable


class Checked(Protocol):
    """The subject of checks."""

    def shown(self, text: str) -> str:
        """Return a text of a check fit to be shown: without the secrets of this subject."""


S = TypeVar("S", bound=Checked)

_SHOWN = 200


class Broken(Exception):
    """The contract does not hold; the text has what was seen instead of what."""


class NotHere(Exception):
    """The check does not apply to this subject, or needs more than was given; the text has why."""


class Verdict(StrEnum):
    """The end of a check. `TROUBLE`: it could not be carried out, e.g. nobody answers at all."""

    HOLDS = "holds"
    BROKEN = "broken"
    SKIPPED = "skipped"
    TROUBLE = "trouble"


BAD = (Verdict.BROKEN, Verdict.TROUBLE)
"""The verdicts that a person has to look at."""


@dataclass(frozen=True, kw_only=True)
class Check(Generic[S]):
    """A check of one rule.

    `name` never changes: reports are compared by it. `rule` is what a subject must do, `source` where that is written.
    `run` returns if it does; else it raises Broken, NotHere, or BenchError for trouble.
    """

    name: str
    rule: str
    source: str
    run: Callable[[S], None]


@dataclass(frozen=True, kw_only=True)
class CheckOutcome:
    """A check's end. `detail` is empty if it holds."""

    name: str
    rule: str
    source: str
    verdict: Verdict
    detail: str
    seconds: float

    def entry(self) -> dict[str, Any]:
        """Return it as JSON reports have it, where the rule is called `says`."""
        return {
            "name": self.name,
            "says": self.rule,
            "source": self.source,
            "verdict": self.verdict,
            "detail": self.detail,
            "seconds": self.seconds,
        }


def chosen(checks: Iterable[Check[S]], patterns: Iterable[str]) -> list[Check[S]]:
    """Return the checks whose names match a pattern.

    Args:
        checks: The checks to choose from.
        patterns: As of a shell, e.g. `mqtt.*`; none for all checks.

    Raises:
        UsageError: A pattern matches no check.
    """
    there, wanted = list(checks), list(patterns)
    for pattern in wanted:
        if not any(fnmatchcase(each.name, pattern) for each in there):
            raise UsageError(f"no check is called {pattern}: --list shows all")
    return [each for each in there if not wanted or any(fnmatchcase(each.name, pattern) for pattern in wanted)]


def shown(text: str, secrets: Iterable[str], *, most: int = _SHOWN) -> str:
    """Return a text for people to read.

    Args:
        text: Any text, e.g. one that a server sent.
        secrets: Replaced by `***`.
        most: The characters after which it is cut.

    Returns:
        The text without secrets, and without anything that a terminal would act on.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    text = printable(text)
    return text if len(text) <= most else f"{text[:most]}..."


def run(checks: Iterable[Check[S]], subject: S) -> Iterator[CheckOutcome]:
    """Run checks one after the other, and yield their outcomes as they end, fit to be shown."""
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
        yield CheckOutcome(
            name=check.name,
            rule=check.rule,
            source=check.source,
            verdict=verdict,
            detail=subject.shown(detail),
            seconds=round(time.monotonic() - begin, 3),
        )
