"""Pumps on hosts with a database, simulated: how many deliveries a second, how long they wait, what limits them.

The windows, the number of threads and the shares of a claim are orderhooks' own code; times are those of a `Costs`.
What is simulated of an endpoint: how long it takes, and the share of its responses that are failures.
"""

import random
from collections import deque
from dataclasses import dataclass, field

from benchmarks.costs import Costs, Step
from benchmarks.simulating import Clock, Flush, Resource, Signal, Steps, hold
from orderhooks.pumping import LISTENING_LOOK_SECONDS, LOOK_SECONDS, ROUTE_SECONDS
from orderhooks.routing.batches import ROUTE_AT_ONCE
from orderhooks.sending.concurrency import ConcurrencyLimit, Window
from orderhooks.sending.fair_queue import AHEAD_SECONDS, MOST_AHEAD, MOST_UNWRITTEN, SLOW_SHARE
from orderhooks.sending.pool import BATCH, BATCH_SECONDS, LOW_WATER, split

__all__ = ["Endpoint", "Plan", "Result", "simulate"]

# Python lets another thread have the interpreter after this time at the latest: sys.getswitchinterval().
SWITCH_SECONDS = 0.005
BACKGROUND_SECONDS = 0.004


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How long it takes to respond (seconds; half of it always, the rest exponentially), and how often it fails."""

    seconds: float = 0.0
    failures: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated. Either `backlog` deliveries wait at the start, or `orders_per_second` come."""

    workers: int = 1
    endpoints: tuple[Endpoint, ...] = (Endpoint(),)
    backlog: int = 0
    orders_per_second: float = 0.0
    # How many endpoints get each event.
    fan_out: int = 1
    seconds: float = 10.0
    hosts: int = 1
    cores: int = 2
    # None: the database shares the first host's cores.
    database_cores: int | None = None
    # Whether receivers share the first host's cores.
    receivers_here: bool = False
    # Cores of the first host that other programs use.
    background: float = 0.0
    threads: int = 64
    most_in_flight: int = 32
    # How many times as many rows a claim takes and a batch of results has as in orderhooks.
    batches: int = 1
    # None: the calibration's.
    flush: float | None = None
    retry_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a plan."""

    seconds: float
    # Attempts.
    sent: int
    # Seconds from the order's commit to the request's arrival, in the second half; empty for a backlog.
    waits: list[float] = field(repr=False)
    # Cores that were busy: of workers, of the database.
    python_cores: float
    database_cores: float
    # The busiest interpreter's share; the share of the database's cores.
    interpreter: float
    database: float
    host: float
    writes_per_second: float
    waiting_at_end: int

    @property
    def per_second(self) -> float:
        return self.sent / self.seconds

    def wait(self, share: float) -> float:
        """The wait that this share of deliveries does not exceed; seconds."""
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Host(Resource):
    """A host's cores, and how many of them run workers' Python just now."""

    def __init__(self, clock: Clock, cores: int) -> None:
        super().__init__(clock, cores)
        self.workers = 0

    @property
    def crowd(self) -> float:
        """The share of the other cores that run workers, as one of the workers sees it."""
        return min(1.0, max(0, self.workers - 1) / max(1, self.places - 1))


class Queue:
    """An endpoint's deliveries in a worker: when their orders came, and its window."""

    __slots__ = ("under_way", "waiting", "window")

    def __init__(self) -> None:
        self.waiting: deque[float] = deque()
        self.under_way = 0
        self.window = Window()


class Store:
    """What all workers share: what waits, the database and the endpoints."""

    def __init__(self, plan: Plan, costs: Costs, jitter: random.Random) -> None:
        self.plan, self.costs, self.jitter = plan, costs, jitter
        self.clock = Clock()
        self.hosts = [Host(self.clock, plan.cores) for _ in range(plan.hosts)]
        own = plan.database_cores
        self.database = self.hosts[0] if own is None else Resource(self.clock, own)
        self.database_used = 0.0
        self.flush = Flush(self.clock, costs.flush if plan.flush is None else plan.flush)
        self.receiver = Resource(self.clock)
        self.unrouted: deque[float] = deque()
        self.due: list[deque[float]] = [deque() for _ in plan.endpoints]
        self.next_endpoint = 0
        # Attempts; deliveries that have arrived.
        self.recorded = self.delivered = 0
        self.waits: list[float] = []
        self.workers = [Worker(self, number) for number in range(plan.workers)]

    def query(self, seconds: float, *, commits: bool) -> Steps:
        """Let the database work that long, and commit."""
        self.database_used += seconds
        yield from hold(self.database, seconds)
        if commits:
            yield self.flush

    def orders(self) -> Steps:
        """New orders' events, which wait to be routed; a save costs the database something too."""
        each = 1.0 / self.plan.orders_per_second
        while True:
            yield self.jitter.expovariate(1.0) * each
            self.clock.start(self._save())

    def _save(self) -> Steps:
        yield from self.query(self.costs.save_database, commits=True)
        self.unrouted.append(self.clock.now)
        for worker in self.workers:
            worker.changed.notify()

    def background(self, share: float) -> Steps:
        """Other programs use a share of a core of the first host."""
        while True:
            yield from hold(self.hosts[0], BACKGROUND_SECONDS * share)
            yield BACKGROUND_SECONDS * (1.0 - share)

    def retry(self, endpoint: int, came: float) -> Steps:
        yield self.plan.retry_seconds
        self.due[endpoint].append(came)


