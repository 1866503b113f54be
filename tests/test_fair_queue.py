"""P5 among the threads of one process: who goes next, and how many at once."""

import threading
from dataclasses import dataclass
from itertools import count

import pytest

from orderhooks.models import Delivery
from orderhooks.sending import concurrency
from orderhooks.sending import fair_queue as module
from orderhooks.sending.concurrency import FIRST_WINDOW, Window
from orderhooks.sending.fair_queue import EndpointQueue, FairQueue, Job
from orderhooks.sending.pool import split

_numbers = count(1)


def jobs(subscription: int, number: int, *, host: str = "") -> list[Job]:
    return [
        Job(Delivery(pk=next(_numbers), subscription_id=subscription), host or f"host{subscription}", 1e12)
        for _ in range(number)
    ]


def make_queue(*, threads: int = 16, subscription: int = 16, host: int = 16) -> FairQueue:
    queue = FairQueue(threads=threads, most_of_subscription=subscription, most_of_host=host)
    queue.limit.value = threads
    return queue


def take_all(queue: FairQueue) -> list[Job]:
    """What could be under way at once, because no endpoint responds."""
    queue.closed = False
    taken = []
    while queue.under_way < queue.limit.value and (job := queue._next()):
        taken.append(job)
    return taken


def answer(
    queue: FairQueue, job: Job, *, seconds: float = 0.01, succeeded: bool = True, timed_out: bool = False
) -> None:
    queue.done(job, seconds=seconds, succeeded=succeeded, timed_out=timed_out)


def known(queue: FairQueue, subscription: int) -> None:
    """It has responded quickly before."""
    queue.endpoints[subscription] = EndpointQueue(window=Window(16, seconds=0.01))


def subscriptions(taken: list[Job]) -> list[int]:
    return [job.delivery.subscription_id for job in taken]


def test_subscriptions_take_turns() -> None:
    queue = make_queue()
    queue.put(jobs(1, 3))
    queue.put(jobs(2, 2))
    queue.put(jobs(3, 1))
    assert subscriptions(take_all(queue)) == [1, 2, 3, 1, 2, 1]


def test_an_endpoint_that_never_responded_holds_a_few_threads() -> None:
    queue = make_queue()
    queue.put(jobs(1, 100))
    assert len(take_all(queue)) == FIRST_WINDOW


def test_quick_responses_open_the_window_up_to_the_limit() -> None:
    queue = make_queue(subscription=10)
    queue.put(jobs(1, 100))
    under_way = take_all(queue)
    for _ in range(5):
        for job in under_way:
            answer(queue, job)
        under_way = take_all(queue)
    assert len(under_way) == 10


def test_time_outs_close_the_window_down_to_one() -> None:
    queue = make_queue()
    queue.put(jobs(1, 100))
    for job in take_all(queue):
        answer(queue, job, seconds=15, succeeded=False, timed_out=True)
    assert len(take_all(queue)) == 1


def test_slow_endpoints_have_a_share_of_the_threads_alone_and_together() -> None:
    queue = make_queue(threads=16)
    for subscription in (1, 2, 3, 4):
        queue.put(jobs(subscription, 100))
    slow = take_all(queue)
    for _ in range(6):
        for job in slow:
            answer(queue, job, seconds=3.0)
        slow = take_all(queue)
    assert len(slow) == 16 // module.ALL_SLOW_SHARE
    assert max(subscriptions(slow).count(one) for one in (1, 2, 3, 4)) <= 16 // module.SLOW_SHARE
    queue.put(jobs(5, 3))
    assert subscriptions(take_all(queue)) == [5, 5, 5]


def test_endpoints_that_never_responded_leave_half_of_the_threads_to_those_that_respond() -> None:
    queue = make_queue(threads=64, subscription=64)
    for subscription in range(16):
        queue.put(jobs(subscription, 10))
    hanging = take_all(queue)
    assert len(hanging) == 32
    assert set(subscriptions(hanging)) == set(range(16))
    known(queue, 200)
    queue.put(jobs(200, 20))
    assert len(take_all(queue)) == 16


def test_one_response_takes_an_endpoint_out_of_the_share_so_that_all_threads_serve_new_ones() -> None:
    queue = make_queue(threads=64, subscription=64, host=64)
    for subscription in range(32):
        queue.put(jobs(subscription, 100))
    under_way = take_all(queue)
    assert len(under_way) == 32
    for job in under_way:
        answer(queue, job)
        queue.results_written(1)
    assert len(take_all(queue)) == 64


