"""A source whose model is a proxy makes the events of one whose model is what the proxy stands for."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction

from orderhooks import publishing, signal_handlers
from orderhooks.models import CaptureFailure, Change, Event
from orderhooks.sources import Lines, OrderSource
from tests.factories import make_subscription
from tests.shapes import models as shapes

pytestmark = pytest.mark.django_db(transaction=True)


class OfModel(OrderSource):
    name = "plain"
    model = "shapes.PlainOrder"
    watched: tuple[str, ...] = ("state",)
    transitions = {"state": {"paid": "order.paid"}}
    lines = Lines("shapes.CartLine", "order", ("sku",))


class OfProxy(OfModel):
    model = "shapes.ProxyOrder"


@pytest.fixture(autouse=True, params=["OfModel", "OfProxy"])
def _source(request: Any, settings: Any) -> Iterator[None]:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [f"{__name__}.{request.param}"]}
    signal_handlers.connect()
    make_subscription()
    yield
    assert list(CaptureFailure.objects.values_list("error", flat=True)) == []


def topics() -> list[str]:
    """The topics since the last call."""
    assert not Change.objects.exists()
    events = list(Event.objects.order_by("sequence"))
    assert [event.error for event in events] == [""] * len(events)
    Event.objects.all().delete()
    return [event.topic for event in events]


@pytest.mark.parametrize("model", [shapes.PlainOrder, shapes.ProxyOrder, shapes.PlainChild])
def test_each_class_of_the_table_makes_all_events(model: Any) -> None:
    order = model.objects.create()
    assert topics() == ["order.created"]
    order.state = "paid"
    order.save()
    assert topics() == ["order.updated", "order.paid"]
    line = shapes.CartLine.objects.create(order_id=order.pk, sku="TEA")
    assert topics() == ["order.updated"]
    line.delete()
    assert topics() == ["order.updated"]
    with publishing.track(model.objects.filter(pk=order.pk)):
        model.objects.filter(pk=order.pk).update(state="open")
    assert topics() == ["order.updated"]
    publishing.publish("order.fulfilled", order)
    assert topics() == ["order.fulfilled"]
    order.delete()
    assert topics() == ["order.deleted"]


def test_a_child_is_saved_with_its_own_columns_and_is_one_order() -> None:
    with transaction.atomic():
        child = shapes.PlainChild.objects.create(state="paid", colour="red")
        child.colour = "blue"
        child.save()
    assert topics() == ["order.created", "order.paid"]
    parent = shapes.PlainOrder.objects.get(pk=child.pk)
    parent.state = "sent"
    parent.save()
    assert topics() == ["order.updated"]
