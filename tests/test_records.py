"""The records: what the database refuses, how order numbers are made, and ids that sort by time."""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DataError, IntegrityError, transaction
from django.utils import timezone

from orderhooks.db import public_ids
from orderhooks.models import (
    Attempt,
    AttemptStats,
    Backfill,
    Delivery,
    Event,
    FeedConsumer,
    FulfillmentLine,
    Order,
    OrderLine,
    Payment,
    Receipt,
    Refund,
    Replay,
    Subscription,
)
from orderhooks.models.orders import FIRST_NUMBER, NUMBER_TRIES
from tests.factories import (
    make_attempt,
    make_attempt_stats,
    make_backfill,
    make_consumer,
    make_delivery,
    make_erasure,
    make_event,
    make_failed_event,
    make_fulfillment_line,
    make_order,
    make_payment,
    make_refund,
    make_replay,
    make_subscription,
)

pytestmark = pytest.mark.django_db

LATER = timezone.now() + timedelta(hours=1)
TOKEN = uuid.uuid4()


@pytest.mark.parametrize(
    ("make", "fields"),
    [
        (make_order, {"status": "lost"}),
        (make_order, {"status": ""}),
        (make_order, {"payment_status": "given"}),
        (make_order, {"fulfillment_status": "eaten"}),
        (make_order, {"number": ""}),
        *[(make_order, {amount: Decimal("-0.01")}) for amount in ("subtotal", "discount", "shipping", "tax", "total")],
        (make_fulfillment_line, {"quantity": 0}),
        *[(make, {"amount": amount}) for make in (make_payment, make_refund) for amount in (0, Decimal("-0.01"))],
        (make_event, {"payload": None}),
        (make_failed_event, {"error": ""}),
        (make_subscription, {"state": "asleep"}),
        (make_subscription, {"url": ""}),
        (make_subscription, {"signature": "carved"}),
        (make_subscription, {"last_notified_state": "lies"}),
        (make_subscription, {"last_alarmed_state": "lies"}),
        (make_subscription, {"operational": True, "store": "berlin"}),
        (make_subscription, {"max_in_flight": 0}),
        (make_subscription, {"max_per_second": 0}),
        (make_subscription, {"update_interval_seconds": 0}),
        (make_subscription, {"update_interval_seconds": 86401}),
        (make_subscription, {"timeout_seconds": 0}),
        (make_subscription, {"timeout_seconds": 31}),
        (make_subscription, {"objective_seconds": 0}),
        (make_subscription, {"objective_seconds": 604801}),
        (make_subscription, {"objective_share": 0.9}),
        (make_subscription, {"objective_share": 100.1}),
        (make_delivery, {"state": "lost"}),
        (make_delivery, {"state": "pending", "next_attempt_at": None}),
        (make_delivery, {"state": "sending", "lease_token": None, "lease_expires_at": LATER}),
        (make_delivery, {"state": "sending", "lease_token": TOKEN, "lease_expires_at": None}),
        (make_delivery, {"state": "delivered", "finished_at": None}),
        (make_delivery, {"state": "failed", "finished_at": None}),
        (make_delivery, {"state": "skipped", "finished_at": None}),
        (make_replay, {"state": "lost"}),
        (make_replay, {"only": "some"}),
        (make_replay, {"state": "done", "finished_at": None}),
        (make_replay, {"since": LATER + timedelta(days=9)}),
        (make_consumer, {"name": ""}),
        (make_consumer, {"acknowledged": 5, "read_up_to": 4}),
        (make_erasure, {"state": "lost"}),
        (make_erasure, {"finished_at": None}),
        (make_erasure, {"request_digest": "x"}),
        (make_backfill, {"state": "lost"}),
        (make_backfill, {"rate": 0}),
        (make_backfill, {"rate": 1001}),
        (make_backfill, {"state": "failed", "finished_at": None}),
    ],
)
def test_the_database_refuses_a_row_that_makes_no_sense(make, fields):
    row = make()

    # Past the model's own methods, as another program or a careless UPDATE would.
    with pytest.raises(IntegrityError), transaction.atomic():
        type(row).objects.filter(pk=row.pk).update(**fields)


@pytest.mark.parametrize(
    "fields",
    [{"quantity": 0}, {"fulfilled_quantity": 3}, {"fulfilled_quantity": -1}, {"unit_price": Decimal("-0.01")}],
)
def test_the_database_refuses_a_line_that_makes_no_sense(fields):
    line = make_order().lines.get()
    assert line.quantity == 2

    # MariaDB has no numbers below zero in such a column.
    with pytest.raises((IntegrityError, DataError)), transaction.atomic():
        OrderLine.objects.filter(pk=line.pk).update(**fields)


