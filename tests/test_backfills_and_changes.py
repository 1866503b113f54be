"""Backfills while orders change: a receiver that goes by `sequence` ends with the newest state of each order."""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks import backfilling, operations, outbox, tasks
from orderhooks.backfilling import batches
from orderhooks.models import Backfill, Change, Delivery, Event, Order, Subscription
from orderhooks.sources import BuiltInOrders
from tests.factories import make_order, make_subscription

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_worker(monkeypatch) -> None:
    monkeypatch.setattr(tasks, "wake", lambda: None)


@pytest.fixture
def order() -> Order:
    """An order with the note "old", from before there was any subscription; and a backfill that is due."""
    order = make_order(lines=[], note="old")
    operations.backfill(make_subscription(), rate=1000)
    return order


def change(order: Order, note: str = "new") -> None:
    other = Order.objects.get(pk=order.pk)
    other.note = note
    other.save()


def process_batch_and(monkeypatch: Any, name: str, act: Callable[[], object], *, first: bool = False) -> None:
    """A batch, with something done after, or before, the named step of it."""
    step = getattr(batches, name)
    acted: list[object] = []

    def and_act(*arguments: Any, **options: Any) -> Any:
        if first and not acted:
            acted.append(act())
        result = step(*arguments, **options)
        if not first and not acted:
            acted.append(act())
        return result

    with monkeypatch.context() as patch:
        patch.setattr(batches, name, and_act)
        backfilling.process_batch(now=timezone.now())
    assert acted


def note_in(event: Event | None) -> Any:
    assert event is not None
    assert event.payload is not None
    return event.payload["order"]["note"]


def newest_note() -> Any:
    return note_in(Event.objects.order_by("-sequence").first())


def of_backfill() -> Event:
    return Event.objects.get(only_for__isnull=False)


def test_a_change_that_is_published_after_the_order_was_read_is_in_the_event(order, monkeypatch) -> None:
    process_batch_and(monkeypatch, "_read", lambda: change(order))
    theirs = Event.objects.get(only_for=None)
    assert theirs.sequence < of_backfill().sequence
    assert newest_note() == "new"
    assert of_backfill().changes == {}


@pytest.mark.by_hand
def test_a_change_that_waits_in_the_outbox_is_in_the_event(order, monkeypatch) -> None:
    def change_and_die() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(outbox.transaction_batch, "coalesce", lambda *_arguments, **_options: [])
            change(order)

    process_batch_and(monkeypatch, "_read", change_and_die)
    assert Change.objects.exists()
    assert note_in(of_backfill()) == "new"
    outbox.coalesce_left_behind(now=timezone.now() + outbox.LEFT_BEHIND_AFTER * 2)
    assert newest_note() == "new"


def test_an_order_that_is_deleted_after_it_was_read_does_not_come_back(order, monkeypatch) -> None:
    process_batch_and(monkeypatch, "_read", order.delete)
    assert list(Event.objects.values_list("topic", flat=True)) == ["order.deleted"]
    backfill = Backfill.objects.get()
    assert (backfill.state, backfill.walked, backfill.done, backfill.failed) == ("done", 1, 0, 0)


def test_an_order_that_moved_to_another_store_is_not_sent(monkeypatch) -> None:
    order = make_order(lines=[], store="north")
    operations.backfill(make_subscription(store="north"), rate=1000)
    process_batch_and(monkeypatch, "_read", lambda: move(order))
    assert not Event.objects.filter(only_for__isnull=False).exists()


def move(order: Order) -> None:
    other = Order.objects.get(pk=order.pk)
    other.store = "south"
    other.save()


def test_other_orders_of_the_batch_are_not_read_again(order, monkeypatch) -> None:
    other = make_order(lines=[], note="other")
    Backfill.objects.update(last_key=str(other.pk))
    read: list[str] = []
    step = batches._order

    def read_one(source: Any, key: str, reader: Any) -> Any:
        read.append(key)
        return step(source, key, reader)

    monkeypatch.setattr(batches, "_order", read_one)
    process_batch_and(monkeypatch, "_read", lambda: change(order))
    assert read == [str(order.pk), str(other.pk), str(order.pk)]


