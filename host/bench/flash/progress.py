"""Who follows a board on its way."""

from typing import Protocol

from bench.contract.events import Event
from bench.errors import BenchError


class ProgressReporter(Protocol):
    """Is told what is done with a board, and may end it by an error of its own."""

    def phase(self, name: str) -> None:
        """What begins: `look`, `write`, `files` or `start`; `read`, `erase`."""

    def advance(self, done: int, total: int) -> None:
        """How much of this phase is through, in bytes."""

    def notify(self, text: str) -> None:
        """Something that the user should know."""

    def prompt(self, text: str) -> None:
        """Something that the user has to do now, because the line cannot."""

    def event(self, event: Event) -> None:
        """What the board says."""


class Unattended:
    """A ProgressReporter where nobody is: raises BenchError when a person would have to do something."""

    def phase(self, name: str) -> None: ...

    def advance(self, done: int, total: int) -> None: ...

    def notify(self, text: str) -> None: ...

    def prompt(self, text: str) -> None:
        raise BenchError(f"there is nobody to do it: {text}")

    def event(self, event: Event) -> None: ...
