"""Random bytes of the operating system's, drawn many at once.

To ask it each time takes longer than to use them; and whoever asks lets go of Python's lock, and has to get it back.
"""

import os
from collections import deque
from contextlib import suppress

_AT_ONCE = 64


class RandomBytes:
    """Returns other bytes with each call, also of another thread, and in a process that was forked.

    Args:
        size: How many with each call.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._drawn: deque[bytes] = deque()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._drawn.clear)

    def __call__(self) -> bytes:
        while True:
            with suppress(IndexError):
                return self._drawn.popleft()
            drawn = os.urandom(self._size * _AT_ONCE)
            self._drawn.extend(drawn[at : at + self._size] for at in range(0, len(drawn), self._size))