class TestOnADatabaseWithSeveralWriters:
    @pytest.fixture(autouse=True)
    def _several_writers(self) -> None:
        if not connection.features.has_select_for_update_skip_locked:
            pytest.skip("this database lets one writer in at a time; the run on PostgreSQL has these tests")

    def test_a_change_after_the_look_at_the_outbox_gets_a_higher_sequence(
        self, order, monkeypatch, in_a_thread
    ) -> None:
        process_batch_and(monkeypatch, "_changed", lambda: in_a_thread(lambda: change(order)).join(20))
        theirs = Event.objects.get(only_for=None)
        assert (note_in(of_backfill()), note_in(theirs)) == ("old", "new")
        assert of_backfill().sequence < theirs.sequence
        assert newest_note() == "new"

    def test_a_change_between_the_sequence_and_the_look_at_the_outbox_is_in_both(
        self, order, monkeypatch, in_a_thread
    ) -> None:
        process_batch_and(monkeypatch, "_changed", lambda: in_a_thread(lambda: change(order)).join(20), first=True)
        notes = [note_in(event) for event in Event.objects.order_by("sequence")]
        assert notes == ["new", "new"]

    def test_two_workers_send_each_order_once(self, monkeypatch, in_a_thread) -> None:
        orders = [make_order(lines=[]) for _ in range(40)]
        operations.backfill(make_subscription(), rate=1000)
        monkeypatch.setattr(batches, "BATCH", 3)

        def work() -> None:
            while Backfill.objects.running().exists():
                Backfill.objects.update(next_batch_at=timezone.now())  # leases run out all the time
                with contextlib.suppress(OperationalError):  # MariaDB ends one of two that wait for each other
                    backfilling.process_batch(now=timezone.now())

        for thread in [in_a_thread(work), in_a_thread(work)]:
            thread.join(60)
        numbers = Delivery.objects.order_by("event_id").values_list("event__order_number", flat=True)
        assert list(numbers) == [order.number for order in orders]
        backfill = Backfill.objects.get()
        assert (backfill.walked, backfill.done, backfill.failed) == (40, 40, 0)

    def test_of_two_that_begin_at_the_same_time_one_is_refused(self, monkeypatch, in_a_thread) -> None:
        subscription, refused = make_subscription(), []
        make_order(lines=[])
        both = threading.Barrier(2)
        plan = backfilling.plan

        def plan_together(*arguments: Any, **options: Any) -> Any:
            planned = plan(*arguments, **options)
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(1)  # the other one is kept from planning until this one is saved
            return planned

        monkeypatch.setattr(backfilling, "plan", plan_together)

        def begin() -> None:
            try:
                operations.backfill(subscription)
            except operations.BackfillError as error:
                refused.append(str(error))

        for thread in [in_a_thread(begin), in_a_thread(begin)]:
            thread.join(20)
        assert Backfill.objects.count() == 1
        assert len(refused) == 1
        assert "is still running" in refused[0]

    def test_a_locked_subscription_holds_up_its_backfill_alone(self, order, in_a_thread) -> None:
        with transaction.atomic():
            Subscription.objects.select_for_update().get()
            in_a_thread(lambda: backfilling.process_batch(now=timezone.now())).join(20)
        backfill = Backfill.objects.get()
        assert (backfill.state, backfill.walked, backfill.tries) == ("running", 0, 0)
        backfilling.process_batch(now=timezone.now() + batches.RETRY_AFTER * 2)
        assert of_backfill()

    def test_a_busy_order_ends_as_it_is(self, monkeypatch, in_a_thread) -> None:
        orders = [make_order(lines=[], note="old") for _ in range(30)]
        operations.backfill(make_subscription(), rate=1000)

        def change_all() -> None:
            for round_ in range(8):
                for order in orders:
                    change(order, f"note {round_}")

        thread = in_a_thread(change_all)
        monkeypatch.setattr(batches, "BATCH", 3)
        while Backfill.objects.running().exists():
            Backfill.objects.update(next_batch_at=timezone.now())
            backfilling.process_batch(now=timezone.now())
        thread.join(60)
        for order in orders:
            order.refresh_from_db()
            newest = Event.objects.filter(order_pk=str(order.pk)).order_by("-sequence").first()
            assert note_in(newest) == order.note
        assert Event.objects.filter(only_for__isnull=False).count() == len(orders)


def test_more_orders_are_read_with_no_more_queries_and_no_lock_where_there_is_only_one(monkeypatch) -> None:
    read, inside = BuiltInOrders.payload, set[bool]()

    def payload(source: BuiltInOrders, order: Order) -> Any:
        inside.add(connection.in_atomic_block)
        return read(source, order)

    monkeypatch.setattr(BuiltInOrders, "payload", payload)
    queries = []
    for number in (2, 6):
        Subscription.objects.all().delete()
        for _ in range(number):
            make_order()
        operations.backfill(make_subscription(), rate=1000)
        with CaptureQueriesContext(connection) as captured:
            backfilling.process_batch(now=timezone.now())
        assert Event.objects.count() == Order.objects.count()
        queries.append(sum("SELECT" in query["sql"] for query in captured))
        Event.objects.all().delete()
    assert queries[0] == queries[1]
    assert inside == {connection.vendor != "sqlite"}