@pytest.mark.parametrize(("slow", "unknown"), [(32, 16), (0, 32)])
def test_slow_and_unknown_ones_together_leave_a_quarter(machine, slow: int, unknown: int) -> None:
    queue = make_queue(threads=64, subscription=64)
    for subscription in range(slow // 4):
        queue.endpoints[subscription] = EndpointQueue(window=Window(4, seconds=3.0))
        queue.put(jobs(subscription, 4))
    under_way = take_all(queue)  # kept, as a thread keeps its job
    assert len(under_way) == slow
    for subscription in range(100, 120):
        queue.put(jobs(subscription, 10))
    assert len(take_all(queue)) == unknown


def test_one_that_was_well_and_hangs_gets_no_more_than_the_share(machine) -> None:
    queue = make_queue(threads=8)
    known(queue, 1)
    queue.put(jobs(1, 6))
    assert len(take_all(queue)) == 6
    machine.passes(seconds=module.HANGS_SECONDS + 0.01, cpu=0)
    queue.put(jobs(1, 100))
    assert take_all(queue) == []
    assert queue.capacity() > 0, "what waits for it keeps nobody else from being claimed"
    known(queue, 2)
    queue.put(jobs(2, 6))
    assert subscriptions(take_all(queue)) == [2, 2]


def test_an_endpoint_that_hangs_keeps_nobody_busy(machine) -> None:
    queue = make_queue(threads=8)
    assert not queue.is_busy()
    queue.put(jobs(1, 8))
    under_way = take_all(queue)  # kept, as a thread keeps its job
    assert not queue.is_busy(), "nothing is known of it"
    known(queue, 2)
    queue.put(jobs(2, 3))
    assert queue.is_busy(), "something waits for one that responds"
    under_way += take_all(queue)
    assert queue.is_busy(), "and is under way to it"
    queue.put(jobs(2, 20))
    machine.passes(seconds=module.HANGS_SECONDS + 0.01, cpu=0)
    assert not queue.is_busy(), "it hangs as well"


def test_what_is_too_late_to_be_sent_needs_no_place(machine) -> None:
    queue = make_queue(threads=8)
    queue.put(jobs(1, 8))
    assert len(take_all(queue)) == FIRST_WINDOW
    late = Job(Delivery(pk=next(_numbers), subscription_id=9), "host9", machine.now + 5)
    queue.put([late])
    machine.passes(seconds=6, cpu=0)
    assert late in take_all(queue)


def test_many_subscriptions_to_one_host_are_no_more_than_one() -> None:
    queue = make_queue(host=6)
    for subscription in range(10):
        queue.put(jobs(subscription, 4, host="victim.example"))
    queue.put(jobs(11, 2))
    taken = take_all(queue)
    assert [job.host for job in taken].count("victim.example") == 6
    assert subscriptions(taken).count(11) == 2
    answer(queue, next(job for job in taken if job.host == "victim.example"))
    assert [job.host for job in take_all(queue)] == ["victim.example"]


def test_what_an_endpoint_gets_follows_its_pace() -> None:
    queue = make_queue()
    assert queue.capacity_of(1) == FIRST_WINDOW
    queue.put(jobs(1, FIRST_WINDOW))
    assert queue.capacity_of(1) == 0
    for job in take_all(queue):
        answer(queue, job, seconds=0.001)
    assert queue.capacity_of(1) == module.MOST_AHEAD
    queue.put(jobs(2, FIRST_WINDOW))
    for job in take_all(queue):
        answer(queue, job, seconds=3.0)
    assert queue.capacity_of(2) == 16 // module.SLOW_SHARE, "a slow one gets nothing ahead"


def test_claims_come_in_lots_and_never_beyond_the_threads_without_a_quick_endpoint() -> None:
    queue = make_queue(threads=8)
    assert queue.capacity() == 8
    queue.put(jobs(1, 3))
    assert queue.capacity() == 0, "a few free threads are not worth a claim"
    for job in take_all(queue):
        answer(queue, job, seconds=0.001)
    assert queue.capacity() == module.MOST_AHEAD


def test_nothing_is_handed_out_while_stopped_nor_after_closing() -> None:
    queue = make_queue()
    queue.put(jobs(1, 1))
    queue.stopped = True
    taken: list[Job | None] = []
    thread = threading.Thread(target=lambda: taken.append(queue.take()))
    thread.start()
    while not queue.idle:
        pass
    assert taken == []
    queue.resume()
    thread.join(10)
    assert len(taken) == 1
    queue.close()
    assert queue.take() is None


class LoggedQueue(FairQueue):
    """Notes which thread has looked for a job, since `looked` was emptied."""

    looked: set[int]

    def _may_begin(self) -> bool:
        self.looked.add(threading.get_ident())
        return super()._may_begin()


def test_the_thread_that_has_ended_a_job_takes_the_next_one_and_wakes_no_other() -> None:
    queue = LoggedQueue(threads=4, most_of_subscription=16, most_of_host=16)
    queue.looked = set()
    workers = set()

    def work() -> None:
        while job := queue.take():
            workers.add(threading.get_ident())
            answer(queue, job)
            queue.results_written(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while queue.idle < len(threads):
        pass
    queue.looked.clear()
    queue.put(jobs(1, 2000))
    while queue.waiting or queue.under_way:
        pass
    queue.close()
    for thread in threads:
        thread.join(10)
    assert len(workers) == 1
    assert queue.looked == workers


@dataclass
class Machine:
    """A clock and a processor that the tests move."""

    now: float = 0.0
    cpu: float = 0.0

    def passes(self, *, seconds: float, cpu: float) -> None:
        self.now, self.cpu = self.now + seconds, self.cpu + cpu


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr("orderhooks.sending.fair_queue.time.monotonic", lambda: machine.now)
    monkeypatch.setattr("orderhooks.sending.fair_queue.time.process_time", lambda: machine.cpu)
    return machine


def adapting_queue(waiting: int = 1000) -> FairQueue:
    queue = FairQueue(threads=16, most_of_subscription=16, most_of_host=16)
    queue.endpoints[1] = EndpointQueue(window=Window(16))
    queue.put(jobs(1, waiting))
    return queue


@pytest.mark.parametrize(
    ("latency", "cpu", "threads"),
    [
        (0.0004, 0.0005, 1),  # an endpoint without latency: one thread keeps the processor busy
        (0.002, 0.0005, 5),
        (0.05, 0.0005, 16),  # all there are
    ],
)
def test_as_many_threads_are_at_work_as_the_processor_can_serve(machine, latency, cpu, threads) -> None:
    queue = adapting_queue()
    for _ in range(20):
        for job in take_all(queue):
            answer(queue, job, seconds=latency)
            queue.results_written(1)
            machine.passes(seconds=latency, cpu=cpu)
        machine.passes(seconds=concurrency.LOOK_SECONDS, cpu=0)
        queue.adapt()
    assert queue.limit.value == threads


def test_other_processes_that_want_the_processor_add_no_threads(machine) -> None:
    queue = adapting_queue()
    for latency in [0.0004] + [0.004] * 15:
        for job in take_all(queue):
            answer(queue, job, seconds=latency)
            queue.results_written(1)
            machine.passes(seconds=latency, cpu=0.0005)
        machine.passes(seconds=concurrency.LOOK_SECONDS, cpu=0)
        queue.adapt()
    assert queue.limit.value <= 2


def test_an_endpoint_that_has_become_slower_gets_more_threads(machine) -> None:
    queue = adapting_queue(waiting=10_000)
    for latency in [0.0004] + [0.01] * 400:
        for job in take_all(queue):
            answer(queue, job, seconds=latency)
            queue.results_written(1)
            machine.passes(seconds=latency, cpu=0.0005)
        machine.passes(seconds=concurrency.LOOK_SECONDS, cpu=0)
        queue.adapt()
    assert queue.limit.value == 16


def test_while_nothing_ends_more_and_more_threads_set_out(machine) -> None:
    queue = adapting_queue()
    limits = []
    for _ in range(8):
        take_all(queue)
        machine.passes(seconds=concurrency.LOOK_SECONDS, cpu=0.001)
        queue.adapt()
        limits.append(queue.limit.value)
    assert limits == sorted(limits)
    assert limits[-1] == 16


def test_threads_whose_requests_are_stuck_are_not_counted(machine) -> None:
    queue = adapting_queue()
    queue.limit.value = 3
    stuck = take_all(queue)
    queue.endpoints[2] = EndpointQueue(window=Window(16))
    queue.put(jobs(2, 100))
    machine.passes(seconds=module.STUCK_SECONDS + 0.01, cpu=0)
    queue.limit.value = 4
    [quick] = take_all(queue)
    answer(queue, quick, seconds=0.0004)
    machine.passes(seconds=concurrency.LOOK_SECONDS, cpu=0.0005)
    queue.adapt()
    assert queue.limit.value == len(stuck) + 1


def test_nothing_more_is_begun_while_too_many_results_wait_to_be_written() -> None:
    queue = make_queue()
    queue.put(jobs(1, module.MOST_UNWRITTEN + 1))
    for _ in range(module.MOST_UNWRITTEN):
        job = queue.take()
        assert job
        answer(queue, job)
    taken: list[Job | None] = []
    thread = threading.Thread(target=lambda: taken.append(queue.take()))
    thread.start()
    while not queue.idle:
        pass
    assert taken == []
    queue.results_written(1)
    thread.join(10)
    assert len(taken) == 1


@pytest.mark.parametrize(
    ("room", "wants", "shares"),
    [
        (10, [], []),
        (10, [3, 4], [3, 4]),
        (10, [100, 100], [5, 5]),
        (10, [100, 2, 100], [4, 2, 4]),
        (11, [100, 100], [6, 5]),
        (2, [5, 5, 5], [1, 1, 0]),
        (10, [0, 20, 0], [0, 10, 0]),
        (0, [5], [0]),
    ],
)
def test_capacity_is_shared_out_evenly(room: int, wants: list[int], shares: list[int]) -> None:
    assert split(room, wants) == shares
