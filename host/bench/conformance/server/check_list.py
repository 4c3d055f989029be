"""Registration of checks of a server: each is a function, whose docstring is its rule."""

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
        self.differences: dict[str, str] = {}
        """The difference between releases that a check is about, a field of `Release`, by the check's name."""

    def add(self, name: str, source: str, *, about: str = "") -> Callable[[Run], Run]:
        """Return a decorator that makes a function a check.

        Args:
            name: The check's name.
            source: The source of its rule, e.g. a section of a standard.
            about: The difference between releases that decides it, a field of `Release`.
        """

        def decorate(run: Run) -> Run:
            self._note(name, about)
            self.entries.append(Check(name=name, rule=_rule(run), source=source, run=run))
            return run

        return decorate

    def add_for_each(
        self, what: Mapping[str, T], name: str, source: str, *, about: str = ""
    ) -> Callable[[Callable[[T, CheckedServer], None]], Callable[[T, CheckedServer], None]]:
        """Return a decorator that makes a function a check for each of several things, e.g. transports.

        Args:
            what: Prefix -> thing. The function gets the thing and the server.
            name: The end of the checks' names, behind the prefix: `mqtt.<name>`, ...
            source: The source of their rule, e.g. a section of a standard.
            about: As for `add`.
        """

        def decorate(run: Callable[[T, CheckedServer], None]) -> Callable[[T, CheckedServer], None]:
            for prefix, each in what.items():
                self._note(f"{prefix}.{name}", about)
                its = Check(name=f"{prefix}.{name}", rule=_rule(run), source=source, run=partial(run, each))
                self.entries.append(its)
            return run

        return decorate

    def _note(self, name: str, about: str) -> None:
        if about:
            self.differences[name] = about


def _rule(run: Callable[..., None]) -> str:
    return " ".join((inspect.getdoc(run) or "").split())
