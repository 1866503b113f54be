"""Backfills: one event for each order that is there, for one subscription, in batches, at a rate, and never too old."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from orderhooks import backfilling, operations, retention, routing, tasks
from orderhooks.backfilling import batches
from orderhooks.models import Backfill, Delivery, Event, Order
from orderhooks.outbox.reading import reader_of
from orderhooks.publishing import publish_to
from orderhooks.sources import BuiltInOrders
from tests.factories import (
    cutoffs_at,
    make_backfill,
    make_delivery,
    make_event,
    make_order,
    make_replay,
    make_subscription,
)
from tests.receivers import RecordingReceiver

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now()
LATER = NOW + timedelta(days=1)
MANY = 1000


@pytest.fixture(autouse=True)
def woken(monkeypatch) -> list[bool]:
    calls: list[bool] = []
    monkeypatch.setattr(tasks, "wake", lambda: calls.append(True))
    return calls


def make_orders(*numbers: str, **fields: Any) -> list[Order]:
    """Orders from before there was any subscription, without events."""
    return [make_order(lines=[], number=number, **fields) for number in numbers]


def work_off() -> None:
    moved = 1
    while moved:
        Backfill.objects.update(next_batch_at=NOW)
        moved = backfilling.process_batch(now=LATER)


def sent_to(subscription: Any) -> list[str]:
    """The order numbers of its deliveries, in the order of their events."""
    rows = Delivery.objects.filter(subscription=subscription).order_by("event_id")
    return list(rows.values_list("event__order_number", flat=True))


class FragileOrders(BuiltInOrders):
    """Orders of the note "broken" can't be read."""

    # So each order is read before its store is known.
    store_field = ""

    def store(self, order: Any) -> str:
        return str(order.store)

    def payload(self, order: Any) -> dict[str, Any]:
        if order.note == "broken":
            raise ValueError("the note is broken")
        return super().payload(order)


