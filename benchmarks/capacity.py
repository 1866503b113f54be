"""Whether the simulation predicts what real workers do: a backlog simulated, and drained by 1, 2 and 4 workers."""

import json
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping

from benchmarks import receipts
from benchmarks.calibrating import calibrate
from benchmarks.costs import Costs
from benchmarks.databases import database
from benchmarks.measured_drain import drain_in
from benchmarks.pumps import Endpoint, Plan, simulate
from benchmarks.reporting import Measure

ROUNDS = 3
ENDPOINTS = 8
COUNT = 2400
# (workers, milliseconds that the endpoints take)
SETS = ((1, 0), (1, 50), (2, 0), (2, 50), (4, 0), (4, 50))
BAR = 1.25


def capacity() -> Iterable[Measure]:
    """Rounds of a calibration and all sets, one right after the other; medians of the rounds."""
    found: dict[tuple[int, int], list[dict[str, float]]] = {}
    for _ in range(ROUNDS):
        costs = calibrate()
        with database("postgres") as made, receipts.running() as receiver:
            for workers, milliseconds in SETS:
                drained = drain_in(made, receiver, workers, milliseconds, endpoints=ENDPOINTS, count=COUNT)
                compared = _compare(costs, workers, milliseconds, drained)
                found.setdefault((workers, milliseconds), []).append(compared)
                print(workers, milliseconds, json.dumps(compared), file=sys.stderr, flush=True)
    for (workers, milliseconds), rounds in found.items():
        median = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
        details = {name: round(value, 2) for name, value in median.items()}
        details["ratios"] = [round(one["ratio"], 2) for one in rounds]  # type: ignore[assignment]
        ratio = median["ratio"]
        name = f"capacity_{workers}_workers_{milliseconds}ms"
        yield Measure(name, max(ratio, 1 / ratio), "times", BAR, details=details)


def _compare(costs: Costs, workers: int, milliseconds: int, measured: Mapping[str, float]) -> dict[str, float]:
    plan = Plan(
        workers=workers,
        endpoints=(Endpoint(milliseconds / 1e3),) * ENDPOINTS,
        backlog=COUNT,
        seconds=120.0,
        cores=costs.cores,
        receivers_here=True,
        background=measured["others"],
    )
    predicted = simulate(plan, costs)
    return {
        "ratio": predicted.per_second / measured["per_second"],
        "predicted": predicted.per_second,
        "measured": measured["per_second"],
        "predicted_python_cores": predicted.python_cores,
        "python_cores": measured["python_cores"],
        "predicted_database_cores": predicted.database_cores,
        "database_cores": measured["database_cores"],
        "others_cores": measured["others"],
    }


BENCHMARKS: dict[str, Callable[[], Iterable[Measure]]] = {"capacity": capacity}
