"""The fair queue: which of the claimed deliveries goes out next, so that no endpoint takes the threads of the others.

Endpoints take turns (round robin); each has a `Window`; the process has a `ConcurrencyLimit`.

# Note [Bulkhead]
Endpoints that are not known to respond quickly share a part of the threads, all together: those that have not responded
yet, and those whose request has been under way for much longer than is usual for them. It may be the endpoint that
hangs, or the server of its name: the thread waits in either case. With its first quick response an endpoint leaves the
share, and one that was healthy recently is not in it when a worker starts. The rest of the threads is kept for
endpoints that respond (the bulkhead pattern: M. Nygard, Release It!, 2007). Slow endpoints have a share of their own.
"""

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from orderhooks.models import Delivery
from orderhooks.sending.concurrency import FIRST_WINDOW, ConcurrencyLimit, Window

__all__ = ["EndpointQueue", "FairQueue", "Job"]

# What slow endpoints may hold of the threads, one alone and all of them: a fourth, a half.
SLOW_SHARE = 4
ALL_SLOW_SHARE = 2
# What the endpoints that are not known to respond may hold together: a half; with the slow ones: three fourths.
UNPROVEN_SHARE = 2
NOT_QUICK_SHARE = 4 / 3
# A request hangs if it takes HANGS_TIMES as long as usual, and at least HANGS_SECONDS.
HANGS_TIMES = 3.0
HANGS_SECONDS = 0.25
# Claimed ahead: what an endpoint will get in this time.
AHEAD_SECONDS = 0.5
MOST_AHEAD = 200
STUCK_SECONDS = 0.1
# At most this many results may wait to be written; if the process dies, their requests are made again.
MOST_UNWRITTEN = 50


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed delivery. It has to be begun by `send_before` (monotonic seconds), while its lease lasts."""

    delivery: Delivery
    host: str
    send_before: float
    # Whether its endpoint was healthy recently, as other workers or turns have found.
    is_healthy: bool = False


@dataclass(slots=True)
class EndpointQueue:
    """One subscription's claimed deliveries in this process."""

    waiting: deque[Job] = field(default_factory=deque)
    under_way: int = 0
    window: Window = field(default_factory=Window)
    # When each of its requests under way was begun, oldest first.
    begun: dict[int, float] = field(default_factory=dict)
    was_healthy: bool = False

    def is_proven(self, now: float) -> bool:
        """Whether it is known to respond. See Note [Bulkhead]."""
        if not self.window.is_known and not self.was_healthy:
            return False
        oldest = next(iter(self.begun.values()), now)
        return now - oldest <= max(HANGS_SECONDS, HANGS_TIMES * self.window.seconds)

    @property
    def is_free(self) -> bool:
        return bool(self.waiting) and self.under_way < int(self.window.size)


