"""Orders whose changes triggers of PostgreSQL capture, for the tests of triggers."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from orderhooks import outbox, signal_handlers, triggers
from orderhooks.models import CaptureFailure, Change, Event
from tests.factories import make_subscription
from tests.shapes import sources
from tests.shapes.models import Address, Purchase

ORDERS = (
    "Purchase",
    "OddOrder",
    "ListOrder",
    "RangeOrder",
    "PricedOrder",
    "CompositeOrder",
    "UuidOrder",
    "NumberedOrder",
    "TextOrder",
)
TABLE = "shapes_purchase"
# Where the sources are.
SOURCES = __name__


def triggered(name: str) -> type[Any]:
    """The source of a model, with its changes captured by triggers."""
    source: Any = getattr(sources, name)
    return type(name, (source,), {"capture": "triggers", "__module__": __name__})


if connection.vendor == "postgresql":
    globals().update({f"Triggered{name}": triggered(name) for name in ORDERS})


def use(settings: Any, *paths: str) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": list(paths), "TOPICS": sources.TOPICS}
    signal_handlers.connect()
    triggers.install_after_migrate(using="default")


@pytest.fixture(autouse=True)
def _triggers(settings: Any) -> Iterator[None]:
    own = settings.ORDERHOOKS
    use(settings, *(f"{__name__}.Triggered{name}" for name in ORDERS))
    make_subscription()
    yield
    settings.ORDERHOOKS = own
    triggers.install_after_migrate(using="default")
    assert list(CaptureFailure.objects.values_list("error", flat=True)) == []


@pytest.fixture(name="order")
def order_of_the_shop() -> Any:
    order = Purchase.objects.create(total=10, delivery=Address.objects.create(city="Oslo"))
    forget()
    return order


def forget() -> None:
    outbox.coalesce_left_behind(now=timezone.now())
    Event.objects.all().delete()


def events() -> list[tuple[str, Any]]:
    outbox.coalesce_left_behind(now=timezone.now())
    assert not Change.objects.exists()
    found = list(Event.objects.order_by("sequence"))
    assert [event.error for event in found] == [""] * len(found)
    Event.objects.all().delete()
    return [(event.topic, event.changes) for event in found]


def sql(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
