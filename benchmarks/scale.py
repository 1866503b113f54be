"""What is needed for more, by simulation: `python -m benchmarks.scale` writes the figures of docs/scale.md anew.

The costs are those of calibration.json; the hardware is hypothetical and named below. A minute or two.
"""

import math
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
django.setup()

from benchmarks.charts import Line, chart  # noqa: E402
from benchmarks.costs import Costs  # noqa: E402
from benchmarks.pumps import Endpoint, Plan, Result, simulate  # noqa: E402

DOCS = Path(__file__).parent.parent / "docs"
# The hypothetical hardware: cores as fast as the calibration's, a disk that has a commit after half a millisecond.
HOST_CORES = 16
DATABASE_CORES = 16
FLUSH_SECONDS = 0.0005
# What is assumed of a shop: events of an order, endpoints that get each, and how much busier its busiest hour is.
EVENTS_OF_ORDER = 5
FAN_OUT = 3
PEAK = 5
DAY_SECONDS = 24 * 3600
ENDPOINT = Endpoint(0.05)
# No part of the hardware should be busier at the peak.
MOST_BUSY = 0.7
# And no more than one delivery in a hundred should wait longer.
WANTED_P99_SECONDS = 1.0


def drained(workers: int, costs: Costs, **plan: object) -> Result:
    """A backlog of some seconds' work for that many workers."""
    given: dict[str, object] = {
        "endpoints": (ENDPOINT,) * 50,
        "hosts": max(1, math.ceil(workers / HOST_CORES)),
        "cores": HOST_CORES,
        "database_cores": DATABASE_CORES,
        "flush": FLUSH_SECONDS,
        "backlog": max(3000, 600 * min(workers, 64)),
        "seconds": 120.0,
        **plan,
    }
    return simulate(Plan(workers=workers, **given), costs)  # type: ignore[arg-type]


WORKERS = (1, 4, 16, 32, 64, 128, 256)