class FairQueue:
    """The claimed deliveries of a process, safe to use from its threads: `put`, `take`, `done`.

    `most_of_subscription` and `most_of_host` limit what is under way to each at once. Nothing more is begun while
    `MOST_UNWRITTEN` results wait for `results_written`.
    """

    def __init__(self, *, threads: int, most_of_subscription: int, most_of_host: int) -> None:
        self.threads = threads
        self.most_of_subscription = min(threads, most_of_subscription)
        self.most_of_host = most_of_host
        self.limit = ConcurrencyLimit(threads, now=time.monotonic(), cpu=time.process_time())
        self.changed = threading.Condition()
        self.endpoints: dict[int, EndpointQueue] = {}
        # Subscriptions with a job waiting, in the order of their turns.
        self.turns: deque[int] = deque()
        self.of_host: Counter[str] = Counter()
        self.waiting = 0
        self.under_way = 0
        self.unwritten = 0
        self.idle = 0
        self.closed = False
        self.stopped = False
        # The endpoint of each job under way.
        self._at_work: dict[int, EndpointQueue] = {}

    def capacity_of(self, subscription: int) -> int:
        """How many more deliveries of this subscription to claim."""
        endpoint = self.endpoints.get(subscription) or EndpointQueue()
        ahead = min(MOST_AHEAD, int(endpoint.window.per_second * AHEAD_SECONDS))
        return max(int(endpoint.window.size), ahead) - len(endpoint.waiting) - endpoint.under_way

    def claimed_of(self, subscription: int) -> int:
        """How many deliveries of this subscription wait or are under way."""
        endpoint = self.endpoints.get(subscription)
        return len(endpoint.waiting) + endpoint.under_way if endpoint else 0

    def capacity(self) -> int:
        """How many more deliveries to claim in all."""
        quick = any(one.window.per_second for one in self.endpoints.values())
        capacity = max(self.threads, MOST_AHEAD if quick else 0)
        # What waits for an endpoint that has begun to hang keeps nobody else from being claimed.
        waiting = self.waiting - self._hanging_waiting(time.monotonic())
        # Many at once or none: each claim costs the same.
        return capacity - self.under_way - waiting if waiting <= capacity // 4 else 0

    def capacity_of_unproven(self) -> int:
        """How many more deliveries to claim of all that are not known to be quick. See Note [Bulkhead]."""
        with self.changed:
            now = time.monotonic()
            return max(0, self._unproven_share - self._unproven_under_way(now) - self._unproven_waiting(now))

    def is_busy(self) -> bool:
        """Whether something waits for, or is under way to, an endpoint that is known to respond."""
        with self.changed:
            now = time.monotonic()
            return self.waiting > self._unproven_waiting(now) or self.under_way > self._unproven_under_way(now)

    def is_proven(self, subscription: int, *, is_healthy: bool) -> bool:
        """Whether it is known to respond; `is_healthy`: whether other workers or turns have found so."""
        with self.changed:
            endpoint = self.endpoints.get(subscription)
            return is_healthy if endpoint is None else endpoint.is_proven(time.monotonic())

    @property
    def _unproven_share(self) -> int:
        return max(self.threads // UNPROVEN_SHARE, min(FIRST_WINDOW, self.threads))

    def _unproven_under_way(self, now: float) -> int:
        return sum(not one.is_proven(now) for one in self._at_work.values())

    def _unproven_waiting(self, now: float) -> int:
        return sum(len(one.waiting) for one in list(self.endpoints.values()) if one.waiting and not one.is_proven(now))

    def _hanging_waiting(self, now: float) -> int:
        known = [
            one for one in list(self.endpoints.values()) if one.waiting and (one.window.is_known or one.was_healthy)
        ]
        return sum(len(one.waiting) for one in known if not one.is_proven(now))

    def _has_share_for(self, endpoint: EndpointQueue, now: float) -> bool:
        """Whether the shares of slow and of unproven endpoints have a place for one more request."""
        is_slow = endpoint.window.is_slow
        if not is_slow and endpoint.is_proven(now):
            return True
        at_work = self._at_work.values()
        slow = sum(one.window.is_slow for one in at_work)
        unproven = sum(not one.window.is_slow and not one.is_proven(now) for one in at_work)
        if slow + unproven >= max(self._unproven_share, int(self.threads / NOT_QUICK_SHARE)):
            return False
        if is_slow:
            return slow < max(1, self.threads // ALL_SLOW_SHARE)
        return unproven < self._unproven_share

    def put(self, jobs: list[Job]) -> None:
        """Queue claimed deliveries."""
        with self.changed:
            for job in jobs:
                endpoint = self.endpoints.setdefault(
                    job.delivery.subscription_id, EndpointQueue(was_healthy=job.is_healthy)
                )
                if not endpoint.waiting:
                    self.turns.append(job.delivery.subscription_id)
                endpoint.waiting.append(job)
            self.waiting += len(jobs)
            self.changed.notify(min(len(jobs), self.limit.value))

    def take(self) -> Job | None:
        """The next job for a thread; waits for one. None when the queue is closed."""
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
        return not self.stopped and self.under_way < self.limit.value and self._may_write()

    def _may_write(self) -> bool:
        return self.unwritten < MOST_UNWRITTEN

    def _next(self) -> Job | None:
        now = time.monotonic()
        for _ in range(len(self.turns)):
            subscription = self.turns[0]
            endpoint = self.endpoints[subscription]
            job = endpoint.waiting[0]
            self.turns.rotate(-1)
            # Too late to be sent, so it is given back at once and needs no place.
            late = job.send_before < now
            if not late and (not endpoint.is_free or self.of_host[job.host] >= self.most_of_host):
                continue
            if not late and not self._has_share_for(endpoint, now):
                continue
            endpoint.waiting.popleft()
            if not endpoint.waiting:
                self.turns.pop()
            endpoint.under_way += 1
            self.of_host[job.host] += 1
            self.waiting -= 1
            self.under_way += 1
            endpoint.begun[id(job)] = now
            self._at_work[id(job)] = endpoint
            return job
        return None

    def done(self, job: Job, *, seconds: float, succeeded: bool, timed_out: bool) -> None:
        """A job has ended; its result waits to be written. Its endpoint's window opens or closes."""
        with self.changed:
            endpoint = self._end(job)
            self.unwritten += 1
            window = endpoint.window
            window.learn(seconds, now=time.monotonic())
            self.limit.add(window.least_seconds)
            at_most = max(1, self.threads // SLOW_SHARE) if window.is_slow else self.most_of_subscription
            window.resize(succeeded=succeeded, timed_out=timed_out, at_most=at_most)

    def abandon(self, job: Job) -> None:
        """A job was not begun because it was too late for it."""
        with self.changed:
            self._end(job)

    def results_written(self, count: int) -> None:
        """`count` results are written, or wait because another session has locked their rows."""
        with self.changed:
            was_full = self.unwritten >= MOST_UNWRITTEN
            self.unwritten -= count
            if was_full and self.waiting:
                self.changed.notify(self.limit.value)

    def _end(self, job: Job) -> EndpointQueue:
        endpoint = self.endpoints[job.delivery.subscription_id]
        endpoint.under_way -= 1
        self.of_host[job.host] -= 1
        self.under_way -= 1
        del endpoint.begun[id(job)], self._at_work[id(job)]
        # No other thread is woken: this one takes the next job. To wake one takes longer than to sign a request.
        return endpoint

    def adapt(self) -> None:
        """Adapt the number of threads at work to what has ended since the last time."""
        now = time.monotonic()
        if not self.limit.is_due(now):
            return
        with self.changed:
            before = self.limit.value
            self.limit.adapt(
                now=now,
                cpu=time.process_time(),
                stuck=sum(one.begun[job] < now - STUCK_SECONDS for job, one in self._at_work.items()),
                starving=bool(self.waiting)
                and self.under_way >= min(before, self._unproven_share)
                and self._may_write(),
            )
            if self.waiting:
                # At least one looks whether something is too late by now.
                self.changed.notify(max(1, self.limit.value - before))

    def resume(self) -> None:
        """Hand out jobs again, after `stopped` was set."""
        with self.changed:
            self.stopped = False
            self.changed.notify(self.limit.value)

    def close(self) -> None:
        """Let the threads end."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
