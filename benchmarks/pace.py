"""How fast this machine is now, by a plain loop of requests. Machines that many share differ threefold from day to day.

`python -m benchmarks.pace URL` prints how many requests a second the loop makes; see `per_second`.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import requests

__all__ = ["REFERENCE", "per_second"]

# Requests a second of the machine for which bars in milliseconds are set.
REFERENCE = 2000
WARM_UP, SLICES, SLICE = 100, 5, 200
BODY = b"x" * 1400


def per_second(url: str) -> float:
    """What a plain loop makes now, in a process of its own with few variables in its environment."""
    printed = subprocess.run(
        [sys.executable, "-B", "-m", "benchmarks.pace", url],
        cwd=Path(__file__).parent.parent,
        env={name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(printed.stdout)


def loop(url: str) -> float:
    """A `requests.Session` that posts 1.4 KB, one request after the other: the median rate of a few slices."""
    with requests.Session() as session:
        _post(session, url, WARM_UP)
        return statistics.median(SLICE / _post(session, url, SLICE) for _ in range(SLICES))


def _post(session: requests.Session, url: str, times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        session.post(url, data=BODY, headers={"content-type": "application/json"}, timeout=15).raise_for_status()
    return time.perf_counter() - began


if __name__ == "__main__":
    print(loop(sys.argv[1]))
