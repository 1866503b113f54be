"""Orders that a worker reads together are shown as each would be by itself."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import pytest
from django.db import transaction
from django.utils import timezone

from orderhooks import outbox, reconciling, signal_handlers
from orderhooks.models import Change, Event
from orderhooks.outbox import left_behind
from orderhooks.outbox.guarding import describe_error
from tests.factories import make_subscription
from tests.publications import payload_of
from tests.shapes import sources
from tests.shapes.models import Address, Purchase, PurchaseLine

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.by_hand]

MANY = left_behind.FEW + 2


class Shown(sources.Purchase):
    """Shows what the store's managers make of the rows that belong to an order, and alters one of them."""

    computed_topics = ("order.covered",)
    last: ClassVar[dict[str, int]] = {}  # of the store, which all payloads show

    def payload(self, order: Any) -> dict[str, Any]:
        order.billing.city = f"Dear {order.billing.city}"
        order.billing.log.setdefault("orders", []).append(order.pk)
        self.last["order"] = order.pk
        return {
            "id": order.pk,
            "place": order.billing.place,
            "city": order.billing.city,
            "log": order.billing.log,
            "last": self.last,
            "skus": [line.sku for line in order.lines.all()],
            "places": [getattr(line, "place", None) for line in order.lines.all()],
        }

    def compute_topics(self, order: Any, changes: Mapping[str, list[Any]]) -> Iterable[str]:
        return ()


@pytest.fixture
def purchases(settings: Any) -> list[Purchase]:
    settings.ORDERHOOKS = {
        **settings.ORDERHOOKS,
        "SOURCES": [f"{__name__}.Shown"],
        "TOPICS": sources.TOPICS,
        "COALESCE_IN_WORKER": True,
    }
    signal_handlers.connect()
    make_subscription()
    billing = Address.objects.create(city="Rome")
    made = []
    for _ in range(MANY):
        with transaction.atomic():
            made.append(Purchase.objects.create(state="new", billing=billing))
            for sku in ("B", "removed", "A"):
                PurchaseLine.objects.create(order=made[-1], sku=sku)
    return made


def work() -> None:
    while outbox.is_anything_left_behind(now=timezone.now()):
        outbox.coalesce_left_behind(now=timezone.now())


def shown(topic: str) -> list[dict[str, Any]]:
    return [payload_of(event)["order"] for event in Event.objects.filter(topic=topic).order_by("sequence")]


def as_each(orders: list[Purchase]) -> list[dict[str, Any]]:
    return [
        {
            "id": order.pk,
            "place": "ROME",
            "city": "Dear Rome",
            "log": {"orders": [order.pk]},
            "last": {"order": order.pk},
            "skus": ["B", "A"],
            "places": [1, 2],
        }
        for order in orders
    ]


def test_each_has_the_rows_that_its_attributes_give(purchases: list[Purchase]) -> None:
    work()
    assert shown("order.created") == as_each(purchases)


def test_so_it_is_after_several_transactions(purchases: list[Purchase]) -> None:
    for purchase in purchases:
        purchase.state = "paid"
        purchase.save()
    work()
    assert not Change.objects.exists()
    assert shown("order.created") == as_each(purchases)
    assert shown("order.updated") == as_each(purchases)


def test_so_it_is_for_the_last_time(purchases: list[Purchase]) -> None:
    keys = [purchase.pk for purchase in purchases]
    work()
    purchases.pop().delete()
    Purchase.objects.all().delete()
    work()
    deleted = shown("order.deleted")
    assert sorted(one.pop("id") for one in deleted) == keys
    assert [(one["place"], one["skus"]) for one in deleted] == [("ROME", ["B", "A"])] * MANY


def test_an_order_that_changes_twice_before_a_worker_comes_keeps_the_order_of_its_rows(
    purchases: list[Purchase], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PurchaseLine._meta, "ordering", ("sku",))
    purchase = purchases[0]
    purchase.lines.get(sku="B").delete()
    purchase.state = "paid"
    purchase.save()
    work()
    events = Event.objects.filter(order_pk=str(purchase.pk)).order_by("sequence")
    assert [(event.topic, payload_of(event)["order"]["skus"]) for event in events] == [
        ("order.created", ["A", "B"]),
        ("order.updated", ["A"]),
        ("order.updated", ["A"]),
        ("order.paid", ["A"]),
    ]


def test_rows_that_are_alike_otherwise_come_by_their_key(
    purchases: list[Purchase], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many orders as of one: without a last criterion the database chooses."""
    monkeypatch.setattr(PurchaseLine._meta, "ordering", ("sku",))
    monkeypatch.setattr(Shown, "payload", lambda _source, order: {"keys": [line.pk for line in order.lines.all()]})
    work()
    with transaction.atomic():
        for purchase in purchases * 8:
            PurchaseLine.objects.create(order=purchase, sku="B")
    work()
    events = Event.objects.filter(topic="order.updated")
    assert len(events) == len(purchases)
    # PostgreSQL writes an updated row anew, behind the others.
    for purchase in purchases:
        PurchaseLine.objects.filter(pk=purchase.lines.earliest("pk").pk).update(sku="B")
    reconciliation = reconciling.begin(since=None)
    while reconciliation.state == "running":
        assert reconciling.advance(reconciliation, now=timezone.now()) == []
    for event in events:
        lines = PurchaseLine.objects.filter(order=int(event.order_pk)).exclude(sku="removed").order_by("sku", "pk")
        assert payload_of(event)["order"] == {"keys": [line.pk for line in lines]}


@pytest.mark.parametrize("character", ["\ud800", "\x00"])
def test_the_text_of_any_error_can_be_stored(character: str) -> None:
    text = describe_error(ValueError(f"so {character}"))
    text.encode()
    assert "\x00" not in text
    assert text.startswith("ValueError: so ")
