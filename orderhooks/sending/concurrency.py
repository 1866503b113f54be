"""How much is done at once: requests to one endpoint, and threads at work in a process.

# Note [Threads at work]
Threads of one process fight for the interpreter: an endpoint without latency gets most from one of them, one that takes
50 ms from all. The useful number is as many as there are requests to wait for while the processor works on one: the
time that requests take when nothing is in their way, divided by the processor time that they need (Little's law,
J. Little, 1961; compare adaptive concurrency limits, Netflix, 2018). Neither grows when other processes want the
processor too. A thread whose request is stuck is not counted, so that it hinders nobody.
"""

import math
from dataclasses import dataclass

__all__ = ["FIRST_WINDOW", "LOOK_SECONDS", "QUICK_SECONDS", "ConcurrencyLimit", "Window"]

FIRST_WINDOW = 4
QUICK_SECONDS = 1.0
# Weight of the newest request in the average.
NEWEST = 0.2
# The least time that requests take doubles in a second without one that took less: their endpoint has become slower.
LEAST_GROWS_A_SECOND = 2.0
# More of the threads than the processor can serve, so that it never waits for one.
HEADROOM = 1.25
LOOK_SECONDS = 0.03


@dataclass(slots=True)
class Window:
    """How many requests one endpoint may have under way in this process, by how it has responded.

    Additive increase, multiplicative decrease (D.-M. Chiu, R. Jain, 1989): each success adds one, so that a good
    endpoint soon has all threads; each time-out halves it.
    """

    size: float = FIRST_WINDOW
    # Average seconds of a request; 0.0 until one has ended.
    seconds: float = 0.0
    # The same with nothing in its way: nearly the least of late.
    least_seconds: float = 0.0
    learnt_at: float = 0.0

    @property
    def is_known(self) -> bool:
        """Whether a request has ended."""
        return self.seconds > 0.0

    @property
    def is_slow(self) -> bool:
        return self.seconds > QUICK_SECONDS

    @property
    def per_second(self) -> float:
        """How many requests end in a second at this size; 0.0 for an endpoint that is slow or has not responded yet."""
        return self.size / max(self.seconds, 0.001) if self.is_known and not self.is_slow else 0.0

    def learn(self, seconds: float, *, now: float) -> None:
        """Take in a request that took `seconds` and ended at `now` (monotonic seconds)."""
        self.seconds = self.seconds + NEWEST * (seconds - self.seconds) if self.seconds else seconds
        grown = self.least_seconds * LEAST_GROWS_A_SECOND ** min(now - self.learnt_at, 60.0)
        self.least_seconds, self.learnt_at = min(seconds, grown) if grown else seconds, now

    def resize(self, *, succeeded: bool, timed_out: bool, at_most: int) -> None:
        """Open or close it by a request's outcome."""
        if timed_out:
            self.size = max(1.0, self.size / 2)
        elif succeeded:
            self.size += 1
        self.size = min(self.size, at_most)


class ConcurrencyLimit:
    """How many of a process's `threads` are at work. See Note [Threads at work].

    Times are monotonic seconds, `cpu` the process's processor seconds.
    """

    def __init__(self, threads: int, *, now: float, cpu: float) -> None:
        self.threads = threads
        self.value = 1
        self._seconds = 0.0
        self._adapted_at = now
        self._cpu = cpu

    def add(self, seconds: float) -> None:
        """A request has ended that takes `seconds` with nothing in its way."""
        self._seconds += seconds

    def is_due(self, now: float) -> bool:
        """Whether enough has happened to adapt."""
        return now - self._adapted_at >= LOOK_SECONDS

    def adapt(self, *, now: float, cpu: float, stuck: int, starving: bool) -> None:
        """Set the limit by what has ended since the last time.

        `stuck`: threads whose request takes unusually long; they come on top. `starving`: nothing has ended, and more
        could be begun if the limit were higher.
        """
        worked, waited = max(cpu - self._cpu, 1e-6), self._seconds
        self._adapted_at, self._cpu, self._seconds = now, cpu, 0.0
        if waited:
            self.value = stuck + math.ceil(HEADROOM * waited / worked)
        elif starving:
            self.value += 1 + self.value // 2
        self.value = min(self.value, self.threads)
