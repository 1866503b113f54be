"""`Order.save()` keeps `paid_at` and `cancelled_at` in step with the statuses."""

from datetime import UTC, datetime
from typing import Any

import pytest

from orderhooks.models import Event, Order
from tests.factories import make_order, make_subscription
from tests.publications import payload_of

pytestmark = pytest.mark.django_db

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
CASES: list[tuple[str, str, str, list[str], list[str]]] = [
    (
        "payment_status",
        "paid_at",
        "paid",
        ["partially_refunded", "refunded"],
        ["pending", "authorized", "partially_paid", "voided"],
    ),
    ("status", "cancelled_at", "cancelled", [], ["open", "closed"]),
]


@pytest.mark.parametrize(("status", "time", "reached", "_stays", "not_reached"), CASES)
def test_a_time_is_set_with_its_status_and_emptied_when_it_is_taken_back(
    status: str, time: str, reached: str, _stays: list[str], not_reached: list[str]
) -> None:
    assert getattr(make_order([], **{status: reached}), time) is not None
    for other in not_reached:
        order = make_order([], **{status: other})
        assert getattr(order, time) is None
        setattr(order, status, reached)
        order.save()
        order.refresh_from_db()
        assert getattr(order, time) is not None
        setattr(order, status, other)
        order.save()
        order.refresh_from_db()
        assert getattr(order, time) is None


@pytest.mark.parametrize(("status", "time", "reached", "stays", "not_reached"), CASES)
def test_a_time_of_the_stores_own_is_kept_while_it_fits(
    status: str, time: str, reached: str, stays: list[str], not_reached: list[str]
) -> None:
    order = make_order([], **{status: reached, time: LONG_AGO})
    for value in stays:
        setattr(order, status, value)
        order.save()
    order.refresh_from_db()
    assert getattr(order, time) == LONG_AGO
    assert getattr(make_order([], **{status: not_reached[0], time: LONG_AGO}), time) is None


def test_an_order_that_is_refunded_without_a_known_payment_gets_no_time() -> None:
    assert make_order(payment_status="refunded").paid_at is None


@pytest.mark.parametrize("fields", [["status"], ("status", "note")])
def test_a_save_of_the_status_alone_saves_its_time(fields: Any) -> None:
    order = make_order()
    order.status, order.payment_status = "cancelled", "paid"
    order.save(update_fields=fields)
    order.refresh_from_db()
    assert (order.cancelled_at is None, order.paid_at) == (False, None)


def test_a_save_of_other_fields_leaves_the_times_alone() -> None:
    order = make_order(status="cancelled")
    Order.objects.update(status="open")
    order = Order.objects.get()
    for fields in (["note"], []):
        order.save(update_fields=fields)
    order.refresh_from_db()
    assert order.cancelled_at is not None


def test_a_status_that_was_not_loaded_leaves_its_time_alone() -> None:
    make_order(status="cancelled", cancelled_at=LONG_AGO)
    order = Order.objects.defer("status", "cancelled_at").get()
    order.note = "x"
    order.save()
    assert Order.objects.get().cancelled_at == LONG_AGO


@pytest.mark.django_db(transaction=True)
def test_the_time_is_a_change_beside_the_status() -> None:
    make_subscription()
    order = make_order([])
    Event.objects.all().delete()
    order.status, order.cancel_reason = "cancelled", "The customer changed her mind."
    order.save()
    event = Event.objects.get(topic="order.cancelled")
    told = payload_of(event)["order"]
    assert event.changes == {
        "status": ["open", "cancelled"],
        "cancelled_at": [None, told["cancelled_at"]],
        "cancel_reason": ["", "The customer changed her mind."],
    }
    assert told["cancelled_at"].endswith("Z")
    assert (told["paid_at"], told["cancel_reason"]) == (None, "The customer changed her mind.")
