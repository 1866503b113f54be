"""Lanes: who of the claimed deliveries goes out next, so that no endpoint takes the threads of the others.

# Note [Windows]
Each subscription has a window: how many of its requests this process has under way at once. It opens with each quick
success, so that a good endpoint soon has all threads, and closes when requests time out.

# Note [Bulkhead]
Endpoints that are not known to answer quickly share a part of the threads, all together: those that nothing is known
of, or whose request has been under way for much longer than is usual for them. It may be the endpoint that hangs, or
the server of its name: the thread waits in either case. With its first quick answer an endpoint is out of the share,
and one that has been well of late is not in it when a worker starts. The rest of the threads is kept for those that
answer (the bulkhead pattern: M. Nygard, Release It!, 2007). Those that answer slowly have a share of their own.

# Note [Threads at work]
Threads of one process fight for the interpreter: an endpoint without latency gets most from one of them, one that takes
50 ms from all. So many are of use as there are requests to wait for while the processor works on one: the time that
requests take when nothing is in their way, by the time that the processor works for them (Little's law). Neither grows
when other processes want the processor too. A thread whose request is stuck is not counted, so that it hinders nobody.
"""

import math
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
# What all may hold together that are not known to answer, and these and the slow ones.
UNPROVEN_SHARE = 2
NOT_QUICK_SHARE = 4 / 3
# A request hangs that takes so many times what is usual, and as long as this.
HANGS_TIMES = 3.0
HANGS_SECONDS = 0.25
# Claimed ahead: what a lane will send in this time.
AHEAD_SECONDS = 0.5
MOST_AHEAD = 200
# Weight of the newest request in the average.
NEWEST = 0.2
# The least time that requests take doubles in a second without one that took less: their endpoint has become slower.
LEAST_GROWS_A_SECOND = 2.0
# More of the threads than the processor can serve, so that it never waits for one.
HEADROOM = 1.25
LOOK_SECONDS = 0.03
STUCK_SECONDS = 0.1
# So many results may wait to be written down; if the process dies, their requests are made again.
MOST_UNWRITTEN = 50


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed delivery. It has to be begun by `send_before` (monotonic seconds), while its lease lasts."""

    delivery: Delivery
    host: str
    send_before: float
    # Whether its endpoint has been well of late, as other workers or turns have found.
    is_well: bool = False


@dataclass(slots=True)
class Lane:
    """One subscription's deliveries in this process."""

    waiting: deque[Job] = field(default_factory=deque)
    under_way: int = 0
    window: float = FIRST_WINDOW
    # Seconds that a request takes, on average; none until one has ended.
    seconds: float = 0.0
    # The same with nothing in its way: nearly the least of late.
    least_seconds: float = 0.0
    learnt_at: float = 0.0
    slow: bool = False
    # When each of its requests under way was begun, oldest first.
    begun: dict[int, float] = field(default_factory=dict)
    was_well: bool = False

    def is_proven(self, now: float) -> bool:
        """Whether it is known to answer. See Note [Bulkhead]."""
        if not self.seconds and not self.was_well:
            return False
        oldest = next(iter(self.begun.values()), now)
        return now - oldest <= max(HANGS_SECONDS, HANGS_TIMES * self.seconds)

    @property
    def is_free(self) -> bool:
        return bool(self.waiting) and self.under_way < int(self.window)


