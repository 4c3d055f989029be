"""Times at which the devices of a fleet are switched on."""

import random
from enum import StrEnum
from itertools import accumulate


class Arrival(StrEnum):
    """Pattern of power-ons: all at once; independent of each other; all at once, then back after a server restart."""

    ALL = "all"
    POISSON = "poisson"
    RESTART = "restart"


def moments(arrival: Arrival, devices: int, *, rate: float, seed: int) -> list[float]:
    """Return the times at which devices are switched on, in seconds from the start, in ascending order.

    Args:
        arrival: The pattern. Only with Arrival.POISSON the times differ: a Poisson process has exponential gaps.
        devices: The number of devices.
        rate: With Arrival.POISSON: the average number of devices a second, more than 0.
        seed: With Arrival.POISSON: the same seed gives the same times.

    Returns:
        A time for each device.
    """
    if arrival is not Arrival.POISSON:
        return [0.0] * devices
    chance = random.Random(f"arrivals {seed}")  # noqa: S311 - no secret
    return list(accumulate(chance.expovariate(rate) for _ in range(devices)))
