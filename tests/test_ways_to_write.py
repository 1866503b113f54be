"""Every way to write an order, and what becomes of it at each level of capture: signals, `track`, triggers.

A row of the table is one way to write. What a level can't see has no events there. An order in two tables (multi-table
inheritance) can't have triggers, and stays with signals.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.utils import timezone

from orderhooks import outbox, publishing, signal_handlers, triggers
from orderhooks.models import CaptureFailure, Change, Event
from tests.factories import make_subscription
from tests.shapes import sources
from tests.shapes.models import Address, InvoiceOrder, Parcel, Payment, Purchase, PurchaseLine
from tests.ways_to_write import TRACKED, Shop, Write
from tests.ways_to_write_rows import ROWS

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _sources(settings: Any, level: str) -> Iterator[None]:
    own = settings.ORDERHOOKS
    paths = sources.TRIGGERED_PATHS if level == "triggers" else sources.PATHS
    settings.ORDERHOOKS = {**own, "SOURCES": paths, "TOPICS": sources.TOPICS}
    signal_handlers.connect()
    triggers.install_after_migrate(using="default")
    make_subscription()
    yield
    settings.ORDERHOOKS = own
    triggers.install_after_migrate(using="default")
    assert list(CaptureFailure.objects.values_list("error", flat=True)) == []


@pytest.fixture
def shop() -> Shop:
    address = Address.objects.create(city="Oslo")
    order = Purchase.objects.create(total=50, delivery=address)
    line = PurchaseLine.objects.create(order=order, sku="TEA")
    shop = Shop(
        order,
        line,
        Payment.objects.create(order=order, amount=5),
        Parcel.objects.create(line=line),
        InvoiceOrder.objects.create(reference="A"),
    )
    outbox.coalesce_left_behind(now=timezone.now())
    Event.objects.all().delete()
    return shop


@pytest.mark.parametrize(("write", "level", "topics"), ROWS)
def test_what_becomes_of_it(shop: Shop, write: Write, level: str, topics: list[str]) -> None:
    with ExitStack() as stack:
        trackings = {}
        for model in TRACKED if level == "track" else ():
            trackings[model] = stack.enter_context(publishing.track(model._base_manager.all()))
        for row in write(shop) or ():
            if trackings:
                trackings[type(row)].add([row])
    # A worker does so within a second of the commit, for what no process of the store has at hand.
    outbox.coalesce_left_behind(now=timezone.now())
    assert not Change.objects.exists()
    events = list(Event.objects.order_by("sequence"))
    assert [event.error for event in events] == [""] * len(events)
    assert sorted(event.topic for event in events) == sorted(topics)


@pytest.mark.parametrize("level", ["signals"])
def test_the_table_has_every_way() -> None:
    assert len({row.values[0] for row in ROWS}) >= 40
