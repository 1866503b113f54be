"""What each level of capture costs: a save, and one statement that changes a thousand orders."""

from collections.abc import Callable, Iterable

from benchmarks.databases import database
from benchmarks.reporting import Measure

LEVELS = ("signals", "triggers")


def capturing() -> Iterable[Measure]:
    """Ratios against the same writes without capture, in turn. Coalescing is part of a save, not of the statement."""
    with database("postgres") as made:
        made.run("subscribe", ["http://localhost:9009/"], ["*"], {})
        for level in LEVELS:
            yield _measure(f"save_ratio_{level}", made.run("capture_saves", level, 50, 5), "ms")
        for level in ("track", "triggers"):
            took = made.run("capture_update", level, 1000, 5)
            yield _measure(f"update_1000_ratio_{level}", took, "ms")
            if level == "track":
                yield Measure("update_1000_statements_track", took["statements"], "statements", 20)


def _measure(name: str, took: dict[str, float], unit: str) -> Measure:
    details = {f"ours_{unit}": round(took["ours"], 2), f"plain_{unit}": round(took["plain"], 2)}
    return Measure(name, took["ours"] / took["plain"], "ratio", BARS[name], details=details)


# A save reads, writes, coalesces and wakes; the plain one is a single UPDATE.
BARS = {
    "save_ratio_signals": 6.0,
    "save_ratio_triggers": 6.0,
    "update_1000_ratio_track": 30.0,
    "update_1000_ratio_triggers": 10.0,
}
BENCHMARKS: dict[str, Callable[[], Iterable[Measure]]] = {"capturing": capturing}
