"""Two ways of doing the same, timed in turn: this process's CPU, so that what else the machine does hardly counts."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Comparison:
    """CPU microseconds for one call, user and system, a figure for each round."""

    ours: tuple[float, ...]
    reference: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        return [ours / reference for ours, reference in zip(self.ours, self.reference, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(self.ratios)

    def details(self) -> dict[str, object]:
        return {
            "ours_us": round(statistics.median(self.ours)),
            "reference_us": round(statistics.median(self.reference)),
            "lowest": round(min(self.ratios), 3),
            "highest": round(max(self.ratios), 3),
            "rounds": len(self.ratios),
        }


def compare(
    ours: Callable[[], object], reference: Callable[[], object], *, rounds: int, calls: int, slices: int
) -> Comparison:
    """`calls` of each in each round, in `slices` that take turns; who is first changes with every slice.

    Slices of a few calls, so that a processor that grows slower or faster does so for both.
    """
    timed_ours, timed_reference = [], []
    _cpu_seconds(ours, calls // slices)
    _cpu_seconds(reference, calls // slices)
    for number in range(rounds):
        gc.collect()
        spent = {ours: 0.0, reference: 0.0}
        for slice_ in range(slices):
            pair = (ours, reference) if (number + slice_) % 2 else (reference, ours)
            for one in pair:
                spent[one] += _cpu_seconds(one, calls // slices)
        done = calls // slices * slices
        timed_ours.append(spent[ours] / done * 1e6)
        timed_reference.append(spent[reference] / done * 1e6)
    return Comparison(tuple(timed_ours), tuple(timed_reference))


def _cpu_seconds(call: Callable[[], object], times: int) -> float:
    started = time.process_time()
    for _ in range(times):
        call()
    return time.process_time() - started
