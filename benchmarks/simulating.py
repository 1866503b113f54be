"""A small discrete-event simulation: processes are generators, time is what their clock says.

A process yields seconds to let them pass, a `Resource` to get a place of it, or something else with a method `take`.
"""

import heapq
from collections import deque
from collections.abc import Generator
from itertools import count
from typing import Any

__all__ = ["Clock", "Flush", "Process", "Resource", "Signal", "Steps", "hold"]

Steps = Generator[Any, None, None]


class Process:
    """A generator that runs; `turn` says how often it has gone on, so that a time-out that came too late is ignored."""

    __slots__ = ("generator", "turn")

    def __init__(self, generator: Steps) -> None:
        self.generator = generator
        self.turn = 0


class Clock:
    """The simulated time in seconds, and what happens when."""

    def __init__(self) -> None:
        self.now = 0.0
        self._coming: list[tuple[float, int, Process, int]] = []
        self._numbers = count()

    def start(self, generator: Steps) -> None:
        """Begin a process now."""
        self.resume(Process(generator))

    def resume(self, process: Process, after: float = 0.0) -> None:
        """Let a process go on, unless it has gone on by then for another reason."""
        heapq.heappush(self._coming, (self.now + after, next(self._numbers), process, process.turn))

    def run(self, until: float) -> None:
        """Let time pass until `until`."""
        while self._coming and self._coming[0][0] <= until:
            self.now, _, process, turn = heapq.heappop(self._coming)
            if process.turn == turn:
                self._go_on(process)
        self.now = until

    def _go_on(self, process: Process) -> None:
        process.turn += 1
        for wanted in process.generator:
            if type(wanted) is float:
                self.resume(process, wanted)
                return
            if not wanted.take(process):
                return


class Resource:
    """Places that processes wait for, first come first served: cores, an interpreter, connections."""

    def __init__(self, clock: Clock, places: int = 1) -> None:
        self.places = places
        # Seconds that its places were in use, by `hold`.
        self.used = 0.0
        self._clock = clock
        self._free = places
        self._waiting: deque[Process] = deque()

    def take(self, process: Process) -> bool:
        if self._free:
            self._free -= 1
            return True
        self._waiting.append(process)
        return False

    def release(self) -> None:
        """Give a place to the one that has waited longest."""
        if self._waiting:
            self._clock.resume(self._waiting.popleft())
        else:
            self._free += 1


def hold(resource: Resource, seconds: float) -> Steps:
    """Use a place of a resource for some time: `yield from hold(…)`."""
    yield resource
    yield seconds
    resource.used += seconds
    resource.release()


class Signal:
    """What one process waits for, at most `seconds`. A signal that comes first is kept."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._is_set = False
        self._process: Process | None = None
        self._turn = 0
        self.seconds = 0.0

    def within(self, seconds: float) -> "Signal":
        self.seconds = seconds
        return self

    def take(self, process: Process) -> bool:
        if self._is_set:
            self._is_set = False
            return True
        self._process, self._turn = process, process.turn
        self._clock.resume(process, self.seconds)
        return False

    def notify(self) -> None:
        if self._process is not None and self._process.turn == self._turn:
            self._clock.resume(self._process)
            self._process = None
        else:
            self._is_set = True


class Flush:
    """A log on a disk: commits that come while it is written to go together with the next write (group commit)."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.writes = 0
        self._clock = clock
        self._seconds = seconds
        self._waiting: list[Process] = []
        self._is_writing = False

    def take(self, process: Process) -> bool:
        self._waiting.append(process)
        if not self._is_writing:
            self._is_writing = True
            self._clock.start(self._write())
        return False

    def _write(self) -> Steps:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            yield self._seconds
            self.writes += 1
            for process in batch:
                self._clock.resume(process)
        self._is_writing = False
