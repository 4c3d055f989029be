"""How measured values spread: the few numbers that are told of many."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Percentiles as numpy, R and spreadsheets have them: straight lines between the values, in order of size."""

    n: int
    p50: float
    p95: float
    p99: float
    max: float

    def rounded(self, digits: int) -> dict[str, float]:
        """As JSON has it."""
        return {name: round(value, digits) for name, value in asdict(self).items()}


def spread(values: Sequence[float]) -> Spread | None:
    """The spread of these values; None if there are none."""
    if not values:
        return None
    # a single one is all its percentiles; the library wants two
    cuts = statistics.quantiles([*values, *values[: len(values) == 1]], n=100, method="inclusive")
    return Spread(n=len(values), p50=cuts[49], p95=cuts[94], p99=cuts[98], max=max(values))