@pytest.fixture
def fragile(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": ["tests.test_backfilling.FragileOrders"]}


class TestWhatGoesOut:
    def test_each_order_once_to_one_subscription_in_the_order_of_the_keys(self, monkeypatch) -> None:
        make_orders("3", "1", "2", "5", "4")
        crm, other = make_subscription(), make_subscription()
        backfill = operations.backfill(crm, rate=MANY, by="alice")
        monkeypatch.setattr(batches, "BATCH", 2)
        work_off()
        backfill.refresh_from_db()
        assert sent_to(crm) == ["3", "1", "2", "5", "4"]
        assert sent_to(other) == []
        assert (backfill.state, backfill.total, backfill.walked, backfill.done) == ("done", 5, 5, 5)
        assert backfill.finished_at is not None
        deliveries = Delivery.objects.values_list("state", "trigger", "requested_by")
        assert set(deliveries) == {("pending", "automatic", f"backfill {backfill.public_id} by alice")}

    def test_the_event_holds_the_order_as_it_is_now_and_no_changes(self) -> None:
        [order] = make_orders("1")
        operations.backfill(make_subscription(), rate=MANY)
        Order.objects.filter(pk=order.pk).update(note="new")
        Event.objects.all().delete()
        work_off()
        event = Event.objects.get()
        assert (event.topic, event.source, event.order_pk) == ("order.updated", "orderhooks", str(order.pk))
        assert event.payload is not None
        assert (event.payload["order"]["note"], event.payload["changes"], event.changes) == ("new", {}, {})

    def test_nobody_else_gets_it_later_either(self) -> None:
        [order] = make_orders("1")
        crm, other = make_subscription(), make_subscription()
        operations.backfill(crm, rate=MANY)
        work_off()
        routing.route(now=LATER)
        publish_to(crm, "order.paid", order.number)
        replay = make_replay(subscription=other, until=LATER)
        again = make_replay(subscription=crm, until=LATER)
        everything = replay.next_range(replay.start(), 10)
        assert not replay.missed(everything).exists()
        assert not replay.events(everything).exists()
        assert again.events(everything).count() == 2

    def test_only_orders_since_a_time(self) -> None:
        make_orders("old", placed_at=NOW - timedelta(days=9))
        make_orders("new", placed_at=NOW - timedelta(days=1))
        crm = make_subscription()
        backfill = operations.backfill(crm, since=NOW - timedelta(days=2), rate=MANY)
        work_off()
        assert (sent_to(crm), backfill.total) == (["new"], 1)

    def test_only_orders_of_its_store_and_as_the_topic_that_is_named(self) -> None:
        make_orders("1", store="north")
        make_orders("2", store="south")
        crm = make_subscription(store="south", topics=["order.created"])
        backfill = operations.backfill(crm, topic="order.created", rate=MANY)
        work_off()
        backfill.refresh_from_db()
        assert (sent_to(crm), backfill.walked, backfill.done) == (["2"], 1, 1)
        assert backfill.total == 1
        assert Event.objects.get().topic == "order.created"

    def test_orders_that_are_added_meanwhile_have_events_of_their_own_and_do_not_lengthen_it(self) -> None:
        make_orders("1")
        crm = make_subscription(topics=["order.updated"])
        backfill = operations.backfill(crm, rate=MANY)
        make_orders("2")
        work_off()
        backfill.refresh_from_db()
        assert sent_to(crm) == ["1"]
        assert (backfill.state, backfill.total, backfill.walked) == ("done", 1, 1)


@pytest.mark.usefixtures("fragile")
class TestOrdersThatCantBeRead:
    def test_are_counted_with_the_first_error_and_the_walk_goes_on(self) -> None:
        make_orders("1")
        make_orders("2", "3", note="broken")
        make_orders("4")
        crm = make_subscription()
        backfill = operations.backfill(crm, rate=MANY)
        work_off()
        backfill.refresh_from_db()
        assert sent_to(crm) == ["1", "4"]
        assert (backfill.state, backfill.walked, backfill.done, backfill.failed) == ("done", 4, 2, 2)
        assert backfill.first_error == "Order 2: ValueError: the note is broken"
        assert not Event.objects.unpublished().exists()

    @pytest.mark.parametrize(
        ("store", "failed", "text"),
        [("north", 1, "Order 1: ValueError: the note"), ("south", 0, ""), ("", 1, "An order whose store is not known")],
    )
    def test_of_another_store_are_not_quoted(self, store: str, failed: int, text: str) -> None:
        make_orders("1", note="broken", store=store)
        operations.backfill(make_subscription(store="north"), rate=MANY)
        work_off()
        backfill = Backfill.objects.get()
        assert (backfill.failed, backfill.first_error.startswith(text)) == (failed, True)
        assert ("note" in backfill.first_error) == (store == "north")

    def test_one_that_is_gone_is_passed_over(self, monkeypatch) -> None:
        first, gone = make_orders("1", "2")
        crm = make_subscription()
        backfill = operations.backfill(crm, rate=MANY)

        def read_late(source: str, keys: Any, **options: Any) -> Any:
            if str(gone.pk) in keys:
                gone.delete()
                Event.objects.all().delete()
            return reader_of(source, keys, **options)

        monkeypatch.setattr(batches, "reader_of", read_late)
        work_off()
        backfill.refresh_from_db()
        assert sent_to(crm) == [first.number]
        assert (backfill.state, backfill.done, backfill.failed) == ("done", 1, 0)

    def test_one_that_kills_its_workers_is_passed_over_alone(self, monkeypatch) -> None:
        make_orders("1", "2", "3")
        killer = Order.objects.get(number="2")
        crm = make_subscription()
        backfill = operations.backfill(crm, rate=MANY)
        read = batches._order

        def read_or_die(source: Any, key: str, reader: Any) -> Any:
            if key == str(killer.pk):
                raise KeyboardInterrupt
            return read(source, key, reader)

        monkeypatch.setattr(batches, "_order", read_or_die)
        deaths = 0
        for _ in range(9):
            Backfill.objects.update(next_batch_at=NOW)  # the lease runs out
            try:
                backfilling.process_batch(now=LATER)
            except KeyboardInterrupt:
                deaths += 1
        backfill.refresh_from_db()
        assert (sent_to(crm), backfill.state, backfill.failed) == (["1", "3"], "done", 1)
        assert "killed its worker 3 times" in backfill.first_error
        assert deaths == batches.MOST_TRIES + 1


class TestBatches:
    def test_keep_to_the_rate(self) -> None:
        make_orders(*map(str, range(7)))
        backfill = operations.backfill(make_subscription(), rate=3)
        start = backfill.next_batch_at
        seen = []
        # The second batch is late by 0.4 seconds, and the third is not.
        for seconds in (0, 0.9, 1.4, 1.9, 2):
            backfilling.process_batch(now=start + timedelta(seconds=seconds))
            backfill.refresh_from_db()
            seen.append((backfill.walked, backfill.state))
        assert seen == [(3, "running"), (3, "running"), (6, "running"), (6, "running"), (7, "done")]

    def test_are_not_caught_up_with_after_a_long_pause(self) -> None:
        make_orders(*map(str, range(9)))
        backfill = operations.backfill(make_subscription(), rate=2)
        for _ in range(5):
            backfilling.process_batch(now=LATER)
        backfill.refresh_from_db()
        assert backfill.walked == 4, "those of this second and of the one before"

    def test_end_early_if_orders_are_slow_to_read(self, monkeypatch) -> None:
        make_orders("1", "2", "3")
        crm = make_subscription()
        # The first batch is begun in any case.
        monkeypatch.setattr(batches, "TURN_SECONDS", 0.0)
        operations.backfill(crm, rate=MANY)
        backfilling.process_batch(now=LATER)
        assert sent_to(crm) == ["1"]
        work_off()
        assert sent_to(crm) == ["1", "2", "3"]

    @pytest.mark.parametrize(
        ("limits", "most"), [({}, 4), ({"max_per_second": 1}, 2), ({"max_in_flight": 1}, 3), ({"state": "paused"}, 4)]
    )
    def test_wait_while_deliveries_wait(self, monkeypatch, limits: dict[str, Any], most: int) -> None:
        monkeypatch.setattr(batches, "MOST_DUE", 4)
        monkeypatch.setattr(batches, "SECONDS_OF_LIMIT", 2)
        monkeypatch.setattr(batches, "DUE_PER_REQUEST_AT_ONCE", 3)
        make_orders(*map(str, range(9)))
        crm = make_subscription(**limits)
        backfill = operations.backfill(crm, rate=MANY)
        work_off()
        assert len(sent_to(crm)) == most
        assert Backfill.objects.get().next_batch_at > LATER
        Delivery.objects.update(state="delivered", finished_at=NOW)
        Backfill.objects.update(next_batch_at=NOW)
        backfilling.process_batch(now=LATER)
        assert len(sent_to(crm)) == 2 * most
        backfill.refresh_from_db()
        assert backfill.state == "running"

    def test_wait_while_many_failed_deliveries_wait_to_be_tried_again(self, monkeypatch) -> None:
        monkeypatch.setattr(batches, "MOST_PENDING", 2)
        crm = make_subscription()
        for _ in range(2):
            make_delivery(subscription=crm, event=make_event(), next_attempt_at=LATER + timedelta(hours=1))
        make_orders("1")
        backfill = operations.backfill(crm, rate=MANY)
        work_off()
        backfill.refresh_from_db()
        assert (backfill.walked, backfill.tries) == (0, 0)
        assert backfill.next_batch_at == LATER + batches.LONG_WAIT

    def test_a_batch_that_another_worker_did_is_not_done_twice(self) -> None:
        make_orders("1", "2")
        crm = make_subscription()
        operations.backfill(crm, rate=MANY)
        late = Backfill.objects.get()
        batch = batches._read(late, BuiltInOrders(), 9, until=float("inf"), kills=False)
        work_off()
        assert not late.lease(until=LATER, one_by_one=0)
        assert not batches._write(late, BuiltInOrders(), batch, now=LATER, paced_from=LATER)
        assert sent_to(crm) == ["1", "2"]

    def test_a_cancelled_one_stops_where_it_is(self) -> None:
        make_orders("1", "2", "3")
        crm = make_subscription()
        backfill = operations.backfill(crm, rate=1)
        backfilling.process_batch(now=LATER)
        late = Backfill.objects.get()
        batch = batches._read(late, BuiltInOrders(), 9, until=float("inf"), kills=False)
        assert operations.cancel_backfill(backfill)
        assert not operations.cancel_backfill(backfill)
        assert not batches._write(late, BuiltInOrders(), batch, now=LATER, paced_from=LATER)
        work_off()
        backfill.refresh_from_db()
        assert (backfill.state, sent_to(crm)) == ("cancelled", ["1"])
        assert backfill.finished_at is not None

    def test_a_batch_that_failed_halfway_is_done_again(self, monkeypatch) -> None:
        make_orders("1", "2")
        crm = make_subscription()
        operations.backfill(crm, rate=MANY)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Delivery.objects, "bulk_create", lambda *_args: (_ for _ in ()).throw(KeyboardInterrupt))
            backfilling.process_batch(now=LATER)
        assert not Event.objects.exists()
        Backfill.objects.update(next_batch_at=NOW)
        work_off()
        assert sent_to(crm) == ["1", "2"]


