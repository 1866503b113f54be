"""An order that one transaction deletes and saves again under the same key makes the events of its net change."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from orderhooks import outbox, publishing, signal_handlers, triggers
from orderhooks.models import CaptureFailure, Change, Event
from orderhooks.outbox import transaction_batch
from tests.factories import make_subscription
from tests.publications import payload_of
from tests.shapes import sources
from tests.shapes.models import Address, Payment, Purchase, PurchaseLine

pytestmark = pytest.mark.django_db(transaction=True)


class Triggered(sources.Purchase):
    capture = "triggers"


class Shop(sources.Purchase):
    only = ~Q(state="cart")


LEVELS = {"signals": "tests.shapes.sources.Purchase", "carts": f"{__name__}.Shop"}
if connection.vendor == "postgresql":
    LEVELS["triggers"] = f"{__name__}.Triggered"


@pytest.fixture(autouse=True, params=LEVELS)
def _level(request: Any, settings: Any) -> Iterator[None]:
    own = settings.ORDERHOOKS
    settings.ORDERHOOKS = {**own, "SOURCES": [LEVELS[request.param]], "TOPICS": sources.TOPICS}
    signal_handlers.connect()
    triggers.install_after_migrate(using="default")
    make_subscription()
    yield
    settings.ORDERHOOKS = own
    triggers.install_after_migrate(using="default")
    assert list(CaptureFailure.objects.values_list("error", flat=True)) == []


def events() -> dict[str, Event]:
    """The events since the last call, by their topic."""
    outbox.coalesce_left_behind(now=timezone.now())
    assert not Change.objects.exists()
    found = {event.topic: event for event in Event.objects.order_by("sequence")}
    assert [event.error for event in found.values()] == [""] * len(found)
    Event.objects.all().delete()
    return found


def make(**values: Any) -> Any:
    order = Purchase.objects.create(**values)
    events()
    return order


def delete_and_save(order: Any, **values: Any) -> None:
    key = order.pk
    order.delete()
    order.pk = key
    for name, value in values.items():
        setattr(order, name, value)
    order.save()


def test_an_order_that_is_deleted_and_saved_again_is_updated() -> None:
    order = make(total=5)
    with transaction.atomic():
        delete_and_save(order, state="paid", total=7)
        publishing.publish("order.fulfilled", order)
    found = events()
    assert list(found) == ["order.updated", "order.paid", "order.fulfilled"]
    changes = {"state": ["open", "paid"], "total": ["5.00", "7.00"]}
    assert [event.changes for event in found.values()] == [changes] * 3
    assert payload_of(found["order.updated"])["order"]["state"] == "paid"


def test_an_order_that_is_saved_again_as_it_was_makes_no_event_but_what_the_store_publishes() -> None:
    order = make(total=5)
    with transaction.atomic():
        publishing.publish("order.paid", order)
        delete_and_save(order)
    assert list(events()) == ["order.paid"]
    with transaction.atomic():
        delete_and_save(order)
    assert events() == {}


def test_the_change_begins_with_what_was_stored_before_the_transaction() -> None:
    order = make(total=5)
    with transaction.atomic():
        order.total = 6
        order.save()
        delete_and_save(order, total=5)
        order.total = 8
        order.save()
    [event] = events().values()
    assert (event.topic, event.changes) == ("order.updated", {"total": ["5.00", "8.00"]})


def test_a_new_order_that_is_deleted_and_saved_again_is_created() -> None:
    with transaction.atomic():
        order = Purchase.objects.create(total=5)
        PurchaseLine.objects.create(order=order, sku="LOST")
        Payment.objects.create(order=order, amount=2)
        publishing.publish("order.fulfilled", order)
        delete_and_save(order, state="paid")
    found = events()
    assert list(found) == ["order.created", "order.paid", "order.fulfilled"]
    assert found["order.created"].changes == {"state": ["open", "paid"]}


def test_an_order_that_is_gone_in_the_end_is_deleted_once() -> None:
    order = make(total=5)
    key = order.pk
    with transaction.atomic():
        delete_and_save(order, total=9)
        order.delete()
    [event] = events().values()
    assert (event.topic, event.order_pk) == ("order.deleted", str(key))
    assert payload_of(event)["order"]["pk"] == str(key)


def test_an_order_that_was_never_there_makes_no_event() -> None:
    with transaction.atomic():
        order = Purchase.objects.create(total=5)
        delete_and_save(order, total=9)
        order.delete()
    assert events() == {}


def test_rows_that_went_with_the_order_are_gone_and_new_ones_are_there() -> None:
    old, new = (Address.objects.create(city=city) for city in ("Oslo", "Bergen"))
    order = make(billing=old, delivery=old)
    for sku in ("KEPT", "LOST"):
        PurchaseLine.objects.create(order=order, sku=sku)
    kept, lost = order.lines.order_by("pk")
    events()
    with transaction.atomic():
        delete_and_save(order, delivery=new)
        PurchaseLine.objects.create(pk=kept.pk, order=order, sku="KEPT")
        added = PurchaseLine.objects.create(order=order, sku="NEW")
    [event] = events().values()
    assert event.changes == {
        "lines": [[{"id": lost.pk, "sku": "LOST"}], [{"id": added.pk, "sku": "NEW"}]],
        "delivery": [[{"id": old.pk, "city": "Oslo"}], [{"id": new.pk, "city": "Bergen"}]],
    }


def test_a_later_transaction_does_not_show_in_the_event(monkeypatch: Any) -> None:
    order = make(total=5)
    with monkeypatch.context() as patch:
        patch.setattr(transaction_batch, "coalesce", lambda *_args, **_options: [])
        with transaction.atomic():
            delete_and_save(order, total=7)
        order.total = 9
        order.save()
    outbox.coalesce_left_behind(now=timezone.now() + timedelta(hours=1))
    found = list(Event.objects.order_by("sequence"))
    assert [event.changes for event in found] == [{"total": ["5.00", "7.00"]}, {"total": ["7.00", "9.00"]}]
    assert [event.error for event in found] == ["", ""]


def test_orders_of_one_transaction_are_each_updated() -> None:
    orders = [make(total=total) for total in (1, 2)]
    with transaction.atomic():
        for order in orders:
            delete_and_save(order, total=order.total + 5)
    outbox.coalesce_left_behind(now=timezone.now())
    found = [(event.topic, event.changes) for event in Event.objects.order_by("sequence")]
    assert found == [("order.updated", {"total": [f"{old}.00", f"{old + 5}.00"]}) for old in (1, 2)]
