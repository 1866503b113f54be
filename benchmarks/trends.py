"""Whether a series of measurements grows: a robust slope, held against a tolerance."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

__all__ = ["Tolerance", "Trend", "slope", "trend"]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What a series may grow by while it is watched: a share of its median, and at least `floor` in its own unit."""

    share: float
    floor: float


@dataclass(frozen=True, slots=True)
class Trend:
    """What a series grew by from begin to end, by its slope, and what it may grow by; in its own unit."""

    median: float
    growth: float
    allowed: float

    @property
    def is_flat(self) -> bool:
        return self.growth <= self.allowed


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs of points: Theil (1950) and Sen (1968). 0.0 of fewer than two.

    Up to 29 % of the points may be outliers.
    """
    slopes = [
        (after - before) / (end - start) for (start, before), (end, after) in combinations(points, 2) if end > start
    ]
    return statistics.median(slopes) if slopes else 0.0


def trend(points: Sequence[tuple[float, float]], tolerance: Tolerance) -> Trend:
    """The trend of the second half of the points (time, value); the first half is for warming up."""
    latter = points[len(points) // 2 :]
    if not latter:
        return Trend(0.0, 0.0, tolerance.floor)
    median = statistics.median(value for _at, value in latter)
    growth = slope(latter) * (latter[-1][0] - latter[0][0])
    return Trend(median, growth, max(tolerance.share * median, tolerance.floor))
