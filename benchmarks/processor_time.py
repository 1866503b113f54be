"""Processor time of other processes, which Linux counts in /proc: of servers, and of the machine as a whole."""

import os
import statistics
import time
import timeit
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["busy_core_seconds", "process_seconds", "timed_loops"]

PROC = Path("/proc")
ADDITIONS = 50_000
TICKS = os.sysconf("SC_CLK_TCK")
LOOP_SECONDS = 0.5


def process_seconds(pid: int) -> float:
    """Seconds that the main thread of a process has been on a processor. Raises OSError if it has ended."""
    return int((PROC / str(pid) / "schedstat").read_text().split()[0]) / 1e9


def busy_core_seconds() -> float:
    """Seconds that all cores together have been busy since the start, with what a hypervisor kept from them."""
    user, nice, system, _idle, _iowait, irq, soft_irq, steal, *_guest = map(
        int, (PROC / "stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + irq + soft_irq + steal) / TICKS


@contextmanager
def timed_loops() -> Iterator[list[int]]:
    """Yields a list with a plain loop's additions in a second of processor time, before the block and after it.

    It says how fast this machine's Python is, so nothing else should run then. Not in the block: beside four workers a
    loop was up to 1.4 times as fast as beside one, because the cores were awake.
    """
    loops = [_time_loop()]
    yield loops
    loops.append(_time_loop())


def _time_loop() -> int:
    """The median of LOOP_SECONDS. By the benchmark's own process: in a child that has just worked it takes longer."""
    statement = f"for number in range({ADDITIONS}): total += number"
    timer = timeit.Timer(statement, "total = 0", time.thread_time)
    until, took = time.monotonic() + LOOP_SECONDS, list[float]()
    while not took or time.monotonic() < until:
        took.append(timer.timeit(1))
    return round(ADDITIONS / statistics.median(took))