class Worker:
    """A pump's process: a main thread that routes, claims and records, and threads that send."""

    def __init__(self, store: Store, number: int) -> None:
        self.store, self.plan, self.costs = store, store.plan, store.costs
        self.host = store.hosts[number % len(store.hosts)]
        self.clock = store.clock
        self.interpreter = Resource(self.clock)
        self.changed = Signal(self.clock)
        self.queues = [Queue() for _ in self.plan.endpoints]
        self.turns: deque[int] = deque()
        self.limit = ConcurrencyLimit(self.plan.threads, now=0.0, cpu=0.0)
        self.waiting = self.under_way = self.results = self.unwritten = 0
        self.recorded_at = self.routed_at = 0.0
        self.failed: list[tuple[int, float]] = []

    def python(self, seconds: float) -> Steps:
        """Let the interpreter work that long, on a core of the host; others get it every SWITCH_SECONDS."""
        while seconds > 0.0:
            part = min(seconds, SWITCH_SECONDS)
            yield self.interpreter
            yield self.host
            self.host.workers += 1
            taken = part * (1.0 + self.costs.crowding * self.host.crowd)
            yield taken
            self.host.workers -= 1
            self.host.used += taken
            self.interpreter.used += taken
            self.host.release()
            self.interpreter.release()
            seconds -= part

    def work_on(self, step: Step, rows: int, endpoints: int = 0, *, commits: bool = True) -> Steps:
        """A step of the main thread: Python, then the database."""
        yield from self.python(step.python_seconds(rows, endpoints))
        yield from self.store.query(step.database_seconds(rows, endpoints), commits=commits)

    def run(self) -> Steps:
        while True:
            moved = self.under_way + self.waiting
            if self.store.unrouted or self.clock.now > self.routed_at + ROUTE_SECONDS:
                yield from self._route()
            yield from self._claim()
            yield from self._collect()
            if not moved and not self.under_way and not self.waiting and not self.store.unrouted:
                yield self.changed.within(LISTENING_LOOK_SECONDS)

    def _route(self) -> Steps:
        self.routed_at = self.clock.now
        unrouted = self.store.unrouted
        events = [unrouted.popleft() for _ in range(min(ROUTE_AT_ONCE * self.plan.batches, len(unrouted)))]
        if not events:
            yield from self.work_on(self.costs.look, 0, commits=False)
            return
        yield from self.work_on(self.costs.route, len(events) * self.plan.fan_out)
        due = self.store.due
        for came in events:
            for _ in range(self.plan.fan_out):
                due[self.store.next_endpoint].append(came)
                self.store.next_endpoint = (self.store.next_endpoint + 1) % len(due)
        self.routed_at = 0.0

    def _claim(self) -> Steps:
        capacity = max(self.plan.threads, MOST_AHEAD) * self.plan.batches
        capacity = capacity - self.under_way - self.waiting if self.waiting <= capacity // 4 else 0
        if capacity <= 0:
            return
        due = [number for number, some in enumerate(self.store.due) if some]
        shares = split(capacity, [min(self._wanted(self.queues[one]), len(self.store.due[one])) for one in due])
        # The rows are locked as of now: no other worker gets them.
        claimed = {
            number: [self.store.due[number].popleft() for _ in range(share)]
            for number, share in zip(due, shares, strict=True)
            if share
        }
        count = sum(map(len, claimed.values()))
        if not count:
            yield from self.work_on(search_of(self.costs.claim), 0, len(due), commits=False)
            return
        yield from self.work_on(self.costs.claim, count, len(due))
        for number, some in claimed.items():
            queue = self.queues[number]
            if not queue.waiting:
                self.turns.append(number)
            queue.waiting.extend(some)
        self.waiting += count
        self._begin()

    def _wanted(self, queue: Queue) -> int:
        ahead = min(MOST_AHEAD, int(queue.window.per_second * AHEAD_SECONDS)) * self.plan.batches
        return max(0, max(int(queue.window.size), ahead) - len(queue.waiting) - queue.under_way)

    def _collect(self) -> Steps:
        self._adapt()
        if (self.under_way or self.waiting or self.results) and not self._should_record():
            yield self.changed.within(BATCH_SECONDS if self.results else LOOK_SECONDS)
        if not self._should_record():
            return
        count, failed = self.results, self.failed
        self.results, self.failed = 0, []
        yield from self.work_on(self.costs.record, count)
        self.recorded_at = self.clock.now
        self.store.recorded += count
        self.store.delivered += count - len(failed)
        self.unwritten -= count
        for endpoint, came in failed:
            self.clock.start(self.store.retry(endpoint, came))
        self._begin()

    def _should_record(self) -> bool:
        if not self.results:
            return False
        late = self.clock.now >= self.recorded_at + BATCH_SECONDS
        return self.results >= BATCH * self.plan.batches or not self.waiting or late

    def _adapt(self) -> None:
        if self.limit.is_due(self.clock.now):
            may_write = self.unwritten < MOST_UNWRITTEN * self.plan.batches
            starving = bool(self.waiting) and self.under_way >= self.limit.value and may_write
            self.limit.adapt(now=self.clock.now, cpu=self.interpreter.used, stuck=0, starving=starving)
            self._begin()

    def _begin(self) -> None:
        """Set threads off while there is something that may be sent."""
        while self.under_way < self.limit.value and self.unwritten < MOST_UNWRITTEN * self.plan.batches:
            if (number := self._next()) is None:
                return
            self.clock.start(self._send(number, self.queues[number].waiting.popleft()))

    def _next(self) -> int | None:
        """The endpoint whose turn it is: round robin, as far as the windows allow."""
        for _ in range(len(self.turns)):
            number = self.turns.popleft()
            queue = self.queues[number]
            if queue.under_way >= int(queue.window.size):
                self.turns.append(number)
                continue
            if len(queue.waiting) > 1:
                self.turns.append(number)
            queue.under_way += 1
            self.under_way += 1
            self.waiting -= 1
            return number
        return None

    def _hand_over(self) -> float:
        """More with more threads at work, in proportion."""
        few, many = self.costs.hand_over, self.costs.hand_over_many
        return few + (many - few) * min(1.0, (self.limit.value - 1) / max(1, self.plan.threads - 1))

    def _send(self, number: int, came: float) -> Steps:
        store, costs = self.store, self.costs
        endpoint, queue = self.plan.endpoints[number], self.queues[number]
        began = self.clock.now
        work = (costs.send + self._hand_over()) / 2
        yield from self.python(work)
        store.waits.append(self.clock.now - came)
        if self.plan.receivers_here:
            yield store.receiver
            yield from hold(store.hosts[0], costs.receive)
            store.receiver.release()
        if endpoint.seconds:
            yield endpoint.seconds * (0.5 + store.jitter.expovariate(2.0))
        yield from self.python(work)
        fails = endpoint.failures > 0.0 and store.jitter.random() < endpoint.failures
        window = queue.window
        window.learn(self.clock.now - began, now=self.clock.now)
        self.limit.add(window.least_seconds)
        slow = max(1, self.plan.threads // SLOW_SHARE)
        window.resize(
            succeeded=not fails, timed_out=False, at_most=slow if window.is_slow else self.plan.most_in_flight
        )
        queue.under_way -= 1
        self.under_way -= 1
        self.results += 1
        self.unwritten += 1
        if fails:
            self.failed.append((number, came))
        self._begin()
        if self.results >= BATCH * self.plan.batches or self.waiting < LOW_WATER:
            self.changed.notify()


def search_of(claim: Step) -> Step:
    """A claim that takes nothing is the search alone: about half of the fixed part."""
    return Step(claim.python / 2, 0.0, claim.database / 2, 0.0, claim.python_endpoint, claim.database_endpoint)


def simulate(plan: Plan, costs: Costs, *, seed: int = 1) -> Result:
    """Run a plan to the end of its backlog, or for its seconds."""
    store = Store(plan, costs, random.Random(seed))
    clock = store.clock
    for number in range(plan.backlog):
        store.due[number % len(store.due)].append(0.0)
    for worker in store.workers:
        clock.start(worker.run())
    share = plan.background
    while share > 0.0:
        clock.start(store.background(min(share, 0.999)))
        share -= 1.0
    if plan.orders_per_second:
        clock.start(store.orders())
    half = 0
    if plan.backlog:
        while store.delivered < plan.backlog and clock.now < plan.seconds:
            clock.run(clock.now + 0.01)
    else:
        clock.run(plan.seconds / 2)
        half = store.recorded
        store.waits.clear()
        clock.run(plan.seconds)
    seconds = clock.now - (plan.seconds / 2 if plan.orders_per_second else 0.0)
    python = sum(worker.interpreter.used for worker in store.workers) / clock.now
    database = store.database_used / clock.now
    waiting = len(store.unrouted) * plan.fan_out + sum(map(len, store.due))
    return Result(
        seconds=seconds,
        sent=store.recorded - half,
        waits=store.waits,
        python_cores=python,
        database_cores=database,
        interpreter=max(worker.interpreter.used for worker in store.workers) / clock.now,
        database=database / (plan.database_cores or plan.cores),
        host=max(host.used for host in store.hosts) / plan.cores / clock.now,
        writes_per_second=store.flush.writes / clock.now,
        waiting_at_end=waiting + sum(one.waiting + one.under_way for one in store.workers),
    )
