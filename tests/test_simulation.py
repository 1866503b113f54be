"""The capacity simulation: its queues keep the laws of queueing, and a pump is as fast as what limits it."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.calibrating import fit
from benchmarks.costs import Costs, Step
from benchmarks.pumps import Endpoint, Plan, simulate
from benchmarks.simulating import Clock, Flush, Resource, Signal, hold

pytestmark = pytest.mark.once

NOTHING = Step(0.0, 0.0, 0.0, 0.0)
# A request takes a millisecond of Python, and nothing else costs anything.
COSTS = Costs(
    loop_per_second=1,
    cores=2,
    measured_at="",
    look=NOTHING,
    route=NOTHING,
    claim=NOTHING,
    record=NOTHING,
    send=0.001,
    receive=0.0,
    hand_over=0.0,
    hand_over_many=0.0,
    crowding=0.0,
    flush=0.0,
    save_python=0.0,
    save_database=0.0,
    wal_bytes_of_delivery=0.0,
    wal_bytes_of_event=0.0,
    stored_bytes_of_delivery=0.0,
)


def costs(**others: Any) -> Costs:
    return Costs(**{**{name: getattr(COSTS, name) for name in Costs.__slots__}, **others})


def test_littles_law_holds_for_a_single_server() -> None:
    clock, jitter = Clock(), random.Random(1)
    server, seconds, served = Resource(clock), 0.01, []
    # How many customers there are, by time: the area under it.
    present = {"count": 0, "area": 0.0, "since": 0.0}

    def changes(by: int) -> None:
        present["area"] += present["count"] * (clock.now - present["since"])
        present["count"] += by
        present["since"] = clock.now

    def customer() -> Iterator[Any]:
        came = clock.now
        changes(1)
        yield from hold(server, seconds)
        changes(-1)
        served.append(clock.now - came)

    def customers() -> Iterator[Any]:
        while True:
            yield jitter.expovariate(80.0)
            clock.start(customer())  # type: ignore[arg-type]

    clock.start(customers())  # type: ignore[arg-type]
    clock.run(200.0)

    arrived_per_second, mean_time = len(served) / clock.now, sum(served) / len(served)
    assert present["area"] / clock.now == pytest.approx(arrived_per_second * mean_time, rel=0.01)
    # Pollaczek and Khinchine, for service times that are all the same: r / (2 (1 - r)) of them is the wait.
    busy = arrived_per_second * seconds
    assert server.used / clock.now == pytest.approx(busy, rel=0.01)
    assert mean_time == pytest.approx(seconds * (1 + busy / (2 * (1 - busy))), rel=0.1)


def test_commits_that_come_during_a_write_go_together_with_the_next() -> None:
    clock = Clock()
    flush, done = Flush(clock, 1.0), []

    def commit(after: float) -> Iterator[Any]:
        yield after
        yield flush
        done.append(clock.now)

    for after in (0.1, 0.2, 0.3, 5.0):
        clock.start(commit(after))  # type: ignore[arg-type]
    clock.run(10.0)

    assert flush.writes == 3
    assert done == pytest.approx([1.1, 2.1, 2.1, 6.0])


@pytest.mark.parametrize(("comes", "wakes_at"), [(0.5, 0.5), (3.0, 2.0)], ids=["signal", "time-out"])
def test_a_signal_or_its_time_out_wakes_once(comes: float, wakes_at: float) -> None:
    clock = Clock()
    signal, woken = Signal(clock), []

    def waits() -> Iterator[Any]:
        yield signal.within(2.0)
        woken.append(clock.now)
        yield 100.0
        woken.append(clock.now)

    def comes_later() -> Iterator[Any]:
        yield comes
        signal.notify()

    clock.start(waits())  # type: ignore[arg-type]
    clock.start(comes_later())  # type: ignore[arg-type]
    clock.run(50.0)

    assert woken == [wakes_at]


@pytest.mark.parametrize(
    ("plan", "given", "per_second"),
    [
        pytest.param({}, {}, 1000, id="its interpreter"),
        pytest.param({"workers": 4, "cores": 2}, {}, 2000, id="the host's cores"),
        pytest.param({"workers": 4, "cores": 4, "background": 2.0}, {}, 2000, id="cores that others use"),
        pytest.param({"workers": 4, "cores": 2, "hosts": 2}, {}, 4000, id="the cores of two hosts"),
        pytest.param(
            {"workers": 4, "cores": 8, "database_cores": 1},
            {"record": Step(0.0, 0.0, 0.0, 0.001)},
            1000,
            id="the database's core",
        ),
        pytest.param({"endpoints": (Endpoint(0.1),), "most_in_flight": 8}, {}, 80, id="an endpoint's limit"),
        pytest.param({"cores": 4}, {"crowding": 0.5}, 1000, id="one worker, which nobody crowds"),
        pytest.param({"workers": 4, "cores": 4}, {"crowding": 0.5}, 4000 / 1.5, id="cores that all run workers"),
        pytest.param(
            {"workers": 4, "cores": 4, "hosts": 2}, {"crowding": 0.6}, 4000 / 1.2, id="a third of the other cores"
        ),
    ],
)
def test_throughput_is_that_of_the_bottleneck(plan: dict[str, Any], given: dict[str, Any], per_second: float) -> None:
    result = simulate(Plan(**{"backlog": 6000, "seconds": 200.0, "database_cores": 8, **plan}), costs(**given))

    assert result.per_second == pytest.approx(per_second, rel=0.1)


def test_all_orders_are_delivered_below_the_limit_and_wait_longer_near_it() -> None:
    quiet, busy = (
        simulate(Plan(orders_per_second=rate, seconds=20.0, database_cores=8), COSTS) for rate in (100.0, 950.0)
    )

    assert quiet.per_second == pytest.approx(100.0, rel=0.1)
    assert busy.per_second == pytest.approx(950.0, rel=0.1)
    assert quiet.wait(0.5) < busy.wait(0.5) < busy.wait(0.99)


def test_a_failure_is_sent_again_later() -> None:
    plan = Plan(backlog=1000, endpoints=(Endpoint(failures=0.5),), seconds=600.0, database_cores=8)
    result = simulate(plan, COSTS)

    # Until each has arrived: twice as many attempts as deliveries.
    assert result.sent == pytest.approx(2000, rel=0.1)
    assert result.seconds > 2 * plan.retry_seconds


def test_a_calibrations_parts_are_found_again() -> None:
    samples = [
        ["claim", rows, endpoints, 0.002 + 0.0001 * rows + 0.0003 * endpoints, 0.001 + 0.00005 * rows, 0.0]
        for rows, endpoints in ((200, 1), (25, 1), (200, 20), (40, 20))
        for _ in range(3)
    ]
    found = fit(samples)

    assert (found.python, found.python_each, found.python_endpoint) == pytest.approx((0.002, 0.0001, 0.0003))
    assert (found.database, found.database_each, found.database_endpoint) == pytest.approx((0.001, 0.00005, 0.0))


def test_a_part_below_zero_is_left_out_of_a_calibration() -> None:
    samples = [["record", rows, 0, seconds, seconds, 0.0] for rows, seconds in ((5, 0.004), (25, 0.026))]
    found = fit(samples)

    assert found.python == 0.0
    assert found.python_each == pytest.approx(0.00103, rel=0.02)
