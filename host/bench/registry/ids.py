"""Ids of devices."""

import uuid

from bench.registry.clock import now_ms
from bench.registry.random_bytes import RandomBytes

_VERSION, _VARIANT = 7 << 76, 2 << 62
_random_bytes = RandomBytes(10)
# Those of the random bits that stay: version and variant take the place of the others.
_RANDOM = ((1 << 80) - 1) & ~(0xF << 76) & ~(3 << 62)


def new_id() -> uuid.UUID:
    """Return a new id, a UUID of version 7 (RFC 9562, 5.7).

    It begins with the time, as ThingsBoard's do: devices that are made one after the other are neighbours in each
    index. With ids all over it, each of them would have a page of its own written, in each.
    """
    random = int.from_bytes(_random_bytes(), "big") & _RANDOM
    return uuid.UUID(int=now_ms() << 80 | _VERSION | _VARIANT | random)
