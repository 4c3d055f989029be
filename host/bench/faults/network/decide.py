"""What becomes of one message."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from bench.faults.network.rules import CHANCES, Kind

# One byte of so many is changed, and at least one.
_GARBLED = 64


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What a message meets, which may be nothing: `pieces` is what arrives instead of it, `late_s` later."""

    met: tuple[Kind, ...]
    pieces: tuple[bytes, ...]
    late_s: float
    bytes_per_s: float
    """0: as fast as it goes."""


def rule(message: bytes, amounts: Mapping[Kind, float], draw: random.Random) -> Ruling:
    """Decide about a message. The same draw decides the same, whatever else the amounts are about."""
    hit = [kind for kind in CHANCES if draw.random() < amounts.get(kind, 0)]
    jitter_ms = amounts.get(Kind.JITTER, 0) * draw.random()
    chance = random.Random(draw.random())  # noqa: S311 - it has to come out the same again
    ends = next((kind for kind in (Kind.RESET, Kind.HALF_OPEN, Kind.DROP) if kind in hit), None)
    if ends:
        return Ruling(met=(ends,), pieces=(), late_s=0, bytes_per_s=0)
    if Kind.CORRUPT in hit:
        message = corrupted(message, chance)
    if Kind.TRUNCATE in hit:
        message = message[: chance.randrange(max(len(message), 1))]
    if {Kind.TRUNCATE, Kind.DUPLICATE} <= set(hit):
        hit.remove(Kind.DUPLICATE)  # there is no more of it
    slow = [kind for kind in (Kind.DELAY, Kind.JITTER, Kind.BANDWIDTH) if amounts.get(kind, 0)]
    return Ruling(
        met=(*hit, *slow),
        pieces=(message, message) if Kind.DUPLICATE in hit else (message,),
        late_s=(amounts.get(Kind.DELAY, 0) + jitter_ms) / 1000,
        bytes_per_s=amounts.get(Kind.BANDWIDTH, 0),
    )


def corrupted(message: bytes, draw: random.Random) -> bytes:
    """The message with one byte of 64 changed, and at least one."""
    changed = bytearray(message)
    for at in draw.sample(range(len(message)), len(message) // _GARBLED + 1) if message else ():
        changed[at] ^= draw.randrange(1, 256)
    return bytes(changed)
