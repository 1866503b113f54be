"""Lanes: who of the claimed deliveries goes out next, so that no endpoint takes the threads of the others.

# Note [Windows]
Each subscription has a window: how many of its requests this process has under way at once. It opens with each quick
success, so that a good endpoint soon has all threads, and closes when requests time out. An endpoint that nothing is
known of has a small one: if it hangs, it holds a few threads. Those that answer slowly share a part of the threads.
"""

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from orderhooks.models import Delivery

FIRST_WINDOW = 4
QUICK_SECONDS = 1.0
# What slow endpoints may hold of the threads, one alone and all of them.
SLOW_SHARE = 4
ALL_SLOW_SHARE = 2
# Claimed ahead: what a lane will send in this time.
AHEAD_SECONDS = 0.5
MOST_AHEAD = 200
# Weight of the newest request in the average.
NEWEST = 0.2


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed delivery. It has to be begun by `send_before` (monotonic seconds), while its lease lasts."""

    delivery: Delivery
    host: str
    send_before: float


@dataclass(slots=True)
class Lane:
    """One subscription's deliveries in this process."""

    waiting: deque[Job] = field(default_factory=deque)
    under_way: int = 0
    window: float = FIRST_WINDOW
    # Seconds that a request takes, on average; none until one has ended.
    seconds: float = 0.0
    slow: bool = False

    @property
    def is_free(self) -> bool:
        return bool(self.waiting) and self.under_way < int(self.window)


class Lanes:
    """The lanes of a process, safe to use from its threads: `put`, `take`, `done`.

    `most_of_subscription` and `most_of_host` limit what is under way to each at once.
    """

    def __init__(self, *, threads: int, most_of_subscription: int, most_of_host: int) -> None:
        self.threads = threads
        self.most_of_subscription = min(threads, most_of_subscription)
        self.most_of_host = most_of_host
        # How many threads may be at work: `adapt` finds out how many help.
        self.limit = 1
        self.changed = threading.Condition()
        self.lanes: dict[int, Lane] = {}
        # Subscriptions with a job waiting, in the order of their turns.
        self.turns: deque[int] = deque()
        self.of_host: Counter[str] = Counter()
        self.waiting = 0
        self.under_way = 0
        self.slow_under_way = 0
        self.idle = 0
        self.closed = False
        self.stopped = False
        self._looked_at = time.monotonic()
        self._cpu = time.process_time()

    def wanted(self, subscription: int) -> int:
        """How many more deliveries of this subscription to claim."""
        lane = self.lanes.get(subscription) or Lane()
        pace = lane.window / max(lane.seconds, 0.001) if lane.seconds and not lane.slow else 0.0
        ahead = min(MOST_AHEAD, int(pace * AHEAD_SECONDS))
        return max(int(lane.window), ahead) - len(lane.waiting) - lane.under_way

    def room(self) -> int:
        """How many more deliveries to claim in all."""
        quick = any(lane.seconds and not lane.slow for lane in self.lanes.values())
        room = max(self.threads, MOST_AHEAD if quick else 0)
        # Many at once or none: each claim costs the same.
        return room - self.under_way - self.waiting if self.waiting <= room // 4 else 0

    def put(self, jobs: list[Job]) -> None:
        with self.changed:
            for job in jobs:
                lane = self.lanes.setdefault(job.delivery.subscription_id, Lane())
                if not lane.waiting:
                    self.turns.append(job.delivery.subscription_id)
                lane.waiting.append(job)
            self.waiting += len(jobs)
            self.changed.notify(min(len(jobs), self.limit))

    def take(self) -> Job | None:
        """The next job for a thread; waits for one. None when the lanes are closed."""
        with self.changed:
            while not self.closed:
                if not self.stopped and self.under_way < self.limit and (job := self._next()):
                    if self.idle and self.waiting and self.under_way < self.limit:
                        self.changed.notify()
                    return job
                self.idle += 1
                self.changed.wait()
                self.idle -= 1
        return None

    def _next(self) -> Job | None:
        for _ in range(len(self.turns)):
            subscription = self.turns[0]
            lane = self.lanes[subscription]
            job = lane.waiting[0]
            self.turns.rotate(-1)
            if not lane.is_free or self.of_host[job.host] >= self.most_of_host:
                continue
            if lane.slow and self.slow_under_way >= max(1, self.threads // ALL_SLOW_SHARE):
                continue
            lane.waiting.popleft()
            if not lane.waiting:
                self.turns.pop()
            lane.under_way += 1
            self.of_host[job.host] += 1
            self.slow_under_way += lane.slow
            self.waiting -= 1
            self.under_way += 1
            return job
        return None

    def done(self, job: Job, *, seconds: float, succeeded: bool, timed_out: bool) -> None:
        """A job has ended; its lane's window opens or closes."""
        with self.changed:
            lane = self.lanes[job.delivery.subscription_id]
            lane.under_way -= 1
            self.of_host[job.host] -= 1
            self.slow_under_way -= lane.slow
            self.under_way -= 1
            if seconds or succeeded:
                self._learn(lane, seconds=seconds, succeeded=succeeded, timed_out=timed_out)
            if self.idle and self.waiting:
                self.changed.notify()

    def _learn(self, lane: Lane, *, seconds: float, succeeded: bool, timed_out: bool) -> None:
        lane.seconds = lane.seconds + NEWEST * (seconds - lane.seconds) if lane.seconds else seconds
        was_slow, lane.slow = lane.slow, lane.seconds > QUICK_SECONDS
        if lane.slow != was_slow:
            self.slow_under_way += lane.under_way if lane.slow else -lane.under_way
        most = max(1, self.threads // SLOW_SHARE) if lane.slow else self.most_of_subscription
        if timed_out:
            lane.window = max(1.0, lane.window / 2)
        elif succeeded:
            lane.window += 1
        lane.window = min(lane.window, most)

    def adapt(self) -> None:
        """Find the number of threads that helps: more while work waits and the processor does not, fewer when it does.

        Threads of one process fight for the interpreter: an endpoint without latency gets most from one of them.
        """
        now, cpu = time.monotonic(), time.process_time()
        if now - self._looked_at < LOOK_SECONDS:
            return
        busy = (cpu - self._cpu) / (now - self._looked_at)
        self._looked_at, self._cpu = now, cpu
        with self.changed:
            if busy > SATURATED:
                self.limit -= self.limit // 8 or self.limit > 1
            elif busy < UNHURRIED and self.waiting and self.under_way >= self.limit:
                more = min(self.threads - self.limit, max(1, int(self.limit * (1 - busy))))
                self.limit += more
                self.changed.notify(more)

    def go_on(self) -> None:
        """Hand out jobs again, after `stopped` was set."""
        with self.changed:
            self.stopped = False
            self.changed.notify(self.limit)

    def close(self) -> None:
        """Send the threads home."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()


LOOK_SECONDS = 0.03
# Of one processor, by all threads of the process.
SATURATED = 0.95
UNHURRIED = 0.75
