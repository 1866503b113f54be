"""P1, P2, P3, P9 and the sequence of P12: what a save, a deletion and a call of publish() leave in the outbox."""

import json
from decimal import Decimal
from unittest.mock import ANY

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from orderhooks import publishing, signal_handlers, topics
from orderhooks.models import Change, Event, Order, OrderLine, Subscription
from orderhooks.signals import event_published
from tests.factories import make_order, make_quiet_order, make_subscription
from tests.publications import PAID, payload_of, published

pytestmark = pytest.mark.django_db(transaction=True)

# What `Order.save()` sets beside these values.
TIMES = {"paid": {"paid_at": [None, ANY]}, "cancelled": {"cancelled_at": [None, ANY]}}


class RollbackError(Exception):
    pass


@pytest.fixture
def order() -> Order:
    return make_quiet_order()


def test_a_new_order_is_created_and_not_updated() -> None:
    make_subscription()
    with transaction.atomic():
        order = Order.objects.create(customer_name="Ada")
        order.customer_name = "Ada L."
        order.save()
    assert published() == ["order.created"]
    event = Event.objects.get()
    assert payload_of(event)["order"]["customer"]["name"] == "Ada L."
    assert event.order_number == order.number == payload_of(event)["order"]["number"]
    assert event.changes == {}


def test_an_order_that_is_born_paid_is_created_and_paid() -> None:
    make_subscription()
    Order.objects.create(payment_status="paid")
    assert published() == ["order.created", "order.paid"]
    assert Event.objects.earliest("sequence").changes == {"payment_status": ["pending", "paid"]}


@pytest.mark.parametrize(
    ("field", "value", "topic"),
    [
        ("status", "cancelled", "order.cancelled"),
        ("status", "closed", "order.closed"),
        ("payment_status", "authorized", "order.authorized"),
        ("payment_status", "partially_paid", "order.partially_paid"),
        ("payment_status", "paid", "order.paid"),
        ("payment_status", "partially_refunded", "order.partially_refunded"),
        ("payment_status", "refunded", "order.refunded"),
        ("payment_status", "voided", "order.voided"),
        ("fulfillment_status", "partially_fulfilled", "order.partially_fulfilled"),
        ("fulfillment_status", "fulfilled", "order.fulfilled"),
        ("fulfillment_status", "returned", "order.returned"),
    ],
)
def test_a_change_of_status_has_its_own_topic_beside_updated(order: Order, field: str, value: str, topic: str) -> None:
    before = getattr(order, field)
    setattr(order, field, value)
    order.save()
    assert published() == ["order.updated", topic]
    for event in Event.objects.all():
        assert event.changes == payload_of(event)["changes"] == {field: [before, value], **TIMES.get(value, {})}


def test_a_cancelled_order_that_opens_again_is_reopened(order: Order) -> None:
    order.status = "cancelled"
    order.save()
    order.status = "open"
    order.save()
    assert published() == ["order.updated", "order.cancelled", "order.updated", "order.reopened"]


@pytest.mark.parametrize(
    "value", [{"total": "10"}, {"total": Decimal("10.0")}, {"metadata": {"a": (1, 2)}}, {"note": ""}, {}]
)
def test_a_save_that_changes_no_watched_field_makes_no_event(value: dict) -> None:
    make_subscription()
    order = Order.objects.create(total=Decimal(10), metadata={"a": [1, 2]})
    Event.objects.all().delete()
    for name, one in value.items():
        setattr(order, name, one)
    order.save()
    assert published() == []


def test_a_stale_instance_publishes_what_changed_in_the_database(order: Order) -> None:
    stale = Order.objects.get(pk=order.pk)
    order.note = "ring twice"
    order.save()
    Event.objects.all().delete()
    stale.payment_status = "paid"
    stale.save()
    assert Event.objects.get(topic="order.paid").changes == {
        "note": ["ring twice", ""],
        **PAID,
    }


def test_update_fields_publishes_only_what_was_saved(order: Order) -> None:
    order.payment_status = "paid"
    order.note = "not saved"
    order.save(update_fields=["payment_status"])
    assert published() == ["order.updated", "order.paid"]
    event = Event.objects.earliest("sequence")
    assert event.changes == PAID
    assert payload_of(event)["order"]["note"] == ""


def test_update_fields_without_a_watched_field_make_no_query_and_no_event(order: Order) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        order.save(update_fields=["updated_at"])
    assert published() == []
    assert [query["sql"] for query in queries if "subscription" in query["sql"]] == []


def test_an_expression_is_published_as_its_result(order: Order) -> None:
    order.total = F("total") + 5
    order.save()
    assert Event.objects.get().changes == {"total": ["0.00", "5.00"]}


def test_line_changes_update_the_order_once(order: Order) -> None:
    line = order.lines.get()
    with transaction.atomic():
        line.quantity = 3
        line.save()
        OrderLine.objects.create(order=order, sku="NEW", name="new", unit_price=1)
    assert published() == ["order.updated"]
    before, after = Event.objects.get().changes["lines"]
    assert [(one["sku"], one["quantity"]) for one in before] == [("TEA-1", 2)]
    assert [(one["sku"], one["quantity"]) for one in after] == [("TEA-1", 3), ("NEW", 1)]
    assert before[0]["unit_price"] == "9.95"