@pytest.mark.parametrize("record", [Order, Event, Subscription, Delivery])
def test_a_public_id_belongs_to_one_row(record):
    makers: dict[Any, Callable[[], Any]] = {
        Order: make_order,
        Event: make_event,
        Subscription: make_subscription,
        Delivery: make_delivery,
    }
    first, second = makers[record](), makers[record]()

    with pytest.raises(IntegrityError), transaction.atomic():
        record.objects.filter(pk=second.pk).update(public_id=first.public_id)


def test_a_line_is_once_in_a_fulfillment():
    line = make_fulfillment_line()

    with pytest.raises(IntegrityError), transaction.atomic():
        FulfillmentLine.objects.create(fulfillment=line.fulfillment, line=line.line)


def test_an_event_has_one_delivery_for_a_subscription():
    delivery = make_delivery()

    with pytest.raises(IntegrityError), transaction.atomic():
        make_delivery(event=delivery.event, subscription=delivery.subscription)


def test_the_attempts_of_a_delivery_are_numbered_once():
    attempt = make_attempt(make_delivery())

    with pytest.raises(IntegrityError), transaction.atomic():
        make_attempt(attempt.delivery, number=attempt.number)
    assert Attempt.objects.count() == 1


def test_a_webhook_is_receipted_once_by_each_receiver():
    Receipt.objects.create(receiver="stock", webhook_id="evt_1")
    Receipt.objects.create(receiver="mail", webhook_id="evt_1")

    with pytest.raises(IntegrityError), transaction.atomic():
        Receipt.objects.create(receiver="stock", webhook_id="evt_1")


def test_a_cell_is_tallied_in_one_row():
    subscription = make_subscription()
    make_attempt_stats(subscription)
    make_attempt_stats(subscription, bucket=1)

    with pytest.raises(IntegrityError), transaction.atomic():
        make_attempt_stats(subscription)


def test_every_constraint_has_its_row_here():
    """A constraint that is added needs a bad row above; then its name goes into this list."""
    models = (
        *(Order, OrderLine, FulfillmentLine, Payment, Refund),
        *(Event, Subscription, Delivery, Attempt, Receipt, Replay, Backfill, AttemptStats, FeedConsumer),
    )

    assert {constraint.name for model in models for constraint in model._meta.constraints} == {
        "orderhooks_attempt_number",
        "orderhooks_backfill_finished",
        "orderhooks_backfill_rate",
        "orderhooks_backfill_state",
        "orderhooks_delivery_finished",
        "orderhooks_delivery_once",
        "orderhooks_delivery_pending_is_due",
        "orderhooks_delivery_public_id",
        "orderhooks_delivery_sending_has_lease",
        "orderhooks_delivery_state",
        "orderhooks_event_published_has_payload",
        "orderhooks_event_unpublished_has_error",
        "orderhooks_feed_consumer_has_name",
        "orderhooks_feed_consumer_has_read",
        "orderhooks_feed_consumer_once",
        "orderhooks_fulfillment_line_once",
        "orderhooks_fulfillment_line_quantity",
        "orderhooks_line_fulfilled_quantity",
        "orderhooks_line_quantity",
        "orderhooks_line_unit_price",
        "orderhooks_order_amounts",
        "orderhooks_order_fulfillment_status",
        "orderhooks_order_has_number",
        "orderhooks_order_number",
        "orderhooks_order_payment_status",
        "orderhooks_order_status",
        "orderhooks_payment_amount",
        "orderhooks_receipt_once",
        "orderhooks_refund_amount",
        "orderhooks_replay_finished",
        "orderhooks_replay_only",
        "orderhooks_replay_range",
        "orderhooks_replay_state",
        "orderhooks_subscription_has_url",
        "orderhooks_subscription_max_in_flight",
        "orderhooks_subscription_max_per_second",
        "orderhooks_subscription_signature",
        "orderhooks_subscription_state",
        "orderhooks_subscription_timeout",
        "orderhooks_subscription_update_interval",
        "orderhooks_subscription_last_notified_state",
        "orderhooks_subscription_last_alarmed_state",
        "orderhooks_subscription_operational",
        "orderhooks_subscription_objective_seconds",
        "orderhooks_subscription_objective_share",
        "orderhooks_attempt_stats_once",
    }


@pytest.mark.parametrize(
    ("field", "choices"),
    [
        ("status", Order.Status),
        ("payment_status", Order.PaymentStatus),
        ("fulfillment_status", Order.FulfillmentStatus),
    ],
)
def test_every_status_that_is_offered_can_be_stored(field, choices):
    order = make_order()
    for value in choices.values:
        Order.objects.filter(pk=order.pk).update(**{field: value})


# Order numbers


def test_a_number_is_made_when_it_is_left_blank():
    first, second = make_order(), make_order()

    assert first.number.isdigit()
    assert int(second.number) > int(first.number)


