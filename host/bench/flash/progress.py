"""Progress of the work on a board, and the user's part in it."""

from typing import Protocol

from bench.contract.events import Event
from bench.errors import BenchError


class ProgressReporter(Protocol):
    """A receiver of progress. Any of its methods may end the work by raising an error of its own."""

    def phase(self, name: str) -> None:
        """Report the phase that begins: `look`, `write`, `files` or `start`; `read`, `erase`."""

    def advance(self, done: int, total: int) -> None:
        """Report the number of bytes of this phase that are done, of `total`."""

    def notify(self, text: str) -> None:
        """Show the user a notice."""

    def prompt(self, text: str) -> None:
        """Ask the user to do now what the port cannot do."""

    def event(self, event: Event) -> None:
        """Report an event of the board."""


class Unattended:
    """A ProgressReporter with no user: raises BenchError when the user would have to act."""

    def phase(self, name: str) -> None: ...

    def advance(self, done: int, total: int) -> None: ...

    def notify(self, text: str) -> None: ...

    def prompt(self, text: str) -> None:
        raise BenchError(f"this needs a person at the board: {text}")

    def event(self, event: Event) -> None: ...
