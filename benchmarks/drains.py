"""How fast what waits is sent, against a plain `requests` loop; what a worker takes; what `kill -9` costs."""

import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks import receipts, sink
from benchmarks.databases import Database, database, go, result
from benchmarks.reporting import Measure

ROUNDS = 3
COUNT = 6000
THREADS = 32
NO_LINGER = json.dumps({"LINGER_SECONDS": 0})


def drain_one_process() -> Iterable[Measure]:
    yield _against_loop("drain_one_process", "postgres", processes=1, bar=0.9)


def drain_two_processes() -> Iterable[Measure]:
    yield _against_loop("drain_two_processes", "postgres", processes=2, bar=0.75)


def drain_sqlite() -> Iterable[Measure]:
    yield _against_loop("drain_sqlite", "sqlite", processes=1, bar=0.6)


def _against_loop(name: str, vendor: str, *, processes: int, bar: float) -> Measure:
    ours, loops = [], []
    drained: list[dict[str, Any]] = []
    with database(vendor) as made, sink.running() as receiver:
        url = receiver.http + "/"
        subscriptions = made.run("subscribe", [url], ["*"], {})
        made.run("make_due", subscriptions, 1)
        for _ in range(ROUNDS):
            made.run("make_due", subscriptions, COUNT)
            results = side_by_side(made, "drain", [[]] * processes)
            drained += results
            ours.append(COUNT / seconds_of(results))
            shares: dict[int, list[list[Any]]] = {
                threads: [[url, COUNT // processes, threads]] * processes for threads in (1, THREADS)
            }
            # The sum, in case the count does not divide by the threads.
            loops.append(
                max(
                    sum(count // threads * threads for _, count, threads in share)
                    / seconds_of(side_by_side(made, "loop", share))
                    for threads, share in shares.items()
                )
            )
    return _ratio(name, ours, loops, bar, sink=receiver.kind, **_microseconds(drained))


def _microseconds(drained: list[dict[str, Any]]) -> dict[str, int]:
    """Processor time of Python and of PostgreSQL for each delivery, over all rounds."""
    return {
        f"{kind}_us": round(sum(one[kind] for one in drained) / ROUNDS / COUNT * 1e6)
        for kind in ("python", "postgres")
        if drained[0][kind] is not None
    }


def _ratio(name: str, ours: list[float], loops: list[float], bar: float, **details: object) -> Measure:
    """The median of the rounds' ratios of two rates."""
    ratios = [one / loop for one, loop in zip(ours, loops, strict=True)]
    figures = {
        "ours_per_second": round(statistics.median(ours)),
        "loop_per_second": round(statistics.median(loops)),
        "lowest": round(min(ratios), 3),
        "highest": round(max(ratios), 3),
        "rounds": len(ratios),
    }
    return Measure(name, statistics.median(ratios), "ratio", bar, "higher", {**figures, **details})


def side_by_side(made: Database, task: str, arguments: list[list[Any]]) -> list[dict[str, Any]]:
    """What processes return of which each runs the task with arguments of its own."""
    children = [made.ready(task, *own, BENCH_ORDERHOOKS=NO_LINGER) for own in arguments]
    go(*children)
    return [result(child) for child in children]


def seconds_of(results: list[dict[str, Any]]) -> float:
    """From the first process that began to the last that ended."""
    return float(max(one["ended"] for one in results) - min(one["began"] for one in results))


def drain_50ms() -> Iterable[Measure]:
    """One worker of 64 threads and a plain loop of as many, to an endpoint that responds after 50 ms; the worker's
    memory.
    """
    threads = 64
    settings = {
        "LINGER_SECONDS": 0,
        "WORKER_THREADS": threads,
        "MAX_IN_FLIGHT": threads,
        "MAX_IN_FLIGHT_PER_HOST": threads,
    }
    ours, loops = [], []
    drained: list[dict[str, Any]] = []
    with database("postgres") as made, receipts.running() as receiver:
        url = f"{receiver.url}/after/50"
        subscriptions = made.run("subscribe", [url], ["*"], {})
        made.run("make_due", subscriptions, 1)
        for _ in range(ROUNDS):
            made.run("make_due", subscriptions, COUNT)
            child = made.ready("drain", BENCH_ORDERHOOKS=json.dumps(settings))
            go(child)
            drained.append(result(child))
            ours.append(COUNT / seconds_of(drained[-1:]))
            loop = side_by_side(made, "loop", [[url, COUNT, threads]])
            loops.append(COUNT // threads * threads / seconds_of(loop))
            receiver.collect()
    yield _ratio("drain_50ms", ours, loops, 0.9, **_microseconds(drained))
    yield Measure("memory", max(one["rss"] for one in drained) / 2**20, "MB", 150, details={"rounds": ROUNDS})


def kill() -> Iterable[Measure]:
    """`kill -9` of both workers in the middle of 10,000: how many never arrive, and how many come twice."""
    count, batch = 10_000, 50
    settings = {"LINGER_SECONDS": 0, "TIMEOUT_SECONDS": 2, "RETRY_SCHEDULE": [1, 1, 1, 1]}
    with database("postgres") as made, receipts.running() as receiver:
        made.run("make_due", made.run("subscribe", [receiver.url + "/"], ["*"], {}), count)
        workers = [made.ready("pump", 300, BENCH_ORDERHOOKS=json.dumps(settings)) for _ in range(2)]
        go(*workers)
        came: list[str] = []
        while len(came) < count // 2:
            time.sleep(0.05)
            came += [event for _path, event, _at in receiver.collect()]
        for worker in workers:
            worker.kill()
            worker.communicate()
        states = made.run("pump_until_all_is_delivered", 180, BENCH_ORDERHOOKS=json.dumps(settings))
        came += [event for _path, event, _at in receiver.collect()]
    arrived = Counter(came)
    details = {"sent": len(came), "states": states}
    yield Measure("kill_lost", count - len(arrived), "deliveries", 0, details=details)
    twice = len(came) - len(arrived)
    yield Measure("kill_duplicates", twice, "deliveries", batch * len(workers), details={"workers": len(workers)})


BENCHMARKS: dict[str, Callable[[], Iterable[Measure]]] = {
    "drain_one_process": drain_one_process,
    "drain_two_processes": drain_two_processes,
    "drain_50ms": drain_50ms,
    "drain_sqlite": drain_sqlite,
    "kill": kill,
}
