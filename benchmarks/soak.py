"""A soak: workers at half of what they can do, for long, beside endpoints that are dead, slow and flapping.

`python -m benchmarks.soak --minutes 30` prints a sample each ten seconds, and then for each measurement whether it is
flat; a JSON object a line, status 1 if one grows. Ctrl-C and SIGTERM end it, with its processes and its database.
PostgreSQL has to run on this machine (Linux).
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import receipts
from benchmarks.databases import Database, database, go
from benchmarks.measured_drain import drain
from benchmarks.processor_time import PROC
from benchmarks.reporting import Measure
from benchmarks.sink import free_ports
from benchmarks.trends import Tolerance, trend

HEALTHY = 10
EACH_SECONDS = 10.0
KEEP_SECONDS = 60.0
SHARE_OF_DRAIN = 0.5
# Retries end within the time that records are kept, so that the log has a length at which it stays.
SETTINGS = {"QUEUE": "none", "TIMEOUT_SECONDS": 5, "RETRY_SCHEDULE": [2, 5, 10]}
# What may grow by how much in the second half. Latency, backlog and the share of dead rows vary with what else the
# machine does and with when vacuum runs; memory, descriptors, threads and connections do not.
TOLERANCES = {
    "rss_mb": Tolerance(0.03, 2.0),
    "descriptors": Tolerance(0.0, 2.0),
    "threads": Tolerance(0.0, 1.0),
    "connections": Tolerance(0.0, 1.0),
    "tables_mb": Tolerance(0.10, 2.0),
    "dead_percent": Tolerance(0.0, 10.0),
    "p50_ms": Tolerance(0.25, 10.0),
    "p99_ms": Tolerance(0.50, 50.0),
    "healthy_backlog": Tolerance(0.25, 100.0),
}


def soak(minutes: float, workers: int) -> Iterator[Measure]:
    """Measure the drain, then feed half of it for so long; a verdict on each measurement."""
    drained = drain(workers, 0, endpoints=HEALTHY, count=4000)["per_second"]
    with database("postgres") as made, receipts.running() as receiver:
        urls = [f"{receiver.url}/{number}" for number in range(HEALTHY)]
        healthy = made.run("subscribe", urls, ["order.updated"], {})
        # Dead: nothing listens there.
        troubled = [f"http://localhost:{free_ports(1)[0]}/", f"{receiver.url}/after/1500", f"{receiver.url}/flap/30"]
        made.run("subscribe", troubled, ["order.updated"], {})
        orders_per_second = SHARE_OF_DRAIN * drained / (HEALTHY + len(troubled))
        with _running(made, healthy, orders_per_second, workers) as (sampler, pids):
            samples = []
            began = time.monotonic()
            while (now := time.monotonic() - began) < minutes * 60:
                time.sleep(EACH_SECONDS)
                receiver.collect()
                samples.append(_sample(sampler, pids, now))
                print(json.dumps(samples[-1]), file=sys.stderr, flush=True)
    settings = {
        "drained_per_second": round(drained),
        "orders_per_second": round(orders_per_second, 1),
        "healthy_per_second": statistics.median(one["healthy_per_second"] for one in samples),
        "load": round(statistics.median(one["load"] for one in samples), 1),
    }
    yield from verdicts(samples, {**settings, "minutes": minutes, "workers": workers})


def verdicts(samples: Sequence[dict[str, Any]], details: dict[str, Any]) -> Iterator[Measure]:
    """For each measurement what it grew by in the second half, as a share of what is allowed: flat up to 1."""
    for name, tolerance in TOLERANCES.items():
        points = [(one["at"], one[name]) for one in samples if one[name] is not None]
        found = trend(points, tolerance)
        about = {
            "verdict": "flat" if found.is_flat else "growing",
            "median": round(found.median, 1),
            "growth": round(found.growth, 2),
            "allowed": round(found.allowed, 2),
            "samples": len(points),
        }
        yield Measure(f"soak_{name}", found.growth / found.allowed, "of tolerance", 1.0, details={**about, **details})


@contextlib.contextmanager
def _running(
    made: Database, healthy: list[int], orders_per_second: float, workers: int
) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """The processes of the soak: the one that samples the database, and the ids of the workers."""
    with contextlib.ExitStack() as stack:

        def started(task: str, *arguments: object) -> subprocess.Popen[str]:
            child = made.ready(task, *arguments, BENCH_ORDERHOOKS=json.dumps(SETTINGS))
            stack.callback(_end, child)
            return child

        pumps = [started("work") for _ in range(workers)]
        sampler = started("sample", healthy)
        go(*pumps, sampler, started("prune_always", KEEP_SECONDS), started("save_orders", orders_per_second))
        yield sampler, [pump.pid for pump in pumps]


def _end(child: subprocess.Popen[str]) -> None:
    child.terminate()
    try:
        child.wait(15)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()


def _sample(sampler: subprocess.Popen[str], pids: Sequence[int], at: float) -> dict[str, Any]:
    """All measurements of now; of the workers the sums. `at`: seconds since the start."""
    assert sampler.stdin
    assert sampler.stdout
    sampler.stdin.write(f"{EACH_SECONDS}\n")
    sampler.stdin.flush()
    shown = json.loads(sampler.stdout.readline())
    status = [_status(pid) for pid in pids]
    return {
        "at": round(at, 1),
        "rss_mb": round(sum(int(one["VmRSS"].split()[0]) for one in status) / 1024, 1),
        "threads": sum(int(one["Threads"]) for one in status),
        "descriptors": sum(len(os.listdir(PROC / str(pid) / "fd")) for pid in pids),
        "load": round(os.getloadavg()[0], 2),
        **shown,
    }


def _status(pid: int) -> dict[str, str]:
    lines = Path(PROC / str(pid) / "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def main() -> int:
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    ok = True
    for measure in soak(arguments.minutes, arguments.workers):
        print(measure.line(), flush=True)
        ok &= measure.ok
    return 0 if ok else 1


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
