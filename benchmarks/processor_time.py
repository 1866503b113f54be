"""Processor time of other processes, which Linux counts in /proc: of servers, and of the machine as a whole."""

import os
import threading
import time
import timeit
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["busy_core_seconds", "process_seconds", "timed_loops"]

PROC = Path("/proc")
ADDITIONS = 50_000
TICKS = os.sysconf("SC_CLK_TCK")
LOOK_SECONDS = 0.3


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
    """Yields a list that grows three times a second, by a plain loop's additions in a second of processor time.

    It says how fast this machine's Python is meanwhile. By the benchmark's own process, whatever it is compared with:
    in a child that has just worked, the same loop takes a sixth longer.
    """
    loops: list[int] = []
    over = threading.Event()

    def look() -> None:
        while not loops or not over.wait(LOOK_SECONDS):
            loops.append(_time_loop())

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield loops
    finally:
        over.set()
        thread.join()


def _time_loop() -> int:
    """The best of five. Another program on the same physical core or in its caches makes it slower, as all else."""
    statement = f"for number in range({ADDITIONS}): total += number"
    return round(ADDITIONS / min(timeit.repeat(statement, "total = 0", time.thread_time, repeat=5, number=1)))
