"""Fulfillments, payments and refunds of the built-in order: their events, what the order shows of them, and P3."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks.models import CaptureFailure, Change, Event, Fulfillment, FulfillmentLine, Order, Payment, Refund
from orderhooks.sources import BuiltInOrders
from tests.factories import make_fulfillment, make_order, make_payment, make_refund, make_subscription
from tests.publications import payload_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def order() -> Order:
    make_subscription()
    order = make_order(lines=[{"sku": "A"}, {"sku": "B", "quantity": 5}])
    Event.objects.all().delete()
    return order


def published() -> dict[str, dict[str, Any]]:
    """The changes of each topic since the last call."""
    assert (Change.objects.exists(), CaptureFailure.objects.exists()) == (False, False)
    events = list(Event.objects.order_by("sequence"))
    assert [event.error for event in events] == [""] * len(events)
    Event.objects.all().delete()
    found = {event.topic: event.changes for event in events}
    assert len(found) == len(events)
    return found


def shown(order: Order) -> dict[str, Any]:
    return BuiltInOrders().payload(Order.objects.get(pk=order.pk))


class TestPayments:
    def test_a_payment_has_its_own_topic_and_is_in_the_order(self, order: Order) -> None:
        payment = make_payment(order)
        row = {
            "id": payment.pk,
            "amount": "24.80",
            "method": "card",
            "reference": "ch_1",
            "received_at": payment.received_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        event = Event.objects.last()
        assert event is not None
        assert payload_of(event)["order"]["payments"] == [row]
        changes = {"payments": [[], [row]]}
        assert published() == {"order.updated": changes, "order.payment_created": changes}

    def test_a_refund_has_its_own_topic_and_is_in_the_order(self, order: Order) -> None:
        refund = make_refund(order)
        row = {
            "id": refund.pk,
            "amount": "4.90",
            "method": "card",
            "reference": "re_1",
            "reason": "late",
            "refunded_at": refund.refunded_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        assert shown(order)["refunds"] == [row]
        changes = {"refunds": [[], [row]]}
        assert published() == {"order.updated": changes, "order.refund_created": changes}

    def test_amounts_have_the_decimals_of_the_orders_currency(self, order: Order) -> None:
        Order.objects.update(currency="JPY")
        order.refresh_from_db()
        Event.objects.all().delete()
        with transaction.atomic():
            make_payment(order, amount=1990)
            make_refund(order, amount=10)
        for changes in published().values():
            assert [changes[key][1][0]["amount"] for key in ("payments", "refunds")] == ["1990", "10"]
        told = shown(order)
        assert (told["payments"][0]["amount"], told["refunds"][0]["amount"]) == ("1990", "10")

    def test_a_payment_that_changes_or_goes_is_a_change_of_the_order(self, order: Order) -> None:
        payment = make_payment(order)
        Event.objects.all().delete()
        payment.amount = 5
        payment.save()
        Payment.objects.filter(pk=payment.pk).update(method="bank")
        payment.delete()
        events = [(event.topic, event.changes["payments"]) for event in Event.objects.order_by("sequence")]
        assert [(topic, [[row["amount"] for row in rows] for rows in pair]) for topic, pair in events] == [
            ("order.updated", [["24.80"], ["5.00"]]),
            ("order.updated", [["5.00"], ["5.00"]]),
            ("order.updated", [["5.00"], []]),
        ]

    def test_a_new_order_with_a_payment_says_both(self) -> None:
        make_subscription()
        with transaction.atomic():
            make_payment(make_order(payment_status="paid"))
        events = published()
        assert list(events) == ["order.created", "order.paid", "order.payment_created"]
        assert [row["amount"] for row in events["order.created"]["payments"][1]] == ["24.80"]


class TestFulfillments:
    def test_a_new_one_with_its_lines_is_created_and_not_updated(self, order: Order) -> None:
        fulfillment = make_fulfillment(order, quantity=1, tracking_url="https://example.com/X1")
        rows = list(fulfillment.lines.order_by("pk"))
        lines = [{"id": row.pk, "line": row.line_id, "quantity": 1} for row in rows]
        row = {
            "id": fulfillment.pk,
            "carrier": "DHL",
            "tracking_number": "X1",
            "tracking_url": "https://example.com/X1",
            "shipped_at": None,
            "delivered_at": None,
        }
        event = Event.objects.last()
        assert event is not None
        assert payload_of(event)["order"]["fulfillments"] == [{**row, "lines": lines}]
        assert [line["id"] for line in payload_of(event)["order"]["lines"]] == [line["line"] for line in lines]
        changes = {"fulfillments": [[], [row]], "fulfillment_lines": [[], lines]}
        assert published() == {"order.updated": changes, "order.fulfillment_created": changes}

    @pytest.mark.parametrize(
        "change",
        [
            lambda one: Fulfillment.objects.filter(pk=one.pk).update(delivered_at=timezone.now()),
            lambda one: one.lines.update(quantity=2),
            lambda one: one.lines.all()[0].delete(),
            lambda one: FulfillmentLine.objects.create(fulfillment=one, line=one.order.lines.get(sku="C")),
            lambda one: one.order.lines.get(sku="A").delete(),
        ],
        ids=["its times", "a quantity", "a line less", "a line more", "an article of the order less"],
    )
    def test_whatever_changes_of_one_is_an_update_of_it(self, order: Order, change: Any) -> None:
        fulfillment = make_fulfillment(order, quantity=1)
        order.lines.create(sku="C", name="Cup")
        Event.objects.all().delete()
        change(fulfillment)
        assert list(published()) == ["order.updated", "order.fulfillment_updated"]

    def test_a_deleted_one_is_no_update(self, order: Order) -> None:
        fulfillment = make_fulfillment(order, quantity=1)
        Event.objects.all().delete()
        fulfillment.delete()
        events = published()
        assert list(events) == ["order.updated"]
        assert [len(rows) for rows in events["order.updated"]["fulfillment_lines"]] == [2, 0]

    def test_a_new_one_beside_an_updated_one_is_both(self, order: Order) -> None:
        fulfillment = make_fulfillment(order, quantity=1)
        Event.objects.all().delete()
        with transaction.atomic():
            make_fulfillment(order, quantity=1)
            fulfillment.lines.filter(line__sku="B").update(quantity=2)
        assert list(published()) == ["order.updated", "order.fulfillment_created", "order.fulfillment_updated"]

    def test_a_line_that_moves_to_a_new_one_is_an_update_of_the_other(self, order: Order) -> None:
        fulfillment = make_fulfillment(order, quantity=1)
        Event.objects.all().delete()
        with transaction.atomic():
            other = Fulfillment.objects.create(order=order)
            line = fulfillment.lines.get(line__sku="B")
            line.delete()
            FulfillmentLine.objects.create(fulfillment=other, line=line.line)
        assert list(published()) == ["order.updated", "order.fulfillment_created", "order.fulfillment_updated"]

    def test_another_line_or_order_is_refused(self, order: Order) -> None:
        fulfillment = make_fulfillment(order, quantity=1)
        line = FulfillmentLine(fulfillment=fulfillment, line=make_order().lines.get())
        with pytest.raises(ValidationError, match="another order"):
            line.full_clean()
        line = fulfillment.lines.get(line__sku="B")
        line.quantity = 6
        with pytest.raises(ValidationError, match="At most 5 were ordered"):
            line.full_clean()

    @pytest.mark.parametrize("url", ["javascript:alert(1)", "ftp://example.com", "X1"])
    def test_a_tracking_link_leads_to_a_page(self, order: Order, url: str) -> None:
        with pytest.raises(ValidationError):
            Fulfillment(order=order, tracking_url=url).full_clean()


def test_an_order_that_is_deleted_shows_all_of_it_for_the_last_time(order: Order) -> None:
    make_fulfillment(order, quantity=1)
    make_payment(order)
    make_refund(order)
    expected = shown(order)
    Event.objects.all().delete()
    order.delete()
    event = Event.objects.get()
    assert (event.topic, payload_of(event)["order"]) == ("order.deleted", expected)
    assert [len(expected[key]) for key in ("fulfillments", "payments", "refunds")] == [1, 1, 1]


@pytest.mark.parametrize("rows", [1, 4])
def test_the_queries_do_not_grow_with_the_rows(order: Order, rows: int) -> None:
    for _ in range(rows):
        make_fulfillment(order, quantity=1)
        make_payment(order)
        make_refund(order)
    read = Order.objects.get(pk=order.pk)
    with CaptureQueriesContext(connection) as queries:
        told = BuiltInOrders().payload(read)
    assert [len(told[key]) for key in ("fulfillments", "payments", "refunds")] == [rows] * 3
    assert len(queries) == 5


def test_a_save_reads_only_the_rows_that_the_order_has(order: Order) -> None:
    def tables_read() -> list[str]:
        order.note += "x"
        with CaptureQueriesContext(connection) as queries:
            order.save()
        unquoted = [one["sql"].translate({ord('"'): None, ord("`"): None}) for one in queries]
        reads = [sql for sql in unquoted if " EXISTS" not in sql.upper()]
        models = (Fulfillment, FulfillmentLine, Payment, Refund)
        return [one.__name__ for one in models if any(f"{one._meta.db_table}." in sql for sql in reads)]

    assert tables_read() == []
    make_payment(order)
    assert tables_read() == ["Payment"]
    make_fulfillment(order, quantity=1)
    assert tables_read() == ["Fulfillment", "FulfillmentLine", "Payment"]
