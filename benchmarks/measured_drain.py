"""A drain by real workers, with the processor time that it took. Called by `capacity` and `soak`."""

from typing import Any

from benchmarks import receipts
from benchmarks.databases import Database, database, go, result
from benchmarks.drains import NO_LINGER
from benchmarks.processor_time import busy_core_seconds
from benchmarks.receipts import Receipts

__all__ = ["drain", "drain_in"]


def drain(workers: int, milliseconds: int, *, endpoints: int, count: int) -> dict[str, float]:
    """`drain_in` a database and with a receiver of its own."""
    with database("postgres") as made, receipts.running() as receiver:
        return drain_in(made, receiver, workers, milliseconds, endpoints=endpoints, count=count)


def drain_in(
    made: Database, receiver: Receipts, workers: int, milliseconds: int, *, endpoints: int, count: int
) -> dict[str, float]:
    """Drain `count` deliveries with real workers, to endpoints that take some milliseconds.

    Returns deliveries a second, and cores busy with what.
    """
    urls = [f"{receiver.url}/{_path(number, milliseconds)}" for number in range(endpoints)]
    made.run("make_due", made.run("subscribe", urls, ["*"], {}), count // endpoints)
    return _drain(made, receiver, workers, count)


def _path(number: int, milliseconds: int) -> str:
    return f"after/{number}/{milliseconds}" if milliseconds else str(number)


def _drain(made: Database, receiver: Receipts, workers: int, count: int) -> dict[str, float]:
    children = [made.ready("drain_measured", receiver.pid, BENCH_ORDERHOOKS=NO_LINGER) for _ in range(workers)]
    busy = busy_core_seconds()
    go(*children)
    results: list[dict[str, Any]] = [result(child) for child in children]
    busy = busy_core_seconds() - busy
    seconds = max(one["ended"] for one in results) - min(one["began"] for one in results)
    python, database_ = (sum(one[name] for one in results) for name in ("python", "database"))
    receive = max(one["receive"] for one in results)
    return {
        "per_second": count / seconds,
        "python_cores": python / seconds,
        "database_cores": database_ / seconds,
        "others": max(0.0, busy - python - database_ - receive) / seconds,
    }
