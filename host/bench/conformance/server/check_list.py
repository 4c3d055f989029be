"""The form of checks of a server: a function each, whose docstring says what holds."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from bench.conformance.check import Check
from bench.conformance.server.subject import CheckedServer

T = TypeVar("T")
Run = Callable[[CheckedServer], None]


class CheckList:
    """The checks of one module, in their order."""

    def __init__(self) -> None:
        self.entries: list[Check[CheckedServer]] = []

    def add(self, name: str, source: str) -> Callable[[Run], Run]:
        """Make a function a check."""

        def decorate(run: Run) -> Run:
            self.entries.append(Check(name=name, rule=_rule(run), source=source, run=run))
            return run

        return decorate

    def add_for_each(
        self, what: Mapping[str, T], name: str, source: str
    ) -> Callable[[Callable[[T, CheckedServer], None]], Callable[[T, CheckedServer], None]]:
        """Make a function a check for each of these, whose names begin with theirs: `mqtt.<name>`, ..."""

        def decorate(run: Callable[[T, CheckedServer], None]) -> Callable[[T, CheckedServer], None]:
            for prefix, each in what.items():
                its = Check(name=f"{prefix}.{name}", rule=_rule(run), source=source, run=partial(run, each))
                self.entries.append(its)
            return run

        return decorate


def _rule(run: Callable[..., None]) -> str:
    return " ".join((inspect.getdoc(run) or "").split())
