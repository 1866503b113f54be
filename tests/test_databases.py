"""Databases: with a replica that lags behind, everything works; no record of ours is ever looked for there."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.apps import apps
from django.db import connections, transaction
from django.db.models import Q
from django.utils import timezone

from orderhooks import models, publishing, retention, signal_handlers
from orderhooks.outbox.fetching import fetch_together
from orderhooks.outbox.reading import read_order_before
from orderhooks.sources import FieldPayload, OrderSource
from tests.factories import cutoffs_at, make_attempt, make_delivery, make_subscription
from tests.project_flow import live_through
from tests.publications import payload_of
from tests.receivers import RecordingReceiver
from tests.shapes import sources as shape_sources
from tests.shapes.models import Address, Payment, Purchase, PurchaseLine, Receipt, TypedOrder

pytestmark = pytest.mark.django_db(transaction=True)

# Receivers of webhooks name the database for each statement.
OF_RECEIVERS = {"Receipt", "LatestSequence"}


class Ordered(OrderSource):
    name = "Purchase"
    model = "shapes.Purchase"
    only = ~Q(state="cart")
    watched = ("state", "total")
    related = shape_sources.Purchase.related
    payload_fields = FieldPayload("state", lines=("sku",), billing=("city",))


class Slips(OrderSource):
    """Shows a row that points to the order, and that it does not watch."""

    name = "slips"
    model = "shapes.TypedOrder"
    watched = ("state",)
    payload_fields = FieldPayload("state", slip=("number",))


@pytest.fixture
def replica(settings, tmp_path: Path, django_db_blocker) -> Iterator[None]:
    """A database without a single table: Django's test case lets nobody ask it anything at all."""
    connections.settings["replica"] = connections.settings["default"] | {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(tmp_path / "replica.sqlite3"),
        "OPTIONS": {},
    }
    settings.DATABASE_ROUTERS = ["tests.routers.ReadsFromAReplica"]
    try:
        yield
    finally:
        connections["replica"].close()
        del connections["replica"]
        del connections.settings["replica"]


def test_a_replica_that_lags_behind_is_no_hindrance(replica: None, receiver: RecordingReceiver) -> None:
    live_through(receiver)


@pytest.mark.parametrize(
    "model", [model for model in apps.get_app_config("orderhooks").get_models() if model.__name__ not in OF_RECEIVERS]
)
def test_each_record_is_read_where_it_is_written(replica: None, model) -> None:
    assert model._default_manager.db == "default"
    assert model._default_manager.all().db == "default"
    list(model._default_manager.all()[:1])
    list(model._default_manager.raw(f"SELECT * FROM {model._meta.db_table}"))
    assert model._default_manager.using("replica").db == "replica"


def test_related_records_are_read_there_too(replica: None) -> None:
    attempt = make_attempt(make_delivery())
    attempt = models.Attempt.objects.get(pk=attempt.pk)
    assert attempt.delivery.event.deliveries.get() == attempt.delivery
    assert attempt.delivery.subscription.secrets.count() == 1
    attempt.refresh_from_db()


def test_what_is_old_is_looked_for_where_it_is_written(replica: None) -> None:
    old = timezone.now() - timedelta(days=100)
    models.Receipt.objects.create(webhook_id="evt_1", received_at=old)
    models.LatestSequence.objects.create(order="orders:1", sequence=1, updated_at=old)
    assert retention.prune(before=cutoffs_at(timezone.now())) == 2


@pytest.fixture
def shop(replica: None, settings) -> None:
    """The store's own rows are looked for in the replica as well."""
    settings.DATABASE_ROUTERS = ["tests.routers.AllReadsFromAReplica"]
    settings.ORDERHOOKS = {
        **settings.ORDERHOOKS,
        "SOURCES": [f"{__name__}.Ordered", f"{__name__}.Slips"],
        "TOPICS": shape_sources.TOPICS,
    }
    signal_handlers.connect()
    make_subscription()


@pytest.fixture
def purchase(shop: None) -> Purchase:
    with transaction.atomic():
        purchase = Purchase.objects.create(state="cart", billing=Address.objects.create(city="Rome"))
        PurchaseLine.objects.create(order=purchase, sku="TEA-1")
        Payment.objects.create(order=purchase, amount="9.90")
    return purchase


def test_a_cart_that_becomes_an_order_has_rows_that_no_replica_has(purchase: Purchase) -> None:
    purchase.state = "new"
    purchase.save()
    events = {event.topic: event for event in models.Event.objects.all()}
    assert set(events) == {"order.created", "order.payment"}
    order = payload_of(events["order.created"])["order"]
    assert [line["sku"] for line in order["lines"]] == ["TEA-1"]
    assert order["billing"]["city"] == "Rome"


def test_what_an_order_was_before_later_changes_is_read_where_it_is_written(purchase: Purchase) -> None:
    Purchase.objects.using("default").update(state="new")
    read = read_order_before("Purchase", str(purchase.pk), [], using="default")
    assert read.error == ""
    assert read.instance.billing.city == "Rome"
    assert [payment.order_id for payment in read.instance.payments.all()] == [purchase.pk]


@pytest.mark.parametrize(("slips", "shown"), [(["R-1"], {"number": "R-1"}), ([], None)])
def test_a_row_that_points_to_the_order_is_read_where_it_is_written(shop: None, slips, shown) -> None:
    with transaction.atomic():
        order = TypedOrder.objects.create(state="new")
        for number in slips:
            Receipt.objects.create(order=order, number=number)
    [event] = models.Event.objects.all()
    slip = payload_of(event)["order"]["slip"]
    assert (slip and slip["number"]) == (shown and shown["number"])


def test_an_order_that_was_read_from_a_replica_can_be_published(purchase: Purchase) -> None:
    Purchase.objects.using("default").update(state="new")
    purchase._state.db = "replica"
    publishing.publish("order.paid", purchase)
    assert [event.topic for event in models.Event.objects.all()] == ["order.paid"]


def test_orders_that_are_read_together_are_read_where_they_are_written(shop: None) -> None:
    cities = ["Rome", "Oslo", "Bonn"]
    purchases = [Purchase.objects.create(state="new", billing=Address.objects.create(city=city)) for city in cities]
    for purchase, city in zip(purchases, cities, strict=True):
        PurchaseLine.objects.create(order=purchase, sku=city[0])
    keys = [str(purchase.pk) for purchase in purchases]
    found = fetch_together("Purchase", [*keys, "999"], using="default")
    assert sorted(found) == sorted(keys)
    assert [found[key].billing.city for key in keys] == cities
    assert [[line.sku for line in found[key].lines.all()] for key in keys] == [["R"], ["O"], ["B"]]


def test_orders_that_are_deleted_together_are_read_where_they_are_written(purchase: Purchase) -> None:
    Purchase.objects.using("default").update(state="new")
    Purchase.objects.using("default").all().delete()
    [event] = models.Event.objects.filter(topic="order.deleted")
    order = payload_of(event)["order"]
    assert order["billing"]["city"] == "Rome"
    assert [line["sku"] for line in order["lines"]] == ["TEA-1"]