def limits(costs: Costs) -> Iterator[Line]:
    """Deliveries a second by workers, with each limit in turn removed."""
    one_host = [(workers, drained(workers, costs, hosts=1).per_second) for workers in WORKERS[:5]]
    yield Line("one host, 16 cores", one_host)
    yield Line("more hosts", [(workers, drained(workers, costs).per_second) for workers in WORKERS])
    yield Line("a database of 64 cores", [(n, drained(n, costs, database_cores=64).per_second) for n in WORKERS])
    yield Line("four databases", [(n, 4 * drained(n // 4, costs).per_second) for n in WORKERS if n >= 4])
    python = 1 / costs.python_of_delivery(25)
    yield Line("interpreters alone", [(n, n * python) for n in WORKERS], is_dashed=True)


def hot_endpoint(costs: Costs) -> Iterator[Line]:
    """One endpoint that gets all, by how long it takes."""
    for workers in (1, 4, 16):
        points = [
            (ms, drained(workers, costs, endpoints=(Endpoint(ms / 1e3),), backlog=1500 * workers).per_second)
            for ms in (5, 20, 50, 100, 200, 500)
        ]
        yield Line(f"{workers} worker{'s' if workers > 1 else ''}", points)
    yield Line("32 at once ÷ its time", [(ms, 32 / (ms / 1e3)) for ms in (5, 500)], is_dashed=True)


def waits(costs: Costs) -> Iterator[Line]:
    """From commit to request, by how much of one worker's rate comes in."""
    most = drained(1, costs).per_second
    found = []
    for percent in (5, 10, 20, 40, 60, 70, 80, 90):
        plan = Plan(
            endpoints=(ENDPOINT,) * 50,
            orders_per_second=most * percent / 100 / FAN_OUT,
            fan_out=FAN_OUT,
            seconds=16.0,
            cores=HOST_CORES,
            database_cores=DATABASE_CORES,
            flush=FLUSH_SECONDS,
        )
        found.append((percent, simulate(plan, costs)))
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        yield Line(name, [(percent, max(0.1, 1e3 * one.wait(share))) for percent, one in found])


@dataclass(frozen=True, slots=True)
class Need:
    """What a shop needs: simulated for one of `databases`, each with its share of workers and hosts."""

    orders_a_day: int
    per_second: float
    workers: int
    hosts: int
    databases: int
    result: Result


def need(orders_a_day: int, costs: Costs) -> Need:
    """The fewest workers and databases that keep everything below MOST_BUSY at the peak, by trial."""
    deliveries = orders_a_day / DAY_SECONDS * PEAK * EVENTS_OF_ORDER * FAN_OUT
    database_cores = deliveries * (
        costs.database_of_delivery(25) + costs.route.database_each + costs.save_database / FAN_OUT
    )
    databases = max(1, math.ceil(database_cores / DATABASE_CORES / MOST_BUSY))
    # As on a host all of whose cores run workers.
    python = (costs.python_of_delivery(25) + costs.route.python_each) * (1.0 + costs.crowding)
    more_workers = 1.0
    while True:
        share = deliveries / databases
        workers = max(1, math.ceil(more_workers * share * python / MOST_BUSY))
        plan = Plan(
            workers=workers,
            endpoints=(ENDPOINT,) * 100,
            orders_per_second=max(share / FAN_OUT, 0.5),
            fan_out=FAN_OUT,
            seconds=max(3.0, min(30.0, 20_000 / share)),
            hosts=max(1, math.ceil(workers / HOST_CORES)),
            cores=HOST_CORES,
            database_cores=DATABASE_CORES,
            flush=FLUSH_SECONDS,
        )
        result = simulate(plan, costs)
        if result.database > MOST_BUSY:
            databases += 1
        elif result.wait(0.99) > WANTED_P99_SECONDS:
            more_workers *= 1.2
        else:
            return Need(orders_a_day, deliveries, workers * databases, plan.hosts * databases, databases, result)


ORDERS = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)


def table(costs: Costs) -> Iterator[str]:
    """The needs as a table in Markdown."""
    yield (
        "| orders a day | deliveries a second at the peak | workers | hosts | databases | cores busy in each database "
        "| log written, MB/s in each | kept in 90 days | p50, p99 of the wait |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for orders in ORDERS:
        found = need(orders, costs)
        result = found.result
        wal = found.per_second / found.databases
        wal *= costs.wal_bytes_of_delivery + costs.wal_bytes_of_event / FAN_OUT
        kept = orders * EVENTS_OF_ORDER * FAN_OUT * costs.stored_bytes_of_delivery * 90
        yield (
            f"| {orders:,} | {_rounded(found.per_second)} | {found.workers} | {found.hosts} | {found.databases} "
            f"| {_rounded(result.database_cores)} of {DATABASE_CORES} | {_rounded(wal / 1e6)} | {_bytes(kept)} "
            f"| {1e3 * result.wait(0.5):.0f} ms, {1e3 * result.wait(0.99):.0f} ms |"
        )


def _bytes(count: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= size:
            return f"{_rounded(count / size)} {unit}"
    return f"{count:.0f} B"


def _rounded(value: float) -> str:
    """With two digits that count."""
    digits = 1 - math.floor(math.log10(value)) if value else 0
    return f"{round(value, digits):,.{max(0, digits)}f}"


CHARTS = {
    "limits": ("Deliveries a second, by workers", "workers (processes)", "deliveries a second", limits),
    "hot-endpoint": ("One endpoint that gets everything", "its response, ms", "deliveries a second", hot_endpoint),
    "waits": ("From commit to request, one worker", "load, % of what it can do", "ms", waits),
}


def main() -> None:
    costs = Costs.load()
    for name, (title, x_name, y_name, lines) in CHARTS.items():
        drawn = list(lines(costs))
        (DOCS / "images" / f"scale-{name}.svg").write_text(chart(title, x_name, y_name, drawn))
        for line in drawn:
            sys.stdout.write(f"{name}: {line.name}: {[(x, round(y)) for x, y in line.points]}\n")
        sys.stdout.flush()
    rows = "\n".join(table(costs))
    sys.stdout.write(rows + "\n")
    document = DOCS / "scale.md"
    text = re.sub(r"(<!-- table -->\n).*?(\n<!-- end -->)", rf"\g<1>{rows}\g<2>", document.read_text(), flags=re.S)
    document.write_text(text)


if __name__ == "__main__":
    main()
