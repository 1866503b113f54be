"""Carts and orders in one table: a row makes events from when it becomes an order until it ceases to be one."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from orderhooks import backfilling, outbox, publishing, signal_handlers, triggers
from orderhooks.models import CaptureFailure, Change, Event
from orderhooks.outbox import transaction_batch
from orderhooks.sources import order_keys
from tests.factories import make_backfill, make_subscription
from tests.publications import payload_of
from tests.shapes import sources
from tests.shapes.models import Address, Parcel, Payment, Purchase, PurchaseLine

pytestmark = pytest.mark.django_db(transaction=True)


class Shop(sources.Purchase):
    """Its rows are carts at first."""

    name = "shop"
    only = ~Q(state="cart")
    transitions = {"state": {"paid": "order.paid"}}

    def payload(self, order: Any) -> dict[str, Any]:
        assert order.state != "cart", "A cart has no payload."
        return {**super().payload(order), "total": str(order.total), "lines": [line.sku for line in order.lines.all()]}


class TriggeredShop(Shop):
    capture = "triggers"


LEVELS = ["Shop", *(["TriggeredShop"] if connection.vendor == "postgresql" else [])]


@pytest.fixture(autouse=True, params=LEVELS)
def _level(request: Any, settings: Any) -> Iterator[None]:
    own = settings.ORDERHOOKS
    settings.ORDERHOOKS = {**own, "SOURCES": [f"{__name__}.{request.param}"], "TOPICS": sources.TOPICS}
    signal_handlers.connect()
    triggers.install_after_migrate(using="default")
    make_subscription()
    yield
    settings.ORDERHOOKS = own
    triggers.install_after_migrate(using="default")
    assert list(CaptureFailure.objects.values_list("error", flat=True)) == []


def cart(**values: Any) -> Any:
    return Purchase.objects.create(state="cart", **values)


def put(order: Any, state: str) -> None:
    order.state = state
    order.save()


def told() -> list[str]:
    """The topics since the last call."""
    outbox.coalesce_left_behind(now=timezone.now())  # of rows whose orders only triggers know
    events = list(Event.objects.order_by("sequence"))
    assert not Change.objects.exists()
    assert [event.error for event in events] == [""] * len(events)
    Event.objects.all().delete()
    return [event.topic for event in events]


def test_a_cart_and_its_rows_make_no_events() -> None:
    order = cart(billing=Address.objects.create(city="Oslo"))
    line = PurchaseLine.objects.create(order=order, sku="TEA")
    Payment.objects.create(order=order, amount=5)
    Parcel.objects.create(line=line)
    order.total = 20
    order.save()
    order.billing.city = "Rome"
    order.billing.save()
    line.delete()
    assert told() == []
    order.delete()
    assert told() == []


def test_a_cart_that_becomes_an_order_is_a_new_order_with_all_that_it_has() -> None:
    order = cart()
    line = PurchaseLine.objects.create(order=order, sku="TEA")
    Payment.objects.create(order=order, amount=5)
    Parcel.objects.create(line=line)
    assert told() == []
    put(order, "paid")
    created, *others = Event.objects.order_by("sequence")
    assert [one.topic for one in others] == ["order.paid", "order.payment", "parcel.made", "order.covered"]
    assert created.topic == "order.created"
    assert payload_of(created)["order"]["lines"] == ["TEA"]
    assert created.changes["state"] == ["open", "paid"]
    assert [row["amount"] for row in created.changes["payments"][1]] == ["5.00 EUR"]
    told()
    line.sku = "MUG"
    line.save()
    assert told() == ["order.updated"]


def test_a_cart_that_is_placed_in_the_transaction_that_made_it_is_a_new_order() -> None:
    with transaction.atomic():
        order = cart()
        PurchaseLine.objects.create(order=order, sku="TEA")
        order.total = 3
        order.save()
        put(order, "open")
    assert told() == ["order.created"]


def test_an_order_that_becomes_a_cart_again_is_deleted_as_it_was() -> None:
    order = Purchase.objects.create(total=7)
    line = PurchaseLine.objects.create(order=order, sku="TEA")
    told()
    with transaction.atomic():
        line.delete()
        order.total = 1
        put(order, "cart")
    [deleted] = Event.objects.all()
    assert (deleted.topic, deleted.error, deleted.changes) == ("order.deleted", "", {})
    assert payload_of(deleted)["order"]["total"] == "7.00"
    assert payload_of(deleted)["order"]["lines"] == ["TEA"]
    told()
    order.total = 2
    order.save()
    assert told() == []
    put(order, "open")
    assert told() == ["order.created"]


def test_an_order_is_deleted_and_a_cart_is_not() -> None:
    order = Purchase.objects.create()
    PurchaseLine.objects.create(order=order, sku="TEA")
    told()
    order.delete()
    assert told() == ["order.deleted"]
    with transaction.atomic():
        order = cart()
        put(order, "open")
        order.delete()
    assert told() == []


def test_a_change_that_ends_where_it_began_makes_no_event() -> None:
    order = Purchase.objects.create()
    told()
    with transaction.atomic():
        put(order, "cart")
        order.total = 3
        order.save()
        put(order, "open")
    [updated] = Event.objects.all()
    assert (updated.topic, updated.changes) == ("order.updated", {"total": ["0.00", "3.00"]})
    told()
    with transaction.atomic():
        put(order, "cart")
        put(order, "open")
    assert told() == []


def test_fields_that_say_nothing_of_carts_may_be_saved_alone() -> None:
    order = Purchase.objects.create()
    row = cart()
    told()
    for one in (order, row):
        one.total = 4
        one.save(update_fields=["total"])
        one.save(update_fields=["total"])
    assert told() == ["order.updated"]


def test_what_the_store_publishes_of_a_cart_is_dropped() -> None:
    order = cart()
    publishing.publish("order.paid", order)
    assert told() == []
    with transaction.atomic():
        publishing.publish("order.covered", order)
        put(order, "open")
    assert told() == ["order.created", "order.covered"]


def test_tracked_statements_make_events_of_orders_alone() -> None:
    row, order = cart(), Purchase.objects.create()
    told()
    with publishing.track(Purchase.objects.all()):
        Purchase.objects.update(total=3)
    assert told() == ["order.updated"]
    with publishing.track(Purchase.objects.none()) as tracking:
        tracking.add(Purchase.objects.bulk_create([Purchase(state="cart"), Purchase(state="open")]))
    assert told() == ["order.created"]
    with publishing.track(Purchase.objects.all()):
        Purchase.objects.filter(pk=row.pk).update(state="open")
        Purchase.objects.filter(pk=order.pk).update(state="cart")
    assert sorted(told()) == ["order.created", "order.deleted"]
    with publishing.track(Purchase.objects.filter(pk=order.pk)):
        Purchase.objects.filter(pk=order.pk)._raw_delete("default")
    assert told() == []


def test_events_that_are_made_later_show_the_row_as_each_transaction_left_it(monkeypatch: Any) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(transaction_batch, "coalesce", lambda *_args, **_options: [])
        patch.setattr(transaction_batch, "coalesce_many", lambda *_args, **_options: [])
        order = cart()
        PurchaseLine.objects.create(order=order, sku="TEA")
        order.total = 1
        put(order, "open")
        order.total = 2
        order.save()
        put(order, "cart")
        order.total = 3
        order.save()
        put(order, "open")
        order.delete()
    outbox.coalesce_left_behind(now=timezone.now() + outbox.LEFT_BEHIND_AFTER)
    events = list(Event.objects.order_by("sequence"))
    assert [(one.topic, payload_of(one)["order"]["total"]) for one in events] == [
        ("order.created", "1.00"),
        ("order.updated", "2.00"),
        ("order.deleted", "2.00"),
        ("order.created", "3.00"),
        ("order.deleted", "3.00"),
    ]
    assert [payload_of(one)["order"]["lines"] for one in events] == [["TEA"]] * 5


def test_an_order_whose_payload_fails_waits_and_a_cart_does_not(monkeypatch: Any) -> None:
    def fail(_source: Any, _order: Any) -> dict[str, Any]:
        raise ValueError("no price")

    row, order = cart(), Purchase.objects.create()
    told()
    monkeypatch.setattr(Shop, "payload", fail)
    for one in (row, order):
        one.total = 3
        one.save()
    [event] = Event.objects.all()
    assert (event.topic, event.order_pk, event.error) == ("order.updated", str(order.pk), "ValueError: no price")
    Event.objects.all().delete()


@pytest.mark.by_hand
def test_the_outbox_holds_nothing_of_a_cart_itself(monkeypatch: Any) -> None:
    monkeypatch.setattr(transaction_batch, "coalesce", lambda *_args, **_options: [])
    order = cart()
    order.total = 3
    order.save()
    order.delete()
    with publishing.track(Purchase.objects.none()) as tracking:
        [order] = tracked = Purchase.objects.bulk_create([Purchase(state="cart")])
        tracking.add(tracked)
    with publishing.track(Purchase.objects.all()):
        Purchase.objects.update(total=4)
    assert not Change.objects.exists()
    order.refresh_from_db()
    order.save(update_fields=["total"])
    assert not Change.objects.exists()
    put(order, "open")
    put(order, "cart")
    # To show the order as it was, what follows has to be undone.
    order.total = 5
    order.save()
    assert Change.objects.count() == 3


@pytest.mark.skipif(connection.vendor != "postgresql", reason="other databases let no line in beside a placement")
def test_a_line_that_is_added_while_its_cart_is_placed_is_shown(in_a_thread: Any) -> None:
    order = cart()
    with transaction.atomic():
        put(order, "open")
        in_a_thread(lambda: PurchaseLine.objects.create(order_id=order.pk, sku="TEA")).join(20)
    outbox.coalesce_left_behind(now=timezone.now())
    assert [payload_of(one)["order"]["lines"] for one in Event.objects.filter(topic="order.created")] == [["TEA"]]
    told()
    order = cart()
    with transaction.atomic():
        PurchaseLine.objects.create(order=order, sku="TEA")
        in_a_thread(lambda: put(Purchase.objects.get(pk=order.pk), "open")).join(20)
    assert told() == ["order.created", "order.updated"]


def test_a_backfill_leaves_out_what_becomes_a_cart_while_it_reads(monkeypatch: Any) -> None:
    first, second = Purchase.objects.create(), Purchase.objects.create()
    cart()
    backfill = make_backfill(source="shop", subscription=make_subscription())
    listed = order_keys

    def list_and_put_back(*arguments: Any, **options: Any) -> list[str]:
        found = listed(*arguments, **options)
        put(first, "cart")
        return found

    monkeypatch.setattr("orderhooks.sources.order_keys", list_and_put_back)
    backfilling.process_batch(now=timezone.now() + timedelta(minutes=1))
    sent = Event.objects.filter(only_for=backfill.subscription_id)
    assert [event.order_pk for event in sent] == [str(second.pk)]
    backfill.refresh_from_db()
    assert (backfill.failed, backfill.state) == (0, "done")
