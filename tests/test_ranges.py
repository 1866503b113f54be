"""Ranges of PostgreSQL are captured, compared and set back as the database stores them."""

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from orderhooks.models import Event
from orderhooks.outbox import rewinding
from orderhooks.sources import watched_values
from orderhooks.sources.field_types import example_of, schema_of
from tests.factories import make_subscription
from tests.shapes import models as shapes
from tests.triggered import SOURCES, use

if connection.vendor != "postgresql":
    pytest.skip("ranges are PostgreSQL's", allow_module_level=True)

from psycopg.types.range import Range

pytestmark = pytest.mark.django_db(transaction=True)

EAST = timezone(timedelta(hours=5, minutes=30))
NOON = datetime(2026, 11, 30, 17, 30, tzinfo=EAST)
# The field, a value, what is published of it, and a value that the database stores as the same.
RANGES: list[tuple[str, Any, dict[str, Any], Any]] = [
    (
        "slot",
        (NOON, NOON + timedelta(hours=2)),
        {"lower": "2026-11-30T12:00:00.000000Z", "upper": "2026-11-30T14:00:00.000000Z", "bounds": "[)"},
        (NOON.astimezone(), NOON + timedelta(hours=2)),
    ),
    ("slot", (NOON, None), {"lower": "2026-11-30T12:00:00.000000Z", "upper": None, "bounds": "[)"}, (NOON, None)),
    ("slot", (NOON, NOON), {"empty": True}, Range(empty=True)),
    (
        "days",
        (date(2026, 1, 1), date(2026, 1, 3)),
        {"lower": "2026-01-01", "upper": "2026-01-03", "bounds": "[)"},
        Range(date(2026, 1, 1), date(2026, 1, 2), "[]"),
    ),
    ("sizes", (1, 5), {"lower": 1, "upper": 5, "bounds": "[)"}, Range(0, 4, "(]")),
    ("sizes", (None, 5), {"lower": None, "upper": 5, "bounds": "()"}, Range(None, 4, "[]")),
    (
        "prices",
        Range(Decimal("1.50"), Decimal(9), "[]"),
        {"lower": "1.5", "upper": "9", "bounds": "[]"},
        Range(Decimal("1.5"), Decimal("9.00"), "[]"),
    ),
]


@pytest.mark.parametrize(("name", "value", "published", "same"), RANGES)
@pytest.mark.parametrize("path", ["tests.shapes.sources.RangeOrder", f"{SOURCES}.TriggeredRangeOrder"])
def test_a_range_is_published_as_the_database_stores_it(
    name: str, value: Any, published: Any, same: Any, path: str, settings: Any
) -> None:
    use(settings, path)
    make_subscription()
    order = shapes.RangeOrder()
    order.save()
    Event.objects.all().delete()
    setattr(order, name, value)
    order.save()
    assert Event.objects.get().changes == {name: [None, published]}
    setattr(order, name, same)
    order.save()
    assert Event.objects.count() == 1
    order.state = "paid"
    order.save()
    assert Event.objects.filter(topic="order.paid").get().changes == {"state": ["open", "paid"]}


@pytest.mark.parametrize(("name", "value", "published", "same"), RANGES)
def test_a_range_is_set_back(name: str, value: Any, published: Any, same: Any) -> None:
    order = shapes.RangeOrder()
    rewinding._set(order, name, published)
    assert watched_values(order, (name,)) == {name: published}


def test_a_range_has_a_schema_and_an_example() -> None:
    for field in shapes.RangeOrder._meta.fields[2:]:
        assert "object" in schema_of(field)["type"]
        assert example_of(field)["bounds"] == "[)"


def test_a_range_up_to_the_last_day_of_the_calendar_can_be_captured() -> None:
    order = shapes.RangeOrder(days=Range(date(2026, 1, 1), date.max, "[]"))
    assert watched_values(order, ("days",))["days"] == {"lower": "2026-01-01", "upper": "9999-12-31", "bounds": "[]"}
