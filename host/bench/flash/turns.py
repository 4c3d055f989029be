"""Turns of boards that are flashed side by side: in the order of their ports, whichever answers first."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


class Turns:
    """One turn for each port. It comes when those before it had theirs, or are done. May be used from several threads.

    Args:
        ports: The ports, in their order. Any other one may have its turn at once.
        on_passed: Called with a port that is done without a turn, in its place in the order.
    """

    def __init__(self, ports: Sequence[str], on_passed: Callable[[str], None]) -> None:
        self._left = list(ports)
        self._done: set[str] = set()
        self._on_passed = on_passed
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, port: str) -> Iterator[None]:
        """Wait for a port's turn, which ends with the block. The port may come again: then it does not wait."""
        with self._changed:
            self._changed.wait_for(lambda: port not in self._left or self._left[0] == port)
            try:
                yield
            finally:
                if port in self._left:
                    self._left.remove(port)
                    self._advance()

    def leave(self, port: str) -> None:
        """End a port's work: it needs no turn any more."""
        with self._changed:
            if port in self._left:
                self._done.add(port)
                self._advance()

    def _advance(self) -> None:
        while self._left and self._left[0] in self._done:
            self._on_passed(self._left.pop(0))
        self._changed.notify_all()
