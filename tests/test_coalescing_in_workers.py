"""COALESCE_IN_WORKER: a save only writes down what changed, and a worker makes the events of it."""

import contextlib
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks import outbox, pumping, tasks, testing
from orderhooks.models import Change, Delivery, Event, Order, Pump
from orderhooks.outbox import left_behind
from orderhooks.outbox.leasing import lease
from orderhooks.signals import event_published
from orderhooks.sources import BuiltInOrders
from tests.factories import make_order, make_quiet_order, make_subscription
from tests.publications import PAID, payload_of, published
from tests.receivers import RecordingReceiver

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.by_hand]


@pytest.fixture(autouse=True)
def _in_worker(settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "COALESCE_IN_WORKER": True}


@pytest.fixture
def order(settings: Any) -> Order:
    order = make_quiet_order()
    coalesce()
    Event.objects.all().delete()
    return order


def pay(order: Order, status: str = "paid") -> None:
    order.payment_status = status
    order.save()


def coalesce(**later: float) -> list[Event]:
    return outbox.coalesce_left_behind(now=timezone.now() + timedelta(**later))


def turn() -> pumping.Turn:
    return pumping.Turn(other_work=lambda: False, notices_due=lambda: None, lingers=False)


def test_a_save_asks_nothing_after_its_commit_but_whether_a_worker_is_awake(order: Order) -> None:
    make_subscription()
    Pump.start(now=timezone.now())
    with CaptureQueriesContext(connection) as captured:
        pay(order)
    queries = [query["sql"].strip() for query in captured]
    commit = next(place for place, sql in enumerate(queries) if sql.startswith(("COMMIT", "RELEASE")))
    assert len(queries[commit + 1 :]) == 1, queries
    assert "orderhooks_pump" in queries[-1]
    assert Change.objects.count() == 1
    assert not Event.objects.exists()


def test_a_worker_makes_the_events_of_each_transaction_as_it_was_committed(order: Order) -> None:
    make_subscription()
    pay(order)
    with transaction.atomic():
        pay(order, "refunded")
        order.note = "sorry"
        order.save()
    seen: list[str] = []
    with _listening(seen):
        tasks.pump()
    assert published() == ["order.updated", "order.paid", "order.updated", "order.refunded"]
    assert [event.changes for event in Event.objects.order_by("sequence")][1:3] == [
        PAID,
        {"payment_status": ["paid", "refunded"], "note": ["", "sorry"]},
    ]
    notes = [payload_of(event)["order"]["note"] for event in Event.objects.order_by("sequence")]
    assert notes == ["", "", "sorry", "sorry"]
    assert seen == published()


@contextlib.contextmanager
def _listening(seen: list[str]) -> Iterator[None]:
    def receive(event: Event, **_rest: Any) -> None:
        seen.append(event.topic)

    event_published.connect(receive)
    try:
        yield
    finally:
        event_published.disconnect(receive)


@pytest.mark.parametrize(("orders", "leases"), [(1, [2]), (2, [4, 0]), (3, [4, 2]), (5, [4, 4, 2])])
def test_a_worker_leases_changes_until_none_is_left(orders: int, leases: list[int], monkeypatch) -> None:
    monkeypatch.setattr(left_behind, "COALESCE_TOGETHER", 4)
    made: list[int] = []

    def count(**wanted: Any) -> list[Change]:
        leased = lease(**wanted)
        made.append(len(leased))
        return leased

    monkeypatch.setattr(left_behind, "lease", count)
    make_subscription()
    for _ in range(orders):
        make_order()
    coalesce()
    # Each order has a line, which is a change too.
    assert made == leases
    assert len(set(Event.objects.values_list("order_pk", flat=True))) == orders


@pytest.mark.parametrize("orders", [1, left_behind.FEW + 2])
def test_what_is_saved_arrives(receiver: RecordingReceiver, orders: int) -> None:
    make_subscription(url=receiver.url, topics=["order.created"])
    for _ in range(orders):
        make_order()
    with transaction.atomic():
        make_order()
        transaction.set_rollback(True)
    tasks.pump()
    assert receiver.topics == ["order.created"] * orders
    assert set(Delivery.objects.values_list("state", flat=True)) == {"delivered"}


def test_a_turn_that_ends_says_that_changes_wait(order: Order, monkeypatch) -> None:
    """A process that saves while the heartbeat is still there sends no wake-up."""
    make_subscription()
    end = Pump.end

    def save_meanwhile(pump: Pump, **options: Any) -> None:
        pay(order)
        end(pump, **options)

    monkeypatch.setattr(Pump, "end", save_meanwhile)
    assert turn().run(until=time.monotonic() + 20)
    monkeypatch.setattr(Pump, "end", end)
    assert not turn().run(until=time.monotonic() + 20)
    assert published() == ["order.updated", "order.paid"]


def test_an_order_that_can_not_be_read_does_not_keep_workers_awake(order: Order, monkeypatch) -> None:
    make_subscription()

    def refuse(*_args: object) -> None:
        raise OperationalError("canceling statement due to statement timeout")

    monkeypatch.setattr(BuiltInOrders, "payload", refuse)
    pay(order)
    assert outbox.is_anything_left_behind(now=timezone.now())
    assert coalesce() == []
    assert not outbox.is_anything_left_behind(now=timezone.now() + timedelta(minutes=5))
    assert Change.objects.get().coalesce_attempts == 0


def test_workers_side_by_side_read_an_order_once(order: Order) -> None:
    make_subscription()
    pay(order)
    now = timezone.now()

    def lease_all() -> list[Change]:
        return lease(before=None, now=now, until=now + left_behind.LEASE, at_most=100, using="default")

    [mine] = lease_all()
    assert (mine.coalesce_attempts, mine.lease_expires_at) == (1, now + left_behind.LEASE)
    for _ in range(2 * outbox.MAX_COALESCE_ATTEMPTS):
        assert lease_all() == []
        assert outbox.coalesce_left_behind(now=now) == []
    # Its worker was killed.
    assert len(outbox.coalesce_left_behind(now=now + left_behind.LEASE)) == 2
    assert published() == ["order.updated", "order.paid"]


def test_what_a_turn_has_no_time_for_is_left_to_the_next(order: Order, monkeypatch) -> None:
    make_subscription()
    with transaction.atomic():
        for one in (order, make_order(), make_order()):
            pay(one)
    read = BuiltInOrders.payload

    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()

    def slow(source: BuiltInOrders, order: Order) -> Any:
        clock.now += left_behind.TURN_SECONDS + 0.1
        return read(source, order)

    with monkeypatch.context() as patch:
        patch.setattr(left_behind, "time", clock)
        patch.setattr(BuiltInOrders, "payload", slow)
        assert len({event.order_pk for event in coalesce()}) == 1
        assert set(Change.objects.values_list("coalesce_attempts", "lease_expires_at")) == {(0, None)}
        assert len({event.order_pk for event in coalesce()}) == 1
    assert len({event.order_pk for event in coalesce()}) == 1


def test_a_stores_tests_see_the_events_of_their_transaction(order: Order) -> None:
    with transaction.atomic(), testing.capture() as captured:
        pay(order)
        assert captured.topics == ["order.updated", "order.paid"]
