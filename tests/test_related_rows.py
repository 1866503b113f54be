"""Related rows: payments, parcels, addresses. Whatever path leads to the order, their changes are its changes."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from orderhooks import outbox, publishing, signal_handlers
from orderhooks.models import CaptureFailure, Change, Event
from orderhooks.signals import event_published
from orderhooks.sources import related as related_rows
from tests.factories import make_subscription
from tests.publications import payload_of
from tests.shapes import sources
from tests.shapes.models import Address, Parcel, Payment, Purchase, PurchaseLine

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _shapes(settings: Any) -> Iterator[None]:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": sources.PATHS, "TOPICS": sources.TOPICS}
    signal_handlers.connect()
    make_subscription()
    yield
    assert list(CaptureFailure.objects.values_list("error", flat=True)) == []


@pytest.fixture
def order() -> Any:
    order = Purchase.objects.create(
        total=10, billing=Address.objects.create(city="Rome"), delivery=Address.objects.create(city="Oslo")
    )
    Event.objects.all().delete()
    return order


def forget() -> None:
    assert not Change.objects.exists()
    Event.objects.all().delete()


def published() -> dict[str, dict[str, Any]]:
    """The changes of each topic since the last call."""
    assert not Change.objects.exists()
    events = list(Event.objects.order_by("sequence"))
    assert [event.error for event in events] == [""] * len(events)
    forget()
    found = {event.topic: event.changes for event in events}
    assert len(found) == len(events)
    return found


def test_a_payment_is_a_change_of_its_order_with_its_own_topic(order: Any) -> None:
    payment = Payment.objects.create(order=order, amount=4)
    row = {"id": str(payment.pk), "amount": "4.00 EUR"}
    changes = {"payments": [[], [row]]}
    assert published() == {"order.updated": changes, "order.payment": changes}
    payment.amount = Decimal(3)
    payment.save()
    assert published() == {"order.updated": {"payments": [[row], [{**row, "amount": "3.00 EUR"}]]}}
    payment.delete()
    assert published() == {"order.updated": {"payments": [[{**row, "amount": "3.00 EUR"}], []]}}


def test_topics_may_be_computed_from_the_net_change_and_the_order(order: Any) -> None:
    Payment.objects.create(order=order, amount=4)
    assert "order.covered" not in published()
    with transaction.atomic():
        Payment.objects.create(order=order, amount=2)
        Payment.objects.create(order=order, amount=4)
    events = published()
    assert set(events) == {"order.updated", "order.payment", "order.covered"}
    assert [row["amount"] for row in events["order.covered"]["payments"][1]] == ["2.00 EUR", "4.00 EUR"]


def test_a_new_order_with_a_payment_publishes_both(order: Any) -> None:
    with transaction.atomic():
        new = Purchase.objects.create(total=5)
        PurchaseLine.objects.create(order=new, sku="TEA")
        payment = Payment.objects.create(order=new, amount=5)
    changes = {"payments": [[], [{"id": str(payment.pk), "amount": "5.00 EUR"}]]}
    assert published() == {"order.created": changes, "order.payment": changes, "order.covered": changes}


def test_a_row_that_leads_to_the_order_by_two_foreign_keys(order: Any) -> None:
    line = PurchaseLine.objects.create(order=order, sku="TEA")
    forget()
    parcel = Parcel.objects.create(line=line)
    made = {"parcels": [[], [{"id": parcel.pk, "tracking": ""}]]}
    assert published() == {"order.updated": made, "parcel.made": made}
    parcel.tracking = "X1"
    parcel.save(update_fields=["tracking"])
    sent = {"parcels": [[{"id": parcel.pk, "tracking": ""}], [{"id": parcel.pk, "tracking": "X1"}]]}
    assert published() == {"order.updated": sent, "parcel.changed": sent}
    key = parcel.pk
    parcel.delete()
    gone = {"parcels": [[{"id": key, "tracking": "X1"}], []]}
    assert published() == {"order.updated": gone, "parcel.gone": gone}


def test_a_row_that_moves_to_a_line_of_another_order_is_a_change_of_both(order: Any) -> None:
    other = Purchase.objects.create()
    parcel = Parcel.objects.create(line=PurchaseLine.objects.create(order=order, sku="TEA"))
    line = PurchaseLine.objects.create(order=other, sku="JAM")
    forget()
    parcel.line = line
    parcel.save()
    row = {"id": parcel.pk, "tracking": ""}
    events = [(one.topic, one.order_pk, one.changes) for one in Event.objects.order_by("sequence")]
    assert events == [
        ("order.updated", str(order.pk), {"parcels": [[row], []]}),
        ("parcel.gone", str(order.pk), {"parcels": [[row], []]}),
        ("order.updated", str(other.pk), {"parcels": [[], [row]]}),
        ("parcel.made", str(other.pk), {"parcels": [[], [row]]}),
    ]


def test_a_line_that_is_deleted_takes_its_parcels_along(order: Any) -> None:
    line = PurchaseLine.objects.create(order=order, sku="TEA")
    parcel = Parcel.objects.create(line=line)
    forget()
    row, of_line = {"id": parcel.pk, "tracking": ""}, {"id": line.pk, "sku": "TEA"}
    line.delete()
    changes = {"lines": [[of_line], []], "parcels": [[row], []]}
    assert published() == {"order.updated": changes, "parcel.gone": changes}


def test_an_address_to_which_the_order_points(order: Any) -> None:
    address = Address.objects.get(pk=order.delivery_id)
    address.city = "Bergen"
    address.save()
    old, new = {"id": address.pk, "city": "Oslo"}, {"id": address.pk, "city": "Bergen"}
    assert published() == {"order.updated": {"delivery": [[old], [new]]}}
    address.unwatched = "x"
    address.save()
    assert published() == {}


def test_another_address_for_the_order(order: Any) -> None:
    old = {"id": order.delivery_id, "city": "Oslo"}
    order.delivery = Address.objects.create(city="Bonn")
    order.save()
    assert published() == {"order.updated": {"delivery": [[old], [{"id": order.delivery_id, "city": "Bonn"}]]}}
    old, order.delivery = {"id": order.delivery_id, "city": "Bonn"}, None
    order.save()
    assert published() == {"order.updated": {"delivery": [[old], []]}}


def test_one_address_for_two_purposes_and_two_orders(order: Any) -> None:
    other = Purchase.objects.create(billing=order.billing)
    order.delivery = order.billing
    order.save()
    forget()
    order.billing.city = "Milan"
    order.billing.save()
    key = order.billing_id
    pair = [[{"id": key, "city": "Rome"}], [{"id": key, "city": "Milan"}]]
    changes = {one.order_pk: one.changes for one in Event.objects.all()}
    assert changes == {str(order.pk): {"billing": pair, "delivery": pair}, str(other.pk): {"billing": pair}}


def test_an_address_that_is_deleted_is_a_change_of_its_order(order: Any) -> None:
    key = order.delivery_id
    Address.objects.get(pk=key).delete()
    assert published() == {"order.updated": {"delivery": [[{"id": key, "city": "Oslo"}], []]}}
    order.refresh_from_db()
    assert order.delivery is None


@pytest.mark.parametrize("rows", [3, 30])
def test_rows_deleted_together_look_for_their_orders_together(order: Any, rows: int) -> None:
    for _ in range(rows):
        line = PurchaseLine.objects.create(order=order, sku="TEA")
        Parcel.objects.create(line=line)
    forget()
    with CaptureQueriesContext(connection) as queries:
        Parcel.objects.all().delete()
    assert len(Event.objects.get(topic="parcel.gone").changes["parcels"][0]) == rows
    joined = [query for query in queries if "JOIN" in query["sql"] and PurchaseLine._meta.db_table in query["sql"]]
    assert len(joined) <= 2


def test_a_row_of_very_many_orders_is_no_part_of_each(order: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(related_rows, "MOST_ORDERS", 2)
    for _ in range(2):
        Purchase.objects.create(delivery=order.delivery)
    forget()
    order.delivery.city = "Bergen"
    order.delivery.save()
    assert published() == {}
    order.delivery.refresh_from_db()
    assert order.delivery.city == "Bergen"
    failure = CaptureFailure.objects.get()
    assert failure.error.startswith("TooManyOrdersError: More than 2 orders point to this row by 'delivery'.")
    failure.delete()


def test_a_deleted_order_publishes_its_deletion_alone(order: Any) -> None:
    line = PurchaseLine.objects.create(order=order, sku="TEA")
    Parcel.objects.create(line=line)
    Payment.objects.create(order=order, amount=1)
    forget()
    order.delete()
    (event,) = Event.objects.all()
    assert (event.topic, payload_of(event)["order"]["paid"]) == ("order.deleted", ["1.00"])


def test_an_error_of_computed_topics_is_kept_with_the_event(order: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources.Purchase, "compute_topics", lambda *_args: ["order.unlisted"])
    order.total = Decimal(11)
    order.save()
    event = Event.objects.get()
    assert (event.topic, event.payload) == ("order.updated", None)
    assert event.error == (
        "TopicsNotComputedError: compute_topics() returns 'order.unlisted'. Add it to `computed_topics`, and to TOPICS."
    )


def test_topics_that_could_not_be_computed_are_made_up_for(order: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any) -> Any:
        raise RuntimeError("no ledger")

    with monkeypatch.context() as patch:
        patch.setattr(sources.Purchase, "compute_topics", fail)
        Payment.objects.create(order=order, amount=10)
        first, second = Event.objects.order_by("sequence")
        assert not publishing.republish(first)
        assert first.error == "TopicsNotComputedError: RuntimeError: no ledger"
    announced: list[str] = []

    def note(event: Event, **_others: Any) -> None:
        announced.append(event.topic)

    event_published.connect(note)
    try:
        assert publishing.republish(first)
        assert sorted(announced) == sorted([first.topic, "order.covered"]), "with the one that was missing"
        assert publishing.republish(second)
    finally:
        event_published.disconnect(note)
    assert announced[2:] == [second.topic]
    found = {event.topic: event for event in Event.objects.all()}
    assert sorted(found) == ["order.covered", "order.payment", "order.updated"]
    assert Event.objects.count() == 3
    for event in found.values():
        assert payload_of(event)["changes"]["payments"][1][0]["amount"] == "10.00 EUR"


class TestAsCommitted:
    """What later transactions changed is not in the payload of an earlier event."""

    @staticmethod
    def coalesce_together(monkeypatch: pytest.MonkeyPatch, *steps: Any) -> list[Event]:
        with monkeypatch.context() as patch:
            patch.setattr(outbox.transaction_batch.TransactionBatch, "coalesce", lambda _batch: [])
            for step in steps:
                step()
        assert Change.objects.exists()
        change = Change.objects.first()
        assert change is not None
        outbox.coalesce(change.source, change.order_pk, now=change.created_at)
        return list(Event.objects.filter(topic="order.updated").order_by("sequence"))

    @pytest.mark.by_hand
    def test_payments_and_addresses(self, order: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def pay(amount: int) -> None:
            Payment.objects.create(order=order, amount=amount)

        def move(city: str) -> None:
            Address.objects.filter(pk=order.delivery_id).get()
            order.delivery.city = city
            order.delivery.save()

        def redirect() -> None:
            order.delivery = Address.objects.create(city="Bonn")
            order.save()

        def take_back() -> None:
            Payment.objects.filter(amount=1).get().delete()

        events = self.coalesce_together(
            monkeypatch, lambda: pay(1), lambda: move("Bergen"), redirect, lambda: pay(2), take_back
        )
        shown = [(payload_of(one)["order"]["paid"], payload_of(one)["order"]["city"]) for one in events]
        assert [(sorted(paid), city) for paid, city in shown] == [
            (["1.00"], "Oslo"),
            (["1.00"], "Bergen"),
            (["1.00"], "Bonn"),
            (["1.00", "2.00"], "Bonn"),
            (["2.00"], "Bonn"),
        ]

    @pytest.mark.by_hand
    def test_an_order_that_is_gone(self, order: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        Payment.objects.create(order=order, amount=1)
        forget()

        def change() -> None:
            order.total = Decimal(12)
            order.save()

        (event,) = self.coalesce_together(monkeypatch, change, order.delete)
        assert payload_of(event)["order"]["paid"] == ["1.00"]


def test_a_save_that_changes_no_watched_value_of_a_row_looks_for_no_order(order: Any) -> None:
    address = Address.objects.get(pk=order.delivery_id)
    address.unwatched = "y"
    with CaptureQueriesContext(connection) as queries:
        address.save()
    assert not [query for query in queries if Purchase._meta.db_table in query["sql"]]
