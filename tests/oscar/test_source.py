"""Orders of a real django-oscar, in autocommit: which events its steps make, and what receivers get."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from oscar.apps.order.signals import order_status_changed
from oscar.core.loading import get_class, get_model
from oscar.test import factories

from orderhooks import catalogue, source_trials, sources
from orderhooks.contrib.oscar import OscarOrders
from orderhooks.receiver import ReceivedOrder
from orderhooks.testing import Captured
from tests.factories import make_user
from tests.oscar.orders import address, enter_payment, enter_payment_of_lines, pay, place, ship

pytestmark = pytest.mark.django_db(transaction=True)


class Own(OscarOrders):
    """A shop that pays by status, and has types of its own."""

    status_topics = {**OscarOrders.status_topics, "being processed": "order.paid"}
    payment_event_types = {**OscarOrders.payment_event_types, "bank-transfer": "paid"}
    shipping_event_types = {"handed-over": "shipped"}


class Loose(OscarOrders):
    atomic_saves = False


@pytest.fixture
def topics(captured: Captured) -> Callable[[], list[str]]:
    """The topics of the events since it was last called, by name."""
    seen = 0

    def since() -> list[str]:
        nonlocal seen
        found = captured.topics
        start, seen = seen, len(found)
        return sorted(found[start:])

    return since


def test_a_new_order_is_one_event_with_its_lines_and_addresses(captured) -> None:
    order = place(billing_address=factories.BillingAddressFactory())
    (event,) = captured.events
    assert (event.topic, event.order_number, event.changes) == (
        "order.created",
        str(order.number),
        {"status": ["", "Pending"]},
    )
    shown = event.payload["order"]
    assert [(line["sku"], line["quantity"], line["unit_price"]) for line in shown["lines"]] == [
        ("MUG-01", 2, "10.00"),
        ("TEA-01", 1, "10.00"),
    ]
    assert shown["customer"] == {"name": "Ada Byron", "email": "ada@example.com", "phone": "+442079460000"}
    assert (shown["total"], shown["status"], shown["payment_status"]) == ("30.00", "Pending", "pending")
    assert shown["shipping_address"]["city"] == "London"
    assert shown["billing_address"]["line1"] == order.billing_address.line1


def test_a_receiver_of_built_in_orders_can_read_it_and_its_schema_is_true(captured) -> None:
    order = place()
    enter_payment(order, "Paid", "30.00")
    ship(order)
    enter_payment(order, "Refunded", "10.00")
    order.set_status("Cancelled")
    schema = catalogue.entry("order.updated").schema
    for event in captured.events:
        jsonschema.validate(event.payload["order"], sources.by_name("oscar").schema())
        received = ReceivedOrder.from_data(event.payload["order"])
    assert schema["properties"]["data"]["properties"]["order"] == sources.by_name("oscar").schema()
    assert [(one.amount, one.method) for one in received.payments] == [(Decimal("30.00"), "Paid")]
    assert [(one.amount, one.method) for one in received.refunds] == [(Decimal("10.00"), "Refunded")]
    assert [(one.tracking_number, len(one.lines)) for one in received.fulfillments] == [("RM 1234", 2)]
    assert received.paid_at is not None
    assert received.cancelled_at is not None
    assert [line.fulfilled_quantity for line in received.lines] == [2, 1]


def test_amounts_add_up_with_a_voucher(captured) -> None:
    basket = factories.create_basket(empty=True)
    basket.add_product(factories.create_product(price=Decimal("10.00"), num_in_stock=9), 2)
    voucher = factories.VoucherFactory(code="TEATIME")
    voucher.offers.add(factories.create_offer(offer_type="Voucher"))
    basket.vouchers.add(voucher)
    customer = make_user()
    get_class("offer.applicator", "Applicator")().apply(basket, customer)
    factories.create_order(basket=basket, shipping_address=address(), user=customer)
    shown = captured.events[0].payload["order"]
    parts = [Decimal(shown[name]) for name in ("subtotal", "discount", "shipping", "tax", "total")]
    assert parts[0] - parts[1] + parts[2] + parts[3] == parts[4]
    assert parts[1] > 0
    assert [one["code"] for one in shown["vouchers"]] == ["TEATIME"]
    assert [one["voucher_code"] for one in shown["discounts"]] == ["TEATIME"]


def test_a_status_makes_one_event_of_its_topic_however_many_lines_it_takes_along(captured, topics) -> None:
    order = place()
    topics()
    order.set_status("Being processed")
    assert topics() == ["order.line_status_being_processed", "order.status_being_processed", "order.updated"]
    changes = captured.events[-1].changes
    assert changes["status"] == ["Pending", "Being processed"]
    assert [row["status"] for row in changes["lines"][1]] == ["Being processed"] * 2
    order.set_status("Complete")
    assert topics() == ["order.closed", "order.updated"]


def test_the_rows_of_an_order_are_read_once_for_its_payload_and_its_topics(captured) -> None:
    order = place()
    with CaptureQueriesContext(connection) as queries:
        order.set_status("Being processed")
    types = [one["sql"] for one in queries if "shippingeventtype" in one["sql"].lower()]
    assert len(types) == 1


def test_without_atomic_saves_oscar_saves_row_by_row(settings, topics) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"{__name__}.Loose"]}
    order = place()
    topics()
    order.set_status("Being processed")
    assert topics().count("order.updated") == 3, "two lines and the order"
    ship(order)
    assert "order.partially_fulfilled" in topics()


def test_cancelling_is_the_built_in_topic(topics) -> None:
    order = place()
    topics()
    order.set_status("Cancelled")
    assert topics() == ["order.cancelled", "order.line_status_cancelled", "order.updated"]


def test_a_handler_that_fails_takes_the_whole_change_of_status_back(topics) -> None:
    order = place()
    topics()

    def refuse(**_options: Any) -> None:
        raise RuntimeError("no")

    order_status_changed.connect(refuse)
    try:
        with pytest.raises(RuntimeError):
            order.set_status("Cancelled")
    finally:
        order_status_changed.disconnect(refuse)
    order.refresh_from_db()
    assert (order.status, {line.status for line in order.lines.all()}) == ("Pending", {"Pending"})
    assert topics() == []


def test_paid_in_full_is_an_event_once(captured, topics) -> None:
    order = place()
    topics()
    source = pay(order, "20.00")
    assert topics() == [
        "order.partially_paid",
        "order.payment_created",
        "order.payment_source_created",
        "order.updated",
    ]
    source.debit(Decimal("10.00"))
    assert topics() == ["order.paid", "order.payment_created", "order.updated"]
    (old,), (new,) = captured.events[-1].changes["payment_sources"]
    assert (old["amount_debited"], new["amount_debited"]) == ("20.00", "30.00")
    enter_payment(order, "Paid", "30.00")
    assert topics() == ["order.payment_event_created", "order.updated"], "the same money, entered as an event too"


def test_a_payment_of_lines_is_one_event(captured, topics) -> None:
    order = place()
    topics()
    enter_payment_of_lines(order, "Paid", "30.00")
    assert topics() == ["order.paid", "order.payment_created", "order.payment_event_created", "order.updated"]
    assert len(captured.events[-1].changes["payment_event_lines"][1]) == 2


def test_what_is_reserved_is_authorized(topics) -> None:
    order = place()
    topics()
    source = pay(order, allocate_only=True)
    assert topics() == ["order.authorized", "order.payment_source_created", "order.updated"]
    source.debit()
    assert topics() == ["order.paid", "order.payment_created", "order.updated"]


@pytest.mark.parametrize("how", ["source", "event", "both"])
def test_a_refund_is_an_event_whichever_way_it_is_entered(how, topics) -> None:
    order = place()
    source = pay(order)
    topics()
    amounts = [("10.00", "order.partially_refunded"), ("20.00", "order.refunded")]
    for amount, topic in amounts:
        if how != "event":
            source.refund(Decimal(amount))
        if how != "source":
            enter_payment(order, "Refunded", amount)
        found = topics()
        assert found.count(topic) == found.count("order.refund_created") == 1, found
        assert "order.paid" not in found


def test_a_shipment_of_all_lines_is_never_a_part(captured, topics) -> None:
    order = place()
    topics()
    ship(order)
    assert topics() == [
        "order.fulfilled",
        "order.fulfillment_created",
        "order.shipping_event_created",
        "order.updated",
    ]
    assert captured.events[-1].payload["order"]["fulfillment_status"] == "fulfilled"


def test_a_part_then_the_rest_then_all_comes_back(topics) -> None:
    order = place()
    topics()
    ship(order, {"MUG-01": 1})
    assert "order.partially_fulfilled" in topics()
    ship(order, {"MUG-01": 1, "TEA-01": 1})
    assert topics().count("order.fulfilled") == 1
    ship(order, name="Returned")
    assert topics() == ["order.returned", "order.shipping_event_created", "order.updated"]


def test_a_new_address_is_an_event(captured, topics) -> None:
    order = place()
    topics()
    order.shipping_address.line1 = "13 St James Square"
    order.shipping_address.save()
    assert topics() == ["order.updated"]
    old, new = captured.events[-1].changes["shipping_address"]
    assert (old[0]["line1"], new[0]["line1"]) == ("12 St James Square", "13 St James Square")


def test_looking_at_the_thank_you_page_and_notes_are_no_events(topics) -> None:
    order = place()
    topics()
    order.analytics_tracked = True
    order.save(update_fields=["analytics_tracked"])
    order.notes.create(message="called")
    order.lines.first().consume_allocation(1)
    assert topics() == []


def test_in_one_transaction_a_whole_sale_makes_each_event_once(captured, topics) -> None:
    with transaction.atomic():
        order = place()
        pay(order)
        ship(order)
    assert topics() == [
        "order.created",
        "order.fulfilled",
        "order.fulfillment_created",
        "order.paid",
        "order.payment_created",
        "order.payment_source_created",
        "order.shipping_event_created",
    ]
    assert {event.payload["order"]["payment_status"] for event in captured.events} == {"paid"}


def test_a_shop_says_what_its_own_words_mean(settings, topics) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"{__name__}.Own"]}
    order = place()
    topics()
    order.set_status("Being processed")
    assert "order.paid" in topics()
    enter_payment(order, "Bank transfer", "30.00")
    assert "order.payment_created" in topics()
    ship(order, name="Handed over")
    assert "order.fulfilled" in topics()


def test_an_order_is_found_by_its_number_and_its_deletion_holds_it(captured) -> None:
    order = place()
    source = sources.by_name("oscar")
    assert source.find(str(order.number), store="", using="default") == order
    assert source.find("none", store="", using="default") is None
    order.delete()
    assert captured.events[-1].topic == "order.deleted"
    assert len(captured.events[-1].payload["order"]["lines"]) == 2


def test_the_shop_need_not_list_topics_and_every_check_passes(captured) -> None:
    place()
    assert source_trials.live_faults() == []
    call_command("check", databases=["default"], fail_level="WARNING")
    offered = {topic.name: topic.description for topic in catalogue.offered()}
    assert offered["order.status_being_processed"] == "The order's status became “Being processed”."
    assert "order.line_status_shipped" in offered
    assert "order.status_pending" not in offered, "an order only begins with it"
    assert not {name for name in offered if name.endswith("blank")}
    assert get_model("order", "Order").objects.count() == 1
