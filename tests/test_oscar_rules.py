"""What the order source of django-oscar goes by, without Oscar. `make oscar` runs its tests with Oscar, tests/oscar."""

from collections import Counter
from decimal import Decimal

import pytest

from orderhooks import topics
from orderhooks.contrib.oscar import progress, statuses
from orderhooks.contrib.oscar.progress import Money


@pytest.mark.parametrize(
    ("status", "topic"),
    [
        ("Being processed", "order.status_being_processed"),
        ("  On hold -- ask! ", "order.status_on_hold_ask"),
        ("Payée", "order.status_payee"),
        ("Bestätigt", "order.status_bestatigt"),
        ("待机", "order.status_u5f85_u673a"),
        ("2nd try", "order.status_2nd_try"),
        ("!", "order.status_blank"),
    ],
)
def test_each_status_has_a_valid_topic(status, topic) -> None:
    assert statuses.topic_of(status, "order.status_") == topic
    assert topics.NAME.match(topic)


def test_a_long_status_has_a_topic_that_can_be_kept_and_is_its_own() -> None:
    long = "Передан в службу доставки СДЭК"
    found = {statuses.topic_of(one, "order.line_status_") for one in (long, f"{long} 2", "汉" * 100)}
    assert len(found) == 3
    assert all(len(one) <= topics.LONGEST and topics.NAME.match(one) for one in found)


def test_statuses_that_orders_only_begin_with_are_not_reached() -> None:
    pipeline = {"Pending": ("Packed", "Cancelled"), "Packed": ("Sent",), "Lost": ("Lost",)}
    assert statuses.statuses_reached(pipeline) == ["Packed", "Cancelled", "Sent"]
    assert statuses.statuses_reached({}) == []


@pytest.mark.parametrize(
    ("authorized", "paid", "refunded", "status"),
    [
        (0, 0, 0, "pending"),
        (29, 0, 0, "pending"),
        (30, 0, 0, "authorized"),
        (30, 29, 0, "partially_paid"),
        (0, 30, 0, "paid"),
        (30, 31, 0, "paid"),
        (30, 30, 1, "partially_refunded"),
        (30, 30, 30, "refunded"),
        (30, 20, 20, "refunded"),
        # What was paid is not entered: the total counts.
        (0, 0, 5, "partially_refunded"),
        (0, 0, 30, "refunded"),
    ],
)
def test_payment_status(authorized, paid, refunded, status) -> None:
    money = Money(Decimal(authorized), Decimal(paid), Decimal(refunded))
    assert progress.payment_status(money, Decimal(30)) == status


@pytest.mark.parametrize(
    ("shipped", "returned", "status"),
    [
        ({}, {}, "unfulfilled"),
        ({1: 1}, {}, "partially_fulfilled"),
        ({1: 2}, {}, "partially_fulfilled"),
        ({1: 2, 2: 1}, {}, "fulfilled"),
        ({1: 2, 2: 1}, {1: 2}, "fulfilled"),
        ({1: 2, 2: 1}, {1: 2, 2: 1}, "returned"),
        ({9: 5}, {}, "unfulfilled"),
    ],
)
def test_fulfillment_status(shipped, returned, status) -> None:
    lines = {1: {"quantity": 2}, 2: {"quantity": 1}, 3: {"quantity": 0}}
    assert progress.fulfillment_status(lines, Counter(shipped), Counter(returned)) == status


def test_an_order_without_lines_is_not_fulfilled() -> None:
    assert progress.fulfillment_status({}, Counter(), Counter()) == "unfulfilled"


def test_rows_before_a_transaction_are_those_it_found() -> None:
    after = {1: {"id": 1, "amount": "5"}, 2: {"id": 2, "amount": "7"}, 3: {"id": 3, "amount": "9"}}
    change = [
        [{"id": 2, "amount": "6"}, {"id": 4, "amount": "1"}],
        [{"id": 2, "amount": "7"}, {"id": 3, "amount": "9"}],
    ]
    before = progress.rows_before(after, change)
    assert {key: row["amount"] for key, row in before.items()} == {1: "5", 2: "6", 4: "1"}


def test_the_same_money_in_a_source_and_in_an_event_counts_once() -> None:
    of_sources = Money.of_sources({1: {"amount_allocated": "30", "amount_debited": "30", "amount_refunded": "0"}})
    of_events = Money.of_events(
        {
            1: {"event_type": 7, "amount": "30"},
            2: {"event_type": 8, "amount": "5"},
            3: {"event_type": 9, "amount": "1"},
        },
        {7: "paid", 8: "refunded", 9: ""},
    )
    assert of_sources.or_more(of_events) == Money(Decimal(30), Decimal(30), Decimal(5))