class TestItsEnd:
    def test_a_source_that_is_gone_ends_it_with_a_reason(self, settings) -> None:
        make_orders("1")
        backfill = operations.backfill(make_subscription(), rate=MANY)
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": []}
        work_off()
        backfill.refresh_from_db()
        assert backfill.state == "failed"
        assert "'orderhooks' is not in ORDERHOOKS['SOURCES'] any more" in backfill.error

    def test_an_unexpected_error_ends_it_without_quoting_it(self, monkeypatch) -> None:
        make_orders("1")
        backfill = operations.backfill(make_subscription(), rate=MANY)
        monkeypatch.setattr(batches, "_contents", lambda _order: (_ for _ in ()).throw(RuntimeError("secret")))
        work_off()
        backfill.refresh_from_db()
        assert (backfill.state, backfill.error.partition(".")[0]) == ("failed", "RuntimeError")
        assert "secret" not in backfill.error
        assert not Event.objects.exists()

    def test_an_empty_source_is_done_at_once(self) -> None:
        backfill = operations.backfill(make_subscription())
        work_off()
        backfill.refresh_from_db()
        assert (backfill.state, backfill.total, backfill.share_done()) == ("done", 0, 1.0)

    def test_finished_ones_are_pruned(self) -> None:
        old = NOW - timedelta(days=100)
        make_backfill(state="done", finished_at=old)
        kept = [make_backfill(created_at=old), make_backfill(state="failed", finished_at=NOW)]
        assert retention.prune(before=cutoffs_at(NOW - timedelta(days=90))) == 1
        assert set(Backfill.objects.all()) == set(kept)


def test_a_worker_is_woken_and_works_it_off_beside_what_is_new(woken, receiver: RecordingReceiver) -> None:
    make_orders("1", "2", "3")
    crm = make_subscription(url=receiver.url)
    backfill = operations.backfill(crm, rate=MANY)
    assert woken
    live = make_delivery(subscription=crm)
    tasks.pump()
    backfill.refresh_from_db()
    live.refresh_from_db()
    assert (backfill.state, backfill.done, live.state) == ("done", 3, "delivered")
    assert set(Delivery.objects.values_list("state", flat=True)) == {"delivered"}
    assert len(receiver.received) == 4


def test_a_pump_stays_for_the_next_batch(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "LINGER_SECONDS": 0.0}
    make_orders("1", "2", "3")
    backfill = operations.backfill(make_subscription(state="paused"), rate=2)
    tasks.pump()
    backfill.refresh_from_db()
    assert (backfill.state, backfill.done) == ("done", 3)


def test_the_store_can_roll_back_the_start_of_one(woken: list[bool]) -> None:
    subscription = make_subscription()
    with pytest.raises(RuntimeError), transaction.atomic():
        operations.backfill(subscription)
        raise RuntimeError
    assert not woken
    assert not Backfill.objects.exists()
