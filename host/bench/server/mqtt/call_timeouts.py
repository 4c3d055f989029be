"""Calls of a device that nobody answers. After a minute ThingsBoard does, with an error."""

import asyncio
from collections.abc import Callable

TIMEOUT_S = 60.0
ANSWER = b'{"error":"timeout"}'
# Calls of one session that wait; of others the device is told nothing.
_LIMIT = 100


class CallTimeouts:
    """The topics on which a session's calls are to be answered, and one timer for all."""

    def __init__(self, publish: Callable[[str, bytes], object]) -> None:
        self._publish = publish
        self._due: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, topic: str) -> None:
        """Have a call answered on this topic, once, when its time is over."""
        if len(self._due) < _LIMIT:
            self._due.setdefault(topic, asyncio.get_running_loop().time() + TIMEOUT_S)
            self._arm()

    def stop(self) -> None:
        """Answer no more."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        if self._timer is None and self._due:
            self._timer = asyncio.get_running_loop().call_at(next(iter(self._due.values())), self._answer)

    def _answer(self) -> None:
        self._timer = None
        del self._due[topic := next(iter(self._due))]
        self._publish(topic, ANSWER)
        self._arm()
