"""Carts and orders in one table, beside a save: columns that only `only` names, reconciling, publishing again."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
from django.db.models import Q

from orderhooks import publishing, signal_handlers
from orderhooks.models import CaptureFailure, Change, Event
from orderhooks.reconciling import Kind
from orderhooks.sources import OrderSource
from tests.factories import make_subscription
from tests.publications import payload_of, published
from tests.shapes.models import Purchase
from tests.test_reconciling import differences, settle

pytestmark = pytest.mark.django_db(transaction=True)


class Shop(OrderSource):
    """Only `only` names the state."""

    name = "shop"
    model = "shapes.Purchase"
    only = ~Q(state="cart")
    watched = ("total",)
    computed_topics = ("order.paid",)

    def compute_topics(self, order: Any, changes: Mapping[str, list[Any]]) -> Iterable[str]:
        return ["order.paid"]


@pytest.fixture(autouse=True)
def _shop(settings: Any) -> Iterator[None]:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"{__name__}.Shop"]}
    signal_handlers.connect()
    make_subscription()
    yield
    assert list(CaptureFailure.objects.values_list("error", flat=True)) == []


def test_the_columns_of_only_need_not_be_named_elsewhere(monkeypatch: Any) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("orderhooks.outbox.transaction_batch.coalesce", lambda *_args, **_options: [])
        order = Purchase.objects.create(state="cart")
        assert not Change.objects.exists()
    for state in ("open", "cart"):
        order.state = state
        order.save(update_fields=["state"])
    assert published() == ["order.created", "order.paid", "order.deleted"]


def test_a_save_of_an_order_that_changes_nothing_is_not_captured(monkeypatch: Any) -> None:
    order = Purchase.objects.create()
    monkeypatch.setattr("orderhooks.outbox.transaction_batch.coalesce", lambda *_args, **_options: [])
    order.save(update_fields=["total"])
    assert not Change.objects.exists()


def test_a_reconciliation_finds_orders_that_became_carts_behind_the_back() -> None:
    order = Purchase.objects.create(total=5)
    Purchase.objects.create(state="cart")
    settle()
    assert differences() == []
    Purchase.objects.filter(pk=order.pk).update(state="cart")
    [difference] = found = differences()
    assert (difference.kind, difference.order_pk) == (Kind.DELETED, str(order.pk))
    assert publishing.publish_differences(found) == 1
    deleted = Event.objects.get(topic="order.deleted")
    assert payload_of(deleted)["order"]["total"] == "5.00"
    assert differences() == []


def test_an_event_is_not_published_again_about_what_is_a_cart_by_now(monkeypatch: Any) -> None:
    def fail(_source: Any, _order: Any) -> dict[str, Any]:
        raise ValueError("no price")

    with monkeypatch.context() as patch:
        patch.setattr(Shop, "payload", fail)
        order = Purchase.objects.create()
    Purchase.objects.filter(pk=order.pk).update(state="cart")
    event = Event.objects.filter(topic="order.created").get()
    assert not publishing.republish(event)
    assert "no order any more" in event.error
    Purchase.objects.filter(pk=order.pk).update(state="open")
    assert publishing.republish(event)
