"""Who follows a board on its way."""

from typing import Protocol

from bench.contract.events import Event
from bench.errors import BenchError


class Teller(Protocol):
    """Is told what is done with a board, and may end it by an error of its own."""

    def phase(self, name: str) -> None:
        """What begins: `look`, `write`, `files` or `start`; `read`, `erase`."""

    def progress(self, done: int, total: int) -> None:
        """How much of this phase is through, in bytes."""

    def say(self, text: str) -> None:
        """Something that the user should know."""

    def ask(self, text: str) -> None:
        """Something that the user has to do now, because the line cannot."""

    def event(self, event: Event) -> None:
        """What the board says."""


class Silent:
    """A Teller where nobody is: raises BenchError when a person would have to do something."""

    def phase(self, name: str) -> None: ...

    def progress(self, done: int, total: int) -> None: ...

    def say(self, text: str) -> None: ...

    def ask(self, text: str) -> None:
        raise BenchError(f"there is nobody to do it: {text}")

    def event(self, event: Event) -> None: ...
