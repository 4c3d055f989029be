"""Exponential backoff with full jitter: a random wait below a ceiling that doubles, so that a herd spreads out."""

import os

from firstboot.settings import Settings


def below(limit: int) -> int:
    """Return a random whole number in [0, limit); 0 if `limit` is not positive."""
    return int.from_bytes(os.urandom(4), "little") % limit if limit > 0 else 0


class Backoff:
    """Waits in milliseconds between attempts."""

    def __init__(self, settings: Settings) -> None:
        self._base = settings.number("backoff.base_ms")
        self._cap = settings.number("backoff.cap_ms")
        self._long = settings.number("backoff.long_ms")
        self.attempt = 0

    def reset(self) -> None:
        """Begin again with the shortest ceiling."""
        self.attempt = 0

    def lived(self, ms: int) -> None:
        """Reset if a session has lived for `ms`, and that is as long as the highest ceiling.

        One that dies before has not helped, whatever it sent: what kills it may come again with each connection.
        """
        if ms >= self._cap:
            self.reset()

    def next(self, least: int = 0) -> int:
        """Return the wait before the next attempt, uniform below min(cap, base * 2^attempt).

        Args:
            least: the wait that a server asked for, ms. The random part is added to it and is spread over
                as long again at least: a server that asks one device asks the whole herd.
        """
        # bounded, or the number would grow for as long as the server is away
        ceiling = min(self._cap, self._base << min(self.attempt, 20))
        self.attempt += 1
        return least + below(max(ceiling, least) + 1)

    def long(self) -> int:
        """Return the wait when only a person can help: between half and the whole of `backoff.long_ms`."""
        return self._long - below(self._long // 2 + 1)
