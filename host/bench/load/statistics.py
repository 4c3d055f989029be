"""Summary statistics of measured values."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The number of values, some percentiles and the maximum.

    Percentiles are interpolated linearly between the sorted values, the default of numpy, R and spreadsheets.
    """

    n: int
    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self | None:
        """Return the summary of these values in any order; None if there are no values."""
        if not values:
            return None
        # a single value is all its percentiles, but the library requires two values
        cuts = statistics.quantiles([*values, *values[: len(values) == 1]], n=100, method="inclusive")
        return cls(n=len(values), p50=cuts[49], p95=cuts[94], p99=cuts[98], max=max(values))

    def rounded(self, digits: int) -> dict[str, float]:
        """Return the summary by name for JSON, rounded to so many digits after the point."""
        return {name: round(value, digits) for name, value in asdict(self).items()}
