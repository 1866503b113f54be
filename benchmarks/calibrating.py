"""Calibration: what each step of a pump costs on this machine. `python -m benchmarks.calibrating` writes it as JSON.

PostgreSQL has to run on this machine (Linux), because its processor time is read from /proc.
"""

import os
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
django.setup()

from benchmarks import receipts  # noqa: E402
from benchmarks.costs import CALIBRATION, Costs, Step  # noqa: E402
from benchmarks.databases import Database, database, go, result  # noqa: E402
from benchmarks.drains import NO_LINGER  # noqa: E402
from benchmarks.processor_time import loop_rate  # noqa: E402
from benchmarks.pumps import Endpoint, Plan, simulate  # noqa: E402
from benchmarks.receipts import Receipts  # noqa: E402

__all__ = ["calibrate", "fit"]

ENDPOINTS = 20
COUNT = 1500
# Of finding what threads add by simulation.
ROUNDS = 6
# A sample: step, rows, endpoints, Python's seconds, PostgreSQL's, the receiver's.
PYTHON, DATABASE, RECEIVER = 3, 4, 5


def calibrate() -> Costs:
    """Measure in a database of its own, with a receiver that responds at once."""
    with database("postgres") as made, receipts.running() as receiver:
        urls = [f"{receiver.url}/{number}" for number in range(ENDPOINTS)]
        subscriptions = made.run("subscribe", urls, ["*"], {})
        made.run("make_due", subscriptions, 100)
        # It has to last for all rounds of the shapes with one endpoint.
        made.run("make_due", subscriptions[:1], 1200)
        worked = made.run("work_one_by_one", subscriptions, receiver.pid)
        saved = made.run("save_and_flush", receiver.pid)
        routed = made.run("route_one_by_one", subscriptions, receiver.pid)
        samples = worked + routed
        steps: dict[str, Any] = {
            step: fit([one for one in samples if one[0] == step]) for step in ("look", "route", "claim", "record")
        }
        costs = Costs(
            loop_per_second=loop_rate(),
            cores=os.cpu_count() or 1,
            measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
            **steps,
            send=_median(samples, "send", PYTHON),
            receive=_median(samples, "send", RECEIVER),
            hand_over=0.0,
            hand_over_many=0.0,
            crowding=0.0,
            **saved,
            wal_bytes_of_delivery=0.0,
            stored_bytes_of_delivery=0.0,
        )
        return with_threads(costs, made, receiver)


def with_threads(costs: Costs, made: Database, receiver: Receipts) -> Costs:
    """The costs with what a pump's threads add, and a second worker: drains of one worker, of endpoints that need few
    threads, and all, and of two workers.
    """
    stored = made.run("stored_bytes")
    few, many, two = (_drained(made, receiver, path, workers) for path, workers in (("", 1), ("after/50", 1), ("", 2)))
    costs = replace(
        costs,
        wal_bytes_of_delivery=few["wal_bytes"],
        stored_bytes_of_delivery=(made.run("stored_bytes") - stored) / (4 * COUNT),
    )
    # All threads first, as few are a part of the way to them.
    costs = _found("hand_over_many", costs, Plan(endpoints=(Endpoint(0.05),)), many["python"])
    costs = _found("hand_over", costs, Plan(), few["python"])
    return _found("crowding", costs, Plan(workers=2), two["python"], unit=few["python"])


def _found(name: str, costs: Costs, plan: Plan, python: float, *, unit: float = 1.0) -> Costs:
    """The costs with the one of that name with which the plan's simulated drain takes this much of Python for each
    delivery, in seconds. `unit`: about how much more it takes with 1 more of that cost.

    A difference to the steps would count twice what a pump does between them, such as looking for what is due.
    """
    plan = replace(plan, backlog=COUNT * plan.workers, seconds=120.0, cores=costs.cores, receivers_here=True)
    cost: Any = {name: 0.0}
    for _ in range(ROUNDS):
        drained = simulate(plan, replace(costs, **cost))
        missing = python - drained.python_cores * drained.seconds / drained.sent
        cost[name] = max(0.0, cost[name] + missing / unit)
    return replace(costs, **cost)


def _drained(made: Database, receiver: Receipts, path: str, workers: int) -> dict[str, float]:
    """What a drain takes for each delivery, by processor seconds and bytes: of all workers together."""
    subscriptions = made.run("subscribe", [f"{receiver.url}/{path}"] * workers, ["*"], {})
    # One that has never responded gets few requests at a time: so it responds before.
    for count in (50, COUNT):
        made.run("make_due", subscriptions, count)
        children = [made.ready("drain_measured", receiver.pid, BENCH_ORDERHOOKS=NO_LINGER) for _ in range(workers)]
        go(*children)
        done: list[dict[str, float]] = [result(child) for child in children]
    return {name: sum(one[name] for one in done) / (COUNT * workers) for name in ("python", "wal_bytes")}


def _median(samples: Iterable[Sequence[Any]], step: str, column: int) -> float:
    return statistics.median(one[column] for one in samples if one[0] == step)


def fit(samples: Sequence[Sequence[Any]]) -> Step:
    """The step's costs: the median of each shape (rows, endpoints), and least squares through these."""
    shapes: dict[tuple[int, int], list[Sequence[Any]]] = {}
    for one in samples:
        shapes.setdefault((one[1], one[2]), []).append(one)
    python, database_ = (
        _solve({shape: statistics.median(one[column] for one in some) for shape, some in shapes.items()})
        for column in (PYTHON, DATABASE)
    )
    return Step(python[0], python[1], database_[0], database_[1], python[2], database_[2])


def _solve(seconds: Mapping[tuple[int, int], float]) -> list[float]:
    """Fixed part, for each row and for each endpoint: least squares by the normal equations, none below zero.

    A part that the shapes do not vary is 0.
    """
    rows = [(1.0, float(count), float(endpoints)) for count, endpoints in seconds]
    used = [0] + [part for part in (1, 2) if len({row[part] for row in rows}) > 1]
    while True:
        found = _normal_equations([[row[part] for part in used] for row in rows], list(seconds.values()))
        below = [part for part, value in zip(used, found, strict=True) if value < 0]
        if not below:
            by_part = dict(zip(used, found, strict=True))
            return [by_part.get(part, 0.0) for part in range(3)]
        used = [part for part in used if part not in below]


def _normal_equations(rows: Sequence[Sequence[float]], values: Sequence[float]) -> list[float]:
    size = len(rows[0])
    matrix = [
        [sum(row[a] * row[b] for row in rows) for b in range(size)]
        + [sum(row[a] * value for row, value in zip(rows, values, strict=True))]
        for a in range(size)
    ]
    for pivot in range(size):
        for other in range(size):
            if other != pivot:
                factor = matrix[other][pivot] / matrix[pivot][pivot]
                matrix[other] = [a - factor * b for a, b in zip(matrix[other], matrix[pivot], strict=True)]
    return [matrix[number][size] / matrix[number][number] for number in range(size)]


if __name__ == "__main__":
    calibrate().save()
    sys.stdout.write(CALIBRATION.read_text())
