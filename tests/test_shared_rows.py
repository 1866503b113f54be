"""Related rows that belong to the orders of two sources: a change of one is a change of each order."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from orderhooks import outbox, publishing, signal_handlers, source_trials, triggers
from orderhooks.models import CaptureFailure, Event
from orderhooks.sources import Lines, OrderSource, Related
from tests.factories import make_subscription
from tests.shapes import sources
from tests.shapes.models import Parcel, Purchase, PurchaseLine

pytestmark = pytest.mark.django_db(transaction=True)


class Shop(OrderSource):
    name = "shop"
    model = "shapes.Purchase"
    watched = ("state",)
    lines = Lines("shapes.PurchaseLine", "order", ("sku",))
    related = (Related("parcels", "shapes.Parcel", "line__order", ("tracking",)),)


class Warehouse(OrderSource):
    """Its orders are the lines of the shop's."""

    name = "warehouse"
    model = "shapes.PurchaseLine"
    watched = ("sku",)
    related = (Related("parcels", "shapes.Parcel", "line", ()),)


class TriggeredShop(Shop):
    capture = "triggers"


class TriggeredWarehouse(Warehouse):
    capture = "triggers"


@pytest.fixture(autouse=True, params=["", *(["Triggered"] if connection.vendor == "postgresql" else [])])
def _two(request: Any, settings: Any) -> Iterator[None]:
    own = settings.ORDERHOOKS
    paths = [f"{__name__}.{request.param}{name}" for name in ("Shop", "Warehouse")]
    settings.ORDERHOOKS = {**own, "SOURCES": paths, "TOPICS": sources.TOPICS}
    signal_handlers.connect()
    triggers.install_after_migrate(using="default")
    make_subscription()
    yield
    settings.ORDERHOOKS = own
    triggers.install_after_migrate(using="default")
    assert list(CaptureFailure.objects.values_list("error", flat=True)) == []


def published() -> list[tuple[str, str, Any]]:
    outbox.coalesce_left_behind(now=timezone.now())
    events = list(Event.objects.order_by("source", "sequence"))
    Event.objects.all().delete()
    return [(event.source, event.topic, event.changes) for event in events]


def test_a_row_of_two_sources_changes_the_orders_of_both() -> None:
    assert source_trials.static_faults() == []
    line = PurchaseLine.objects.create(order=Purchase.objects.create(), sku="TEA")
    published()
    parcel = Parcel.objects.create(line=line, tracking="1")
    row = {"id": parcel.pk, "tracking": "1"}
    added = {"parcels": [[], [row]]}
    assert published()[0] == ("shop", "order.updated", added)
    parcel.tracking = "2"
    parcel.save()
    moved = {"parcels": [[row], [{**row, "tracking": "2"}]]}
    assert published() == [("shop", "order.updated", moved)]
    with publishing.track(Parcel.objects.all()):
        Parcel.objects.update(tracking="1")
    assert [source for source, _topic, _changes in published()] == ["shop"]
    line.sku = "MUG"
    line.save()
    assert [one[:2] for one in published()] == [("shop", "order.updated"), ("warehouse", "order.updated")]
    line.delete()
    found = [one[:2] for one in published()]
    assert found == [("shop", "order.updated"), ("warehouse", "order.deleted")]
