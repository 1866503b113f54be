"""Processor time of other processes, which Linux counts in /proc: of servers, and of the machine as a whole."""

import os
import time
import timeit
from pathlib import Path

__all__ = ["busy_core_seconds", "loop_rate", "process_seconds"]

PROC = Path("/proc")
ADDITIONS = 50_000
TICKS = os.sysconf("SC_CLK_TCK")
LOOP = f"for number in range({ADDITIONS}): total += number"
ROUNDS = 50


def process_seconds(pid: int) -> float:
    """Seconds that the main thread of a process has been on a processor. Raises OSError if it has ended."""
    return int((PROC / str(pid) / "schedstat").read_text().split()[0]) / 1e9


def busy_core_seconds() -> float:
    """Seconds that all cores together have been busy since the start, with what a hypervisor kept from them."""
    user, nice, system, _idle, _iowait, irq, soft_irq, steal, *_guest = map(
        int, (PROC / "stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + irq + soft_irq + steal) / TICKS


def loop_rate() -> int:
    """A plain loop's additions in a second of processor time: how fast this machine's Python is just now."""
    return round(ADDITIONS / min(timeit.repeat(LOOP, "total = 0", time.thread_time, repeat=ROUNDS, number=1)))
