"""What deleting many orders costs, and which events it makes."""

from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.signals import pre_delete
from django.test.utils import CaptureQueriesContext

from orderhooks import outbox, publishing
from orderhooks.models import Change, Event, Order, OrderLine
from orderhooks.sources import BuiltInOrders
from tests.factories import make_order, make_subscription
from tests.publications import payload_of

pytestmark = pytest.mark.django_db(transaction=True)

LINES = [{"sku": "A"}, {"sku": "B"}]


def make_orders(count: int) -> None:
    orders = Order.objects.bulk_create(Order(number=str(number)) for number in range(count))
    OrderLine.objects.bulk_create(
        OrderLine(order=order, sku=line["sku"], name="x", unit_price=1) for order in orders for line in LINES
    )
    Event.objects.all().delete()


def statements(work: Any) -> int:
    with CaptureQueriesContext(connection) as queries:
        work()
    return len(queries)


@pytest.mark.parametrize("topics", [None, ["order.paid", "order.updated"]])
def test_deleting_orders_costs_next_to_nothing_where_nobody_wants_to_hear_of_it(topics, monkeypatch) -> None:
    if topics:
        make_subscription(topics=topics)
    make_orders(300)
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "before_delete", lambda *_args, **_options: None)
        plain = statements(lambda: Order.objects.filter(number__lt="2").delete())
    make_orders_again = 300 - Order.objects.count()
    assert make_orders_again > 0
    whole = statements(lambda: Order.objects.all().delete())
    assert whole <= plain + 20
    assert not Event.objects.exists()
    assert not Change.objects.exists()


@pytest.mark.slow
def test_the_deletion_of_orders_takes_a_few_statements_for_each_hundred() -> None:
    make_subscription(topics=["order.deleted"])
    counts = []
    for many in (100, 200, 300):
        make_orders(many)
        counts.append(statements(lambda: Order.objects.all().delete()))
        assert Event.objects.filter(topic="order.deleted", error="").count() == many
        Event.objects.all().delete()
    # Django itself looks for what points to the lines by 500 of them at a time on SQLite.
    assert counts[1] - counts[0] <= counts[2] - counts[1] <= counts[1] - counts[0] + 1 <= 25
    assert not Change.objects.exists()


def test_orders_deleted_together_show_each_its_own_lines() -> None:
    make_subscription()
    make_orders(3)
    Order.objects.all().delete()
    events = Event.objects.all()
    assert {event.topic for event in events} == {"order.deleted"}
    assert sorted(event.order_number for event in events) == ["0", "1", "2"]
    for event in events:
        assert event.order_number == payload_of(event)["order"]["number"]
        assert [line["sku"] for line in payload_of(event)["order"]["lines"]] == ["A", "B"]


@pytest.mark.by_hand
def test_lines_deleted_together_are_one_change_of_their_order() -> None:
    make_subscription()
    make_orders(2)
    used = statements(lambda: OrderLine.objects.all().delete())
    assert [len(event.changes["lines"][0]) for event in Event.objects.filter(topic="order.updated")] == [2, 2]
    assert used < 40


def test_a_handler_of_the_stores_own_that_queries_the_database_meanwhile_does_no_harm() -> None:
    make_subscription()
    make_orders(3)

    def ask(**_signal: Any) -> None:
        Order.objects.count()

    pre_delete.connect(ask, sender=Order)
    try:
        Order.objects.all().delete()
    finally:
        pre_delete.disconnect(ask, sender=Order)
    assert list(Event.objects.values_list("topic", "error")) == [("order.deleted", "")] * 3


def test_a_handler_of_the_stores_own_that_refuses_leaves_nothing_to_be_published_later() -> None:
    make_subscription()
    order = make_order()
    Event.objects.all().delete()

    def refuse(**_signal: Any) -> None:
        raise ZeroDivisionError

    pre_delete.connect(refuse, sender=Order)
    try:
        with pytest.raises(ZeroDivisionError):
            order.delete()
    finally:
        pre_delete.disconnect(refuse, sender=Order)
    order.note = "still here"
    order.save()
    assert list(Event.objects.values_list("topic", flat=True)) == ["order.updated"]


def test_earlier_changes_of_the_transaction_are_published_though_nobody_wants_deletions() -> None:
    make_subscription(topics=["order.paid"])
    order = make_order()
    Event.objects.all().delete()
    with transaction.atomic():
        publishing.publish("order.paid", order)
        order.delete()
    event = Event.objects.get(topic="order.paid")
    assert (event.error, len(payload_of(event)["order"]["lines"])) == ("", 1)


@pytest.mark.parametrize("problem", [ZeroDivisionError("no tax"), "a broken query"])
def test_an_order_whose_code_fails_does_not_spoil_the_others(monkeypatch, problem) -> None:
    make_subscription()
    make_orders(3)
    payload = BuiltInOrders.payload

    def fail_for_one(self: BuiltInOrders, order: Order) -> dict[str, Any]:
        if order.number == "1":
            if isinstance(problem, Exception):
                raise problem
            Order.objects.raw("SELECT id FROM nowhere")[0]
        return payload(self, order)

    monkeypatch.setattr(BuiltInOrders, "payload", fail_for_one)
    Order.objects.all().delete()
    assert sorted(Event.objects.values_list("order_number", "error")[:1]) != []
    failed = {event.order_pk: event.error for event in Event.objects.exclude(error="")}
    assert len(failed) == 1
    assert Event.objects.filter(error="").count() == 2
    assert not Order.objects.exists()


def test_orders_saved_in_one_transaction_are_coalesced_together() -> None:
    make_subscription()
    make_orders(60)
    orders = list(Order.objects.all())

    def save_all() -> None:
        with transaction.atomic():
            for order in orders:
                order.note = "x"
                order.save()

    save_all()
    assert Event.objects.filter(topic="order.updated").count() == 60
    assert {payload_of(event)["order"]["number"] == event.order_number for event in Event.objects.all()} == {True}
