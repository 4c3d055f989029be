"""Decision about one message, a function of the faults' amounts and a random draw."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from bench.faults.network.framing import Route
from bench.faults.network.rules import CHANCES, FaultKind

# One byte of so many is changed, and at least one.
_GARBLED = 64


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The faults that a message meets, which may be none: `pieces` arrive instead of it, `late_s` later."""

    met: tuple[FaultKind, ...]
    pieces: tuple[bytes, ...]
    late_s: float
    bytes_per_s: float
    """0: as fast as it goes."""


class MessagePolicy(Protocol):
    """The network, as its connections and datagrams see it."""

    def decide(self, route: Route, message: bytes, *, up: bool) -> Decision:
        """Count a message, and return its fate.

        Args:
            route: The route that it is on.
            message: The message.
            up: True from a board to the server.
        """

    def bandwidth(self, *, up: bool) -> float:
        """Return the bytes a second that a connection has now; 0 for no limit."""

    def is_blocked(self, *, up: bool) -> bool:
        """Return whether nothing gets through now, whatever the other faults are."""

    async def unblocked(self, *, up: bool) -> None:
        """Wait until messages get through."""

    def answer(self, route: Route, request: bytes) -> bytes | None:
        """Return the answer in an unavailable server's stead.

        Args:
            route: The route that the request is on.
            request: The first message of a connection, or a datagram.

        Returns:
            The answer; None if the server is available, or its protocol has no such answer.
        """

    def is_unavailable(self) -> bool:
        """Return whether requests are answered in the server's stead."""


def decide(message: bytes, amounts: Mapping[FaultKind, float], draw: random.Random) -> Decision:
    """Decide about a message.

    The same draw decides the same about a kind, whatever the amounts of the others.

    Args:
        message: The message.
        amounts: The amounts of the faults that it meets, by kind.
        draw: The source of all that is random.

    Returns:
        The decision, with the message as it arrives.
    """
    hit = [kind for kind in CHANCES if draw.random() < amounts.get(kind, 0)]
    jitter_ms = amounts.get(FaultKind.JITTER, 0) * draw.random()
    chance = random.Random(draw.random())  # noqa: S311 - it has to come out the same again
    ends = next((kind for kind in (FaultKind.RESET, FaultKind.HALF_OPEN, FaultKind.DROP) if kind in hit), None)
    if ends:
        return Decision(met=(ends,), pieces=(), late_s=0, bytes_per_s=0)
    if FaultKind.CORRUPT in hit:
        message = corrupted(message, chance)
    if FaultKind.TRUNCATE in hit:
        message = message[: chance.randrange(max(len(message), 1))]
    if {FaultKind.TRUNCATE, FaultKind.DUPLICATE} <= set(hit):
        hit.remove(FaultKind.DUPLICATE)  # there is no more of it
    slow = [kind for kind in (FaultKind.DELAY, FaultKind.JITTER, FaultKind.BANDWIDTH) if amounts.get(kind, 0)]
    return Decision(
        met=(*hit, *slow),
        pieces=(message, message) if FaultKind.DUPLICATE in hit else (message,),
        late_s=(amounts.get(FaultKind.DELAY, 0) + jitter_ms) / 1000,
        bytes_per_s=amounts.get(FaultKind.BANDWIDTH, 0),
    )


def corrupted(message: bytes, draw: random.Random) -> bytes:
    """Return the message with one byte of 64 changed, and at least one.

    Args:
        message: The message; an empty one stays empty.
        draw: Decides which bytes change, and how.
    """
    changed = bytearray(message)
    for at in draw.sample(range(len(message)), len(message) // _GARBLED + 1) if message else ():
        changed[at] ^= draw.randrange(1, 256)
    return bytes(changed)
