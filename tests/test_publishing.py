"""P1, P2, P3, P9 and the sequence of P12: what a transaction leaves in the outbox."""

import json
import uuid
from datetime import timedelta
from decimal import Decimal
from unittest.mock import ANY

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks import outbox, publishing, signal_handlers, topics
from orderhooks.models import Change, Event, Order, OrderLine, Subscription
from orderhooks.signals import event_published
from orderhooks.sources import BuiltInOrders
from tests.factories import make_order, make_subscription

pytestmark = pytest.mark.django_db(transaction=True)

PAID = {"payment_status": ["pending", "paid"], "paid_at": [None, ANY]}
# What `Order.save()` sets beside these values.
TIMES = {"paid": {"paid_at": [None, ANY]}, "cancelled": {"cancelled_at": [None, ANY]}}


class RollbackError(Exception):
    pass


@pytest.fixture
def order() -> Order:
    """An order whose own events are out of the way, in a store that somebody listens to."""
    make_subscription()
    order = make_order()
    Event.objects.all().delete()
    return order


def published() -> list[str]:
    assert not Change.objects.exists(), "coalescing has left changes behind"
    return list(Event.objects.order_by("sequence").values_list("topic", flat=True))


def test_a_new_order_is_created_and_not_updated() -> None:
    make_subscription()
    with transaction.atomic():
        order = Order.objects.create(customer_name="Ada")
        order.customer_name = "Ada L."
        order.save()
    assert published() == ["order.created"]
    event = Event.objects.get()
    assert event.payload["order"]["customer"]["name"] == "Ada L."
    assert event.order_number == order.number == event.payload["order"]["number"]
    assert event.changes == {}


def test_an_order_that_is_born_paid_is_created_and_paid() -> None:
    make_subscription()
    Order.objects.create(payment_status="paid")
    assert published() == ["order.created", "order.paid"]
    assert Event.objects.last().changes == {"payment_status": ["pending", "paid"]}


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
        assert event.changes == event.payload["changes"] == {field: [before, value], **TIMES.get(value, {})}


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


def test_a_stale_instance_tells_what_the_database_saw_change(order: Order) -> None:
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


def test_update_fields_tells_only_what_was_saved(order: Order) -> None:
    order.payment_status = "paid"
    order.note = "not saved"
    order.save(update_fields=["payment_status"])
    assert published() == ["order.updated", "order.paid"]
    event = Event.objects.last()
    assert event.changes == PAID
    assert event.payload["order"]["note"] == ""


def test_update_fields_without_a_watched_field_asks_and_tells_nothing(order: Order) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        order.save(update_fields=["updated_at"])
    assert published() == []
    assert [query["sql"] for query in queries if "subscription" in query["sql"]] == []


def test_an_expression_is_told_by_its_result(order: Order) -> None:
    order.total = F("total") + 5
    order.save()
    assert Event.objects.get().changes == {"total": ["0.00", "5.00"]}


def test_several_saves_in_one_transaction_make_one_event_with_the_net_change(order: Order) -> None:
    with transaction.atomic():
        order.payment_status = "authorized"
        order.save()
        order.payment_status = "paid"
        order.note = "gift"
        order.save()
    assert published() == ["order.updated", "order.paid"]
    assert Event.objects.last().changes == {**PAID, "note": ["", "gift"]}


def test_changes_that_cancel_out_make_no_event(order: Order) -> None:
    with transaction.atomic():
        order.payment_status = "paid"
        order.save()
        order.payment_status = "pending"
        order.save()
    assert published() == []


def test_two_transactions_are_told_apart_even_when_coalesced_together(order: Order, monkeypatch) -> None:
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


def test_a_change_in_a_savepoint_within_one_that_is_rolled_back_is_not_told(order: Order) -> None:
    with transaction.atomic():
        with pytest.raises(RollbackError), transaction.atomic():
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
    assert [line["sku"] for line in Event.objects.get().payload["order"]["lines"]] == ["A", "B"]


def test_a_later_transaction_does_not_reach_an_earlier_snapshot(order: Order) -> None:
    order.payment_status = "paid"
    order.save()
    order.payment_status = "refunded"
    order.save()
    states = {event.topic: event.payload["order"]["payment_status"] for event in Event.objects.order_by("sequence")}
    assert states["order.paid"] == "paid"
    assert states["order.refunded"] == "refunded"


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


def test_a_deleted_order_is_told_with_its_last_state(order: Order) -> None:
    number = order.number
    order.delete()
    assert published() == ["order.deleted"]
    event = Event.objects.get()
    assert event.order_number == number
    assert [line["sku"] for line in event.payload["order"]["lines"]] == ["TEA-1"]


def test_deleting_a_queryset_tells_each_order(order: Order) -> None:
    make_order()
    Event.objects.all().delete()
    Order.objects.all().delete()
    assert published() == ["order.deleted", "order.deleted"]


def test_an_order_made_and_deleted_in_one_transaction_is_not_told() -> None:
    make_subscription()
    with transaction.atomic():
        make_order().delete()
    assert published() == []


def test_fixtures_restore_a_state_and_tell_nothing(order: Order, tmp_path) -> None:
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


def test_a_proxy_of_the_order_tells_like_the_order(order: Order) -> None:
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
        return len([one for one in captured if "SAVEPOINT" not in one["sql"]])

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


