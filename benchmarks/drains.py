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
    yield _against_loop("drain_one_process", "postgres", processes=1, bar=0.8)


def drain_two_processes() -> Iterable[Measure]:
    yield _against_loop("drain_two_processes", "postgres", processes=2, bar=0.75)


def drain_sqlite() -> Iterable[Measure]:
    yield _against_loop("drain_sqlite", "sqlite", processes=1, bar=0.6)


def _against_loop(name: str, vendor: str, *, processes: int, bar: float) -> Measure:
    ours, loops = [], []
    with database(vendor) as made, sink.running() as receiver:
        url = receiver.http + "/"
        subscriptions = made.run("subscribe", [url], ["*"], {})
        made.run("make_due", subscriptions, 1)
        for _ in range(ROUNDS):
            made.run("make_due", subscriptions, COUNT)
            ours.append(COUNT / seconds(made, "drain", [[]] * processes))
            shares: dict[int, list[list[Any]]] = {
                threads: [[url, COUNT // processes, threads]] * processes for threads in (1, THREADS)
            }
            # The sum, in case the count does not divide by the threads.
            loops.append(
                max(
                    sum(count // threads * threads for _, count, threads in share) / seconds(made, "loop", share)
                    for threads, share in shares.items()
                )
            )
    ratios = [one / loop for one, loop in zip(ours, loops, strict=True)]
    details = {
        "ours_per_second": round(statistics.median(ours)),
        "loop_per_second": round(statistics.median(loops)),
        "lowest": round(min(ratios), 3),
        "highest": round(max(ratios), 3),
        "rounds": ROUNDS,
        "sink": receiver.kind,
    }
    return Measure(name, statistics.median(ratios), "ratio", bar, "higher", details)


def seconds(made: Database, task: str, arguments: list[list[object]]) -> float:
    """From the first process that begins to the last that ends; each runs the task with arguments of its own."""
    children = [made.ready(task, *own, BENCH_ORDERHOOKS=NO_LINGER) for own in arguments]
    go(*children)
    results = [result(child) for child in children]
    return max(one["ended"] for one in results) - min(one["began"] for one in results)


def drain_50ms() -> Iterable[Measure]:
    """One worker of 64 threads, an endpoint that responds after 50 ms; and the memory that it takes."""
    threads, latency = 64, 0.05
    settings = {
        "LINGER_SECONDS": 0,
        "WORKER_THREADS": threads,
        "MAX_IN_FLIGHT": threads,
        "MAX_IN_FLIGHT_PER_HOST": threads,
    }
    rates, memory = [], []
    with database("postgres") as made, receipts.running() as receiver:
        subscriptions = made.run("subscribe", [f"{receiver.url}/after/50"], ["*"], {})
        for _ in range(ROUNDS):
            made.run("make_due", subscriptions, COUNT)
            child = made.ready("drain", BENCH_ORDERHOOKS=json.dumps(settings))
            go(child)
            done = result(child)
            rates.append(COUNT / (done["ended"] - done["began"]))
            memory.append(done["rss"] / 2**20)
            receiver.collect()
    ratio = statistics.median(rates) / (threads / latency)
    details = {"ours_per_second": round(statistics.median(rates)), "threads_by_latency": round(threads / latency)}
    yield Measure("drain_50ms", ratio, "ratio", 0.9, "higher", {**details, "rounds": ROUNDS})
    yield Measure("memory", max(memory), "MB", 150, details={"rounds": ROUNDS})


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