class Lanes:
    """The lanes of a process, safe to use from its threads: `put`, `take`, `done`.

    `most_of_subscription` and `most_of_host` limit what is under way to each at once. Nothing more is begun while
    `MOST_UNWRITTEN` results wait for `wrote`.
    """

    def __init__(self, *, threads: int, most_of_subscription: int, most_of_host: int) -> None:
        self.threads = threads
        self.most_of_subscription = min(threads, most_of_subscription)
        self.most_of_host = most_of_host
        # How many threads may be at work: `adapt` finds out. See Note [Threads at work].
        self.limit = 1
        self.changed = threading.Condition()
        self.lanes: dict[int, Lane] = {}
        # Subscriptions with a job waiting, in the order of their turns.
        self.turns: deque[int] = deque()
        self.of_host: Counter[str] = Counter()
        self.waiting = 0
        self.under_way = 0
        self.unwritten = 0
        self.idle = 0
        self.closed = False
        self.stopped = False
        # The lane of each job under way.
        self._lanes_at_work: dict[int, Lane] = {}
        # Since the last look: the least time that the requests which have ended would have taken.
        self._least_seconds = 0.0
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
        # What waits for an endpoint that has begun to hang keeps nobody else from being claimed.
        waiting = self.waiting - self._hanging_waiting(time.monotonic())
        # Many at once or none: each claim costs the same.
        return room - self.under_way - waiting if waiting <= room // 4 else 0

    def has_sendable(self) -> bool:
        """Whether something waits for an endpoint that is known to answer."""
        return self.waiting > self._unproven_waiting(time.monotonic())

    def room_of_unproven(self) -> int:
        """How many more deliveries to claim of all that are not known to be quick. See Note [Bulkhead]."""
        with self.changed:
            now = time.monotonic()
            return max(0, self._unproven_share - self._unproven_under_way(now) - self._unproven_waiting(now))

    def is_proven(self, subscription: int, *, is_well: bool) -> bool:
        """Whether it is known to answer; `is_well` is what is known of it elsewhere."""
        with self.changed:
            lane = self.lanes.get(subscription)
            return is_well if lane is None else lane.is_proven(time.monotonic())

    @property
    def _unproven_share(self) -> int:
        return max(self.threads // UNPROVEN_SHARE, min(FIRST_WINDOW, self.threads))

    def _unproven_under_way(self, now: float) -> int:
        return sum(not lane.is_proven(now) for lane in self._lanes_at_work.values())

    def _unproven_waiting(self, now: float) -> int:
        return sum(len(lane.waiting) for lane in list(self.lanes.values()) if lane.waiting and not lane.is_proven(now))

    def _hanging_waiting(self, now: float) -> int:
        lanes = [lane for lane in list(self.lanes.values()) if lane.waiting and (lane.seconds or lane.was_well)]
        return sum(len(lane.waiting) for lane in lanes if not lane.is_proven(now))

    def _may_begin_one_of(self, lane: Lane, now: float) -> bool:
        """Whether the shares of what is slow and of what is not known to answer have a place for it."""
        proven = lane.is_proven(now)
        if proven and not lane.slow:
            return True
        at_work = self._lanes_at_work.values()
        slow = sum(one.slow for one in at_work)
        unproven = sum(not one.slow and not one.is_proven(now) for one in at_work)
        if slow + unproven >= max(self._unproven_share, int(self.threads / NOT_QUICK_SHARE)):
            return False
        if lane.slow:
            return slow < max(1, self.threads // ALL_SLOW_SHARE)
        return unproven < self._unproven_share

    def put(self, jobs: list[Job]) -> None:
        with self.changed:
            for job in jobs:
                lane = self.lanes.setdefault(job.delivery.subscription_id, Lane(was_well=job.is_well))
                if not lane.waiting:
                    self.turns.append(job.delivery.subscription_id)
                lane.waiting.append(job)
            self.waiting += len(jobs)
            self.changed.notify(min(len(jobs), self.limit))

    def take(self) -> Job | None:
        """The next job for a thread; waits for one. None when the lanes are closed."""
        with self.changed:
            while not self.closed:
                if self._may_begin() and (job := self._next()):
                    if self.idle and self.waiting and self._may_begin():
                        self.changed.notify()
                    return job
                self.idle += 1
                self.changed.wait()
                self.idle -= 1
        return None

    def _may_begin(self) -> bool:
        return not self.stopped and self.under_way < self.limit and self._may_write()

    def _may_write(self) -> bool:
        return self.unwritten < MOST_UNWRITTEN

    def _next(self) -> Job | None:
        now = time.monotonic()
        for _ in range(len(self.turns)):
            subscription = self.turns[0]
            lane = self.lanes[subscription]
            job = lane.waiting[0]
            self.turns.rotate(-1)
            # Too late to be sent, so it is given back at once and needs no place.
            late = job.send_before < now
            if not late and (not lane.is_free or self.of_host[job.host] >= self.most_of_host):
                continue
            if not late and not self._may_begin_one_of(lane, now):
                continue
            lane.waiting.popleft()
            if not lane.waiting:
                self.turns.pop()
            lane.under_way += 1
            self.of_host[job.host] += 1
            self.waiting -= 1
            self.under_way += 1
            lane.begun[id(job)] = now
            self._lanes_at_work[id(job)] = lane
            return job
        return None

    def done(self, job: Job, *, seconds: float, succeeded: bool, timed_out: bool) -> None:
        """A job has ended; its result waits to be written. Its lane's window opens or closes."""
        with self.changed:
            lane = self._end(job)
            self.unwritten += 1
            self._learn(lane, seconds=seconds, succeeded=succeeded, timed_out=timed_out)

    def passed_by(self, job: Job) -> None:
        """A job was not begun, as it was too late for it."""
        with self.changed:
            self._end(job)

    def wrote(self, results: int) -> None:
        """So many results are written down, or wait for somebody else's lock."""
        with self.changed:
            was_full = self.unwritten >= MOST_UNWRITTEN
            self.unwritten -= results
            if was_full and self.waiting:
                self.changed.notify(self.limit)

    def _end(self, job: Job) -> Lane:
        lane = self.lanes[job.delivery.subscription_id]
        lane.under_way -= 1
        self.of_host[job.host] -= 1
        self.under_way -= 1
        del lane.begun[id(job)], self._lanes_at_work[id(job)]
        if self.idle and self.waiting:
            self.changed.notify()
        return lane

    def _learn(self, lane: Lane, *, seconds: float, succeeded: bool, timed_out: bool) -> None:
        lane.seconds = lane.seconds + NEWEST * (seconds - lane.seconds) if lane.seconds else seconds
        now = time.monotonic()
        grown = lane.least_seconds * LEAST_GROWS_A_SECOND ** min(now - lane.learnt_at, 60.0)
        lane.least_seconds, lane.learnt_at = min(seconds, grown) if grown else seconds, now
        self._least_seconds += lane.least_seconds
        lane.slow = lane.seconds > QUICK_SECONDS
        most = max(1, self.threads // SLOW_SHARE) if lane.slow else self.most_of_subscription
        if timed_out:
            lane.window = max(1.0, lane.window / 2)
        elif succeeded:
            lane.window += 1
        lane.window = min(lane.window, most)

    def adapt(self) -> None:
        """Find the number of threads that helps. See Note [Threads at work]."""
        now, cpu = time.monotonic(), time.process_time()
        if now - self._looked_at < LOOK_SECONDS:
            return
        with self.changed:
            worked, waited = max(cpu - self._cpu, 1e-6), self._least_seconds
            self._looked_at, self._cpu, self._least_seconds = now, cpu, 0.0
            stuck = sum(lane.begun[job] < now - STUCK_SECONDS for job, lane in self._lanes_at_work.items())
            before = self.limit
            if waited:
                self.limit = stuck + math.ceil(HEADROOM * waited / worked)
            elif self.waiting and self.under_way >= min(self.limit, self._unproven_share) and self._may_write():
                # Nothing has ended, and nothing is known.
                self.limit += 1 + self.limit // 2
            self.limit = min(self.limit, self.threads)
            if self.waiting:
                # One at least looks whether something is too late by now.
                self.changed.notify(max(1, self.limit - before))

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