def test_a_number_that_was_given_is_kept():
    order = make_order(number="A-7")
    order.note = "gift"
    order.save()

    assert Order.objects.get(pk=order.pk).number == "A-7"


def take_next_numbers(count: int) -> int:
    """Give orders that exist the numbers that the next order would get."""
    rows = [make_order() for _ in range(count)]
    following = FIRST_NUMBER + rows[-1].pk
    for row, number in zip(rows, range(following, following + count), strict=True):
        Order.objects.filter(pk=row.pk).update(number=str(number))
    return following


def test_numbers_that_were_taken_by_hand_are_passed_over():
    following = take_next_numbers(3)

    assert make_order().number == str(following + 3)


def test_when_all_near_numbers_are_taken_the_public_id_serves():
    take_next_numbers(2 * NUMBER_TRIES)
    order = make_order()

    assert order.number == order.public_id


def test_another_stores_numbers_are_not_in_the_way():
    make_order(number="1001", store="berlin")
    make_order(number="1001", store="paris")

    with pytest.raises(IntegrityError), transaction.atomic():
        make_order(number="1001", store="paris")


def test_a_clash_of_something_else_rises_and_leaves_the_number_blank():
    first = make_order()
    order = Order(public_id=first.public_id)

    with pytest.raises(IntegrityError), transaction.atomic():
        order.save()
    assert order.number == ""


# Amounts


def test_the_amounts_follow_from_the_lines():
    order = make_order(
        [{"quantity": 2, "unit_price": "9.95"}, {"quantity": 1, "unit_price": "0.10"}],
        discount=Decimal("5.00"),
        shipping=Decimal("4.90"),
        tax=Decimal("3.80"),
    )
    order.recalculate()

    assert (order.subtotal, order.total) == (Decimal("20.00"), Decimal("23.70"))
    assert Order.objects.get(pk=order.pk).total == 0, "recalculate() does not save"
    order.save()
    assert Order.objects.get(pk=order.pk).total == Decimal("23.70")


def test_a_discount_above_everything_makes_the_order_free():
    order = make_order(discount=Decimal(100))
    order.recalculate()

    assert order.total == 0


def test_an_order_without_lines_costs_its_shipping():
    order = make_order([], shipping=Decimal("4.90"))
    order.recalculate()

    assert (order.subtotal, order.total) == (0, Decimal("4.90"))


# Public ids


@pytest.mark.parametrize(
    ("make", "prefix"),
    [
        (public_ids.order_id, "ord_"),
        (public_ids.event_id, "evt_"),
        (public_ids.subscription_id, "sub_"),
        (public_ids.delivery_id, "dlv_"),
        (public_ids.replay_id, "rpl_"),
        (public_ids.backfill_id, "bfl_"),
        (public_ids.consumer_id, "csm_"),
    ],
)
def test_a_public_id_names_its_record_and_fits_its_column(make, prefix):
    made = make()

    assert made.startswith(prefix)
    assert len(made) == public_ids.MAX_LENGTH
    assert set(made.removeprefix(prefix)) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")


def test_public_ids_sort_by_time(monkeypatch):
    moments = [0, 1, 1_764_000_000, 1_764_000_000.001, 1_764_000_001, 2**48 / 1000 - 1]
    made = []
    for moment in moments:
        monkeypatch.setattr(time, "time", lambda moment=moment: moment)
        made.append(public_ids.event_id())

    assert made == sorted(made)
    assert made[0].startswith("evt_0000000000")


def test_public_ids_begin_with_the_milliseconds_of_a_ulid(monkeypatch):
    # The example of the ULID specification.
    monkeypatch.setattr(time, "time", lambda: 1_469_922_850.259)

    assert public_ids.event_id().startswith("evt_01ARZ3NDEK")


def test_public_ids_of_the_same_time_differ(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1_764_000_000)

    assert len({public_ids.event_id() for _ in range(1000)}) == 1000


def test_an_id_contains_its_time_and_earliest_at_is_the_lowest_id_of_a_time(monkeypatch):
    moment = datetime(2026, 11, 23, 10, 0, 0, 259_000, tzinfo=UTC)
    monkeypatch.setattr(time, "time", moment.timestamp)
    made, millisecond = public_ids.event_id(), timedelta(milliseconds=1)

    assert public_ids.time_of(made) == moment
    assert public_ids.earliest_at("evt_", moment) <= made < public_ids.earliest_at("evt_", moment + millisecond)
    assert public_ids.time_of(public_ids.earliest_at("evt_", moment)) == moment
    assert public_ids.earliest_at("evt_", datetime(1901, 1, 1, tzinfo=UTC)) == "evt_" + "0" * 26
