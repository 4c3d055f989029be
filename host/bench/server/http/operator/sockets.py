"""All open WebSockets of users: how many there may be, and which have to end."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.server.journal import Journal

ALL = 1000
"""WebSockets of users who are logged in, all together."""
USER, ADDRESS = 20, 250
"""The same of one user; from one address."""


@dataclass(eq=False)
class OpenSocket:
    """A WebSocket's place among all."""

    user: str
    place: str | None
    """What counts as its address; None if it is not limited."""
    check: Callable[[], None]
    """Has it look whether its user may still be there, and see what they follow."""


@dataclass
class Sockets:
    """All WebSockets whose users are logged in."""

    journal: Journal
    slow: int = 0
    """Those that were closed because their clients do not read what they asked for, so far."""
    _open: set[OpenSocket] = field(default_factory=set)
    _by_user: Counter[str] = field(default_factory=Counter)
    _by_place: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, socket: OpenSocket) -> bool:
        """Take a place; return False if there is none."""
        if (
            len(self._open) >= ALL
            or self._by_user[socket.user] >= USER
            or (socket.place is not None and self._by_place[socket.place] >= ADDRESS)
        ):
            self.journal.write_rarely("too_many_websockets", user=socket.user, peer=socket.place or "")
            return False
        self._open.add(socket)
        self._by_user[socket.user] += 1
        if socket.place is not None:
            self._by_place[socket.place] += 1
        return True

    def release(self, socket: OpenSocket) -> None:
        """Give the place back."""
        self._open.discard(socket)
        for counter, key in ((self._by_user, socket.user), (self._by_place, socket.place)):
            if key is not None:
                counter[key] -= 1
                if counter[key] <= 0:
                    del counter[key]

    def check(self) -> None:
        """Have all look whether their users may still be there: something was changed."""
        for socket in self._open:
            socket.check()

    def closed_slow(self, user: str) -> None:
        """Count a socket that was closed because its client does not read, and tell of it."""
        self.slow += 1
        self.journal.write_rarely("websocket_slow", user=user)