def test_publish_tells_a_moment_of_the_stores_own(order: Order, settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "TOPICS": {"order.gift_wrapped": "Paper was put round it."}}
    with transaction.atomic():
        publishing.publish("order.gift_wrapped", order)
        order.note = "with a bow"
        order.save()
    assert published() == ["order.updated", "order.gift_wrapped"]
    assert Event.objects.get(topic="order.gift_wrapped").payload["order"]["note"] == "with a bow"


def test_a_moment_is_rolled_back_with_its_transaction(order: Order) -> None:
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


class Moody(BuiltInOrders):
    """The built-in orders, told by code that fails as the test wants."""

    problem: Exception | None = None
    extra: object = None

    def payload(self, order):
        if isinstance(self.problem, Exception):
            raise self.problem
        if self.problem is not None:
            Order.objects.raw("SELECT id FROM nowhere")[0]
        return {**super().payload(order), "extra": self.extra}


@pytest.fixture
def moody(settings):
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": ["tests.test_publishing.Moody"]}
    yield Moody
    Moody.problem = Moody.extra = None


@pytest.mark.parametrize("moment", ["created", "changed", "deleted"])
def test_a_payload_builder_that_raises_leaves_the_order_saved_and_the_event_visible(moody, moment: str) -> None:
    make_subscription()
    order = make_order() if moment != "created" else Order()
    Event.objects.all().delete()
    moody.problem = ZeroDivisionError("no such tax")
    order.note = "x"
    if moment == "deleted":
        order.delete()
    else:
        order.save()
        assert Order.objects.get(pk=order.pk).note == "x"
    event = Event.objects.get()
    assert event.error == "ZeroDivisionError: no such tax"
    assert event.published_at is None
    assert event.payload is None


def test_a_builder_that_breaks_the_database_transaction_is_contained(order: Order, moody) -> None:
    moody.problem = "a broken query"
    order.payment_status = "paid"
    order.save()
    assert published() == ["order.updated", "order.paid"]
    assert "nowhere" in Event.objects.last().error


@pytest.mark.parametrize("extra", [float("nan"), object(), "\ud800", "nul \x00", uuid.uuid4()])
def test_a_payload_that_json_or_the_database_can_not_hold_is_an_error_of_the_event(order, moody, extra) -> None:
    moody.extra = extra
    order.note = "x"
    order.save()
    assert Event.objects.get().error
    assert Event.objects.get().published_at is None


def test_a_mended_event_is_published_again_and_goes_out_once(order: Order, moody) -> None:
    moody.problem = ValueError("not now")
    order.payment_status = "paid"
    order.save()
    event = Event.objects.get(topic="order.paid")
    moody.problem = ValueError("still not")
    assert publishing.republish(event) is False
    assert event.error == "ValueError: still not"
    moody.problem = None
    assert publishing.republish(event) is True
    assert event.error == ""
    assert event.payload["changes"] == PAID
    assert publishing.republish(event) is False
    assert list(Event.objects.unrouted()) == [event]


def test_an_event_of_a_source_that_was_removed_says_so(order: Order, settings, moody) -> None:
    moody.problem = ValueError("first")
    order.payment_status = "paid"
    order.save()
    event = Event.objects.get(topic="order.paid")
    Event.objects.filter(pk=event.pk).update(source="gone")
    event.refresh_from_db()
    assert publishing.republish(event) is False
    assert "SOURCES" in event.error


def test_an_order_that_vanished_unseen_is_an_error_of_the_event(order: Order, monkeypatch) -> None:
    with transaction.atomic():
        order.note = "x"
        order.save()
        OrderLine.objects.all()._raw_delete(using="default")
        Order.objects.all()._raw_delete(using="default")
    assert "its deletion was not captured" in Event.objects.get().error


def test_coalescing_that_fails_leaves_the_order_saved_and_its_changes_there(order: Order, monkeypatch, caplog) -> None:
    def broken(*_args, **_kwargs):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(outbox.transaction_batch, "coalesce", broken)
        order.payment_status = "paid"
        order.save()
    assert "could not coalesce" in caplog.text
    change = Change.objects.get()
    assert outbox.coalesce_left_behind(now=change.created_at) == []
    outbox.coalesce_left_behind(now=change.created_at + outbox.LEFT_BEHIND_AFTER * 2)
    assert published() == ["order.updated", "order.paid"]


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


def test_an_order_whose_code_kills_its_worker_ends_as_an_event_with_the_reason(monkeypatch) -> None:
    make_subscription()
    with monkeypatch.context() as patch:
        patch.setattr(outbox.transaction_batch, "coalesce", lambda *_args, **_options: [])
        make_order(lines=[])
    later = timezone.now() + timedelta(minutes=1)

    class DiedError(BaseException):
        """Stands for the end of the process: nothing after it runs."""

    def die(*_args: object) -> None:
        raise DiedError

    with monkeypatch.context() as patch:
        patch.setattr(BuiltInOrders, "payload", die)
        for _ in range(outbox.MAX_COALESCE_ATTEMPTS):
            with pytest.raises(DiedError):
                outbox.coalesce_left_behind(now=later)
        [event] = outbox.coalesce_left_behind(now=later)
    assert event.topic == "order.created"
    assert "killed its worker 3 times" in event.error
    assert event.published_at is None
    assert published() == ["order.created"]
    assert publishing.republish(event), "once fixed, it can be published"
