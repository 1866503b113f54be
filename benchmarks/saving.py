"""What a save of an order costs, against the same save without orderhooks' signal handlers.

`save_…` is the difference, `save_ratio…` the quotient.
"""

import json
from collections.abc import Callable, Iterable

from benchmarks.databases import database
from benchmarks.reporting import Measure

SAVES, ROUNDS = 50, 5
IN_WORKER = {"BENCH_ORDERHOOKS": json.dumps({"COALESCE_IN_WORKER": True})}


def saving() -> Iterable[Measure]:
    """A pump is at work, as in a busy shop; `save_1_idle` sends a wake-up through the ORM broker instead.

    `…_in_worker`: workers make the events, by COALESCE_IN_WORKER.
    """
    queries = {}
    with database("postgres") as made:
        for count, before in ((0, 0), (1, 0), (10, 1), (100, 10), (1000, 100)):
            made.run("subscribe", ["http://localhost:9009/"] * (count - before), ["*"], {})
            took = made.run("save", SAVES, ROUNDS, True)
            queries[count] = took["queries"] - took["plain_queries"]
            if count:
                yield from _measures(str(count), took)
            if count == 1:
                yield from _measures("1_idle", made.run("save", SAVES, ROUNDS, False))
                yield from _measures("1_in_worker", made.run("save", SAVES, ROUNDS, True, **IN_WORKER))
                yield from _measures("1_idle_in_worker", made.run("save", SAVES, ROUNDS, False, **IN_WORKER))
    yield Measure("save_0_queries", queries.pop(0), "queries", 1)
    details = {"queries": queries}
    yield Measure("save_queries_spread", max(queries.values()) - min(queries.values()), "queries", 0, details=details)


def _measures(case: str, took: dict[str, float]) -> Iterable[Measure]:
    ours, plain = took["ours"], took["plain"]
    details = {"ours_ms": round(ours, 2), "plain_ms": round(plain, 2)}
    yield Measure(f"save_{case}", ours - plain, "ms", 2.5, details=details)
    yield Measure(f"save_ratio_{case}", ours / plain, "ratio", 3.0, details=details)


def coalescing() -> Iterable[Measure]:
    """What a worker takes to make the events of an order, of 100 that wait and of one, against a plain save."""
    with database("postgres") as made:
        made.run("subscribe", ["http://localhost:9009/"], ["*"], {})
        took = made.run("coalesce_waiting", 100, ROUNDS, **IN_WORKER)
    for name, bar in (("together", 1.0), ("alone", 5.0)):
        details = {"ms": round(took[name], 2), "plain_ms": round(took["plain"], 2)}
        yield Measure(f"coalesce_{name}_ratio", took[name] / took["plain"], "ratio", bar, details=details)


BENCHMARKS: dict[str, Callable[[], Iterable[Measure]]] = {"saving": saving, "coalescing": coalescing}
