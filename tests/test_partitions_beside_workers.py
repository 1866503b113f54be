"""Partitions are made and dropped beside the transactions of workers: neither side waits for the other in a circle."""

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone

from orderhooks import partitions, retention
from orderhooks.db import locks
from orderhooks.partitions import DELIVERIES, EVENTS, by_sequence
from tests.factories import make_attempt, make_consumer, make_delivery, make_event
from tests.test_partitions_by_sequence import go_on_at
from tests.test_races import wait_until_somebody_waits_for_a_lock

pytestmark = pytest.mark.django_db(transaction=True)

WIDTH = 100
DAY = timedelta(days=1)
# What workers do one after the other.
READ_EVENTS = "SELECT * FROM orderhooks_event FOR UPDATE"
UPDATE_DELIVERIES = "UPDATE orderhooks_delivery SET state = state"
UPDATE_ATTEMPTS = "UPDATE orderhooks_attempt SET detail = detail"


@pytest.fixture(autouse=True)
def _narrow_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL divides tables; run with TEST_DATABASE=postgres")
    monkeypatch.setattr(by_sequence, "LEAST", WIDTH)
    # A busy machine needs longer, and PostgreSQL looks for circles after a second.
    monkeypatch.setattr(locks, "WAIT_SECONDS", 20)


@pytest.fixture(autouse=True)
def _tables_of_its_own(_narrow_ranges: None, transactional_db: None) -> Iterator[None]:
    """Tables that a test may divide: other sessions have to see it, so it is committed. They can be migrated away."""
    if partitions.are_used():
        _make_tables_anew()
    yield
    _make_tables_anew()
    if os.environ.get("TEST_DIVIDED"):
        call_command("orderhooks_partition", "--events", verbosity=0)


def _make_tables_anew() -> None:
    call_command("migrate", "orderhooks", "zero", verbosity=0)
    call_command("migrate", "orderhooks", verbosity=0)


@pytest.fixture
def beside(in_a_thread) -> Callable[..., Any]:
    """What a job on partitions returns that comes into a worker's transaction, between these two statements."""

    def run(job: Callable[[], Any], first: str, second: str) -> Any:
        returned: list[Any] = []
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(first)
            thread = in_a_thread(lambda: returned.append(job()))
            wait_until_somebody_waits_for_a_lock()
            cursor.execute(second)
        thread.join(20)
        return returned

    return run


def test_ranges_are_made_and_dropped_while_events_are_routed(beside) -> None:
    partitions.divide(now=timezone.now())
    partitions.divide_by_range(now=timezone.now())
    make_delivery(state="delivered")
    go_on_at(partitions.ranges(EVENTS)[0].ends_at + 1)
    now = make_delivery().created_at
    count = len(partitions.ranges(EVENTS))
    [added] = beside(lambda: partitions.add_ranges(now=now), READ_EVENTS, UPDATE_DELIVERIES)
    assert added == [partitions.ranges(division)[-1].table for division in (EVENTS, DELIVERIES)]
    assert len(partitions.ranges(EVENTS)) == count + 1

    def drop() -> tuple[bool, bool]:
        events, deliveries = partitions.ranges(EVENTS)[-1], partitions.ranges(DELIVERIES)[-1]
        return (
            partitions.drop_deliveries(deliveries, before=now),
            partitions.drop_events(events, before=now, count=lambda: None),
        )

    assert beside(drop, READ_EVENTS, UPDATE_DELIVERIES) == [(True, True)]
    assert len(partitions.ranges(EVENTS)) == len(partitions.ranges(DELIVERIES)) == count


def test_a_range_is_dropped_while_a_consumer_of_the_feed_reads(beside) -> None:
    """In one transaction a request reads events, and then writes down how far it has read."""
    partitions.divide(now=timezone.now())
    partitions.divide_by_range(now=timezone.now())
    make_consumer()
    newest = partitions.ranges(EVENTS)[-1]
    go_on_at(newest.begins_at)
    make_event(routed_at=timezone.now() - DAY)

    def drop() -> bool:
        going = newest.events()
        return partitions.drop_events(newest, before=timezone.now(), count=lambda: retention._count_missed(going))

    read, write = "SELECT * FROM orderhooks_event", "UPDATE orderhooks_feedconsumer SET read_up_to = read_up_to"
    assert beside(drop, read, write) == [True]


def test_months_are_made_and_dropped_while_results_are_recorded(beside) -> None:
    """Of attempts alone: as long as deliveries are not divided, a foreign key leads to them."""
    partitions.divide(now=timezone.now())
    make_attempt(make_delivery(state="delivered"))
    count = len(partitions.months())
    now = timezone.now() + 31 * DAY
    [[added]] = beside(lambda: partitions.add_months(now=now), UPDATE_DELIVERIES, UPDATE_ATTEMPTS)
    assert partitions.months()[-1].table == added
    assert beside(lambda: partitions.drop(partitions.months()[-1]), UPDATE_DELIVERIES, UPDATE_ATTEMPTS) == [True]
    assert len(partitions.months()) == count
