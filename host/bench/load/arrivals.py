"""When the devices of a fleet are switched on."""

import random
from enum import StrEnum
from itertools import accumulate


class Arrival(StrEnum):
    """All at one moment; independently of each other; or all at one moment, and again after their server was away."""

    ALL = "all"
    POISSON = "poisson"
    RESTART = "restart"


def moments(arrival: Arrival, devices: int, *, rate: float, seed: int) -> list[float]:
    """Seconds from the start until each device is switched on, in their order.

    `rate`: how many a second there are on average, with Arrival.POISSON.
    """
    if arrival is not Arrival.POISSON:
        return [0.0] * devices
    chance = random.Random(f"arrivals {seed}")  # noqa: S311 - no secret
    return list(accumulate(chance.expovariate(rate) for _ in range(devices)))
