"""P1, P2 and P9: a transaction's changes are told together, by their net change, and only if it commits."""

import pytest
from django.db import transaction

from orderhooks import outbox
from orderhooks.models import Change, Event, Order, OrderLine
from tests.factories import make_order, make_quiet_order, make_subscription
from tests.publications import PAID, payload_of, published

pytestmark = pytest.mark.django_db(transaction=True)


class RollbackError(Exception):
    pass


@pytest.fixture
def order() -> Order:
    return make_quiet_order()


def test_several_saves_in_one_transaction_make_one_event_with_the_net_change(order: Order) -> None:
    with transaction.atomic():
        order.payment_status = "authorized"
        order.save()
        order.payment_status = "paid"
        order.note = "gift"
        order.save()
    assert published() == ["order.updated", "order.paid"]
    assert Event.objects.earliest("sequence").changes == {**PAID, "note": ["", "gift"]}


def test_changes_that_cancel_out_make_no_event(order: Order) -> None:
    with transaction.atomic():
        order.payment_status = "paid"
        order.save()
        order.payment_status = "pending"
        order.save()
    assert published() == []


@pytest.mark.by_hand
def test_two_transactions_make_events_of_their_own_even_when_coalesced_together(order: Order, monkeypatch) -> None:
    coalesce = outbox.coalesce
    # The process dies before it can coalesce.
    monkeypatch.setattr(outbox.transaction_batch, "coalesce", lambda *_args, **_kwargs: [])
    for status in ("paid", "refunded"):
        order.payment_status = status
        order.save()
    assert Change.objects.count() == 2
    monkeypatch.setattr(outbox.transaction_batch, "coalesce", coalesce)
    order.note = "still here"
    order.save()
    assert published() == ["order.updated", "order.paid", "order.updated", "order.refunded", "order.updated"]
    assert [event.changes for event in Event.objects.order_by("sequence")][::2] == [
        PAID,
        {"payment_status": ["paid", "refunded"]},
        {"note": ["", "still here"]},
    ]


def test_a_rollback_leaves_nothing(order: Order) -> None:
    with pytest.raises(RollbackError), transaction.atomic():
        order.payment_status = "paid"
        order.save()
        raise RollbackError
    assert published() == []


def test_a_savepoint_that_is_rolled_back_takes_its_changes_along(order: Order) -> None:
    with transaction.atomic():
        with pytest.raises(RollbackError), transaction.atomic():
            order.payment_status = "paid"
            order.save()
            raise RollbackError
        order.refresh_from_db()
        order.note = "kept"
        order.save()
        with pytest.raises(RollbackError), transaction.atomic():
            order.status = "cancelled"
            order.save()
            raise RollbackError
    assert published() == ["order.updated"]
    assert Event.objects.get().changes == {"note": ["", "kept"]}


def test_a_change_in_a_savepoint_within_one_that_is_rolled_back_makes_no_event(order: Order) -> None:
    with transaction.atomic(), pytest.raises(RollbackError), transaction.atomic():
        with transaction.atomic():
            order.payment_status = "paid"
            order.save()
        raise RollbackError
    assert published() == []


def test_lines_written_after_the_order_with_or_without_signals_are_in_the_snapshot() -> None:
    make_subscription()
    with transaction.atomic():
        order = Order.objects.create()
        OrderLine.objects.create(order=order, sku="A", name="a", unit_price=1)
        OrderLine.objects.bulk_create([OrderLine(order=order, sku="B", name="b", unit_price=2)])
    assert published() == ["order.created"]
    assert [line["sku"] for line in payload_of(Event.objects.get())["order"]["lines"]] == ["A", "B"]


def test_a_later_transaction_does_not_reach_an_earlier_snapshot(order: Order) -> None:
    order.payment_status = "paid"
    order.save()
    order.payment_status = "refunded"
    order.save()
    states = {event.topic: payload_of(event)["order"]["payment_status"] for event in Event.objects.order_by("sequence")}
    assert states["order.paid"] == "paid"
    assert states["order.refunded"] == "refunded"


def test_an_order_made_and_deleted_in_one_transaction_makes_no_event() -> None:
    make_subscription()
    with transaction.atomic():
        make_order().delete()
    assert published() == []
