"""How checks of a server are written down: a function each, whose docstring says what holds."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from bench.conformance.check import Check
from bench.conformance.server.subject import Server

T = TypeVar("T")
Run = Callable[[Server], None]


class Book:
    """The checks of one module, in their order."""

    def __init__(self) -> None:
        self.checks: list[Check[Server]] = []

    def check(self, name: str, source: str) -> Callable[[Run], Run]:
        """Make a function a check."""

        def add(run: Run) -> Run:
            self.checks.append(Check(name=name, says=_says(run), source=source, run=run))
            return run

        return add

    def check_of_each(
        self, what: Mapping[str, T], name: str, source: str
    ) -> Callable[[Callable[[T, Server], None]], Callable[[T, Server], None]]:
        """Make a function a check for each of these, whose names begin with theirs: `mqtt.<name>`, ..."""

        def add(run: Callable[[T, Server], None]) -> Callable[[T, Server], None]:
            for prefix, each in what.items():
                its = Check(name=f"{prefix}.{name}", says=_says(run), source=source, run=partial(run, each))
                self.checks.append(its)
            return run

        return add


def _says(run: Callable[..., None]) -> str:
    return " ".join((inspect.getdoc(run) or "").split())