def test_a_deleted_line_updates_the_order(order: Order) -> None:
    order.lines.get().delete()
    assert published() == ["order.updated"]
    assert [len(side) for side in Event.objects.get().changes["lines"]] == [1, 0]


def test_a_line_that_moves_updates_both_orders(order: Order) -> None:
    other = make_order(lines=[])
    Event.objects.all().delete()
    line = order.lines.get()
    line.order = other
    line.save()
    by_order = {event.order_number: [len(side) for side in event.changes["lines"]] for event in Event.objects.all()}
    assert by_order == {order.number: [1, 0], other.number: [0, 1]}


def test_an_unchanged_line_makes_no_event(order: Order) -> None:
    order.lines.get().save()
    assert published() == []


def test_a_deleted_order_is_published_with_its_last_state(order: Order) -> None:
    number = order.number
    order.delete()
    assert published() == ["order.deleted"]
    event = Event.objects.get()
    assert event.order_number == number
    assert [line["sku"] for line in payload_of(event)["order"]["lines"]] == ["TEA-1"]


def test_deleting_a_queryset_makes_an_event_of_each_order(order: Order) -> None:
    make_order()
    Event.objects.all().delete()
    Order.objects.all().delete()
    assert published() == ["order.deleted", "order.deleted"]


def test_fixtures_restore_a_state_and_make_no_event(order: Order, tmp_path) -> None:
    fixture = tmp_path / "order.json"
    call_command("dumpdata", "orderhooks.order", "orderhooks.orderline", output=str(fixture))
    rows = json.loads(fixture.read_text())
    rows[0]["fields"]["payment_status"] = "paid"
    fixture.write_text(json.dumps(rows))
    call_command("loaddata", str(fixture), verbosity=0)
    Order.objects.all().delete()
    Event.objects.all().delete()
    call_command("loaddata", str(fixture), verbosity=0)
    order.refresh_from_db()
    assert order.payment_status == "paid"
    assert published() == []


def test_a_proxy_of_the_order_makes_events_like_the_order(order: Order) -> None:
    class ProxyOrder(Order):
        class Meta:
            proxy = True
            app_label = "orderhooks"

    signal_handlers.connect()
    proxy = ProxyOrder.objects.get(pk=order.pk)
    proxy.payment_status = "paid"
    proxy.save()
    assert published() == ["order.updated", "order.paid"]


def test_sequence_grows_along_an_orders_events(order: Order) -> None:
    for status in ("authorized", "paid", "refunded"):
        order.payment_status = status
        order.save()
    sequences = [Event.objects.get(topic=f"order.{status}").sequence for status in ("authorized", "paid", "refunded")]
    assert sequences == sorted(set(sequences))


def test_without_a_subscription_nothing_is_written_and_a_save_costs_one_query_more() -> None:
    order = make_order()

    def queries(save) -> int:
        with CaptureQueriesContext(connection) as captured:
            save()
        # A savepoint may be sent with the first statement that it is for.
        return len([one for one in captured if one["sql"] != "SAVEPOINT orderhooks"])

    plain = queries(lambda: Order.objects.bulk_update([order], ["note", "total"]))
    order.note = "x"
    assert queries(order.save) <= plain + 1
    order.delete()
    assert not Event.objects.exists()
    assert not Change.objects.exists()


def test_the_number_of_queries_does_not_grow_with_subscriptions(order: Order) -> None:
    def queries(note: str) -> int:
        order.note = note
        with CaptureQueriesContext(connection) as captured:
            order.save()
        return len(captured)

    one = queries("one")
    for _ in range(30):
        make_subscription()
    assert queries("thirty-one") == one


def test_publish_sends_a_topic_of_the_stores_own(order: Order, settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "TOPICS": {"order.gift_wrapped": "Paper was put round it."}}
    with transaction.atomic():
        publishing.publish("order.gift_wrapped", order)
        order.note = "with a bow"
        order.save()
    assert published() == ["order.updated", "order.gift_wrapped"]
    assert payload_of(Event.objects.get(topic="order.gift_wrapped"))["order"]["note"] == "with a bow"


def test_an_explicit_event_is_rolled_back_with_its_transaction(order: Order) -> None:
    with pytest.raises(RollbackError), transaction.atomic():
        publishing.publish("order.paid", order)
        raise RollbackError
    assert published() == []


def test_publish_without_a_subscription_writes_nothing() -> None:
    publishing.publish("order.paid", make_order())
    assert published() == []


def test_publish_refuses_an_unknown_topic_and_what_is_no_order(order: Order) -> None:
    with pytest.raises(topics.UnknownTopicError, match="ORDERHOOKS"):
        publishing.publish("order.exploded", order)
    with pytest.raises(TypeError, match="saved order"):
        publishing.publish("order.paid", order.lines.get())
    with pytest.raises(TypeError, match="saved order"):
        publishing.publish("order.paid", Order())
    with pytest.raises(TypeError, match="saved order"):
        publishing.publish("order.paid", Subscription())


def test_event_published_is_sent_once_committed_and_a_bad_handler_is_only_logged(order: Order, caplog) -> None:
    heard = []

    def handler(event: Event, **_kwargs) -> None:
        heard.append((event.topic, connection.in_atomic_block))
        raise RuntimeError("a bad handler")

    event_published.connect(handler)
    try:
        order.payment_status = "paid"
        order.save()
    finally:
        event_published.disconnect(handler)
    assert heard == [("order.updated", False), ("order.paid", False)]
    assert "a bad handler" in caplog.text
