"""What is compared and published is what the database stores, whatever was set on the instance."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection

from orderhooks import json_schema, triggers
from orderhooks.models import Event, Order
from orderhooks.sources import as_json
from orderhooks.sources.field_types import example_of, schema_of
from orderhooks.triggers.columns import as_sql
from tests.factories import make_order, make_subscription
from tests.publications import payload_of
from tests.shapes.models import TypedOrder

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("zone", "value", "stored"),
    [
        ("Europe/Berlin", datetime(2026, 11, 23, 10, tzinfo=UTC), "2026-11-23T10:00:00.000000Z"),
        ("Europe/Berlin", datetime(2026, 11, 23, 10), "2026-11-23T09:00:00.000000Z"),
        ("Europe/Berlin", "2026-11-23T10:00:00", "2026-11-23T09:00:00.000000Z"),
        ("Europe/Berlin", "2026-11-23T10:00:00Z", "2026-11-23T10:00:00.000000Z"),
        ("Europe/Berlin", "2026-07-23", "2026-07-22T22:00:00.000000Z"),
        ("Europe/Berlin", date(2026, 7, 23), "2026-07-22T22:00:00.000000Z"),
        ("America/New_York", datetime(2026, 11, 23, 10, 0, 0, 5), "2026-11-23T15:00:00.000005Z"),
    ],
)
@pytest.mark.filterwarnings("ignore:DateTimeField .* received a naive datetime")
def test_a_time_without_a_zone_is_published_as_it_is_stored(zone: str, value: Any, stored: str, settings: Any) -> None:
    settings.TIME_ZONE = zone
    make_subscription()
    order = make_order([], placed_at=datetime(2020, 1, 1, tzinfo=UTC))
    Event.objects.all().delete()
    order.placed_at = value
    order.save()
    event = Event.objects.get()
    assert event.changes == {"placed_at": ["2020-01-01T00:00:00.000000Z", stored]}
    assert payload_of(event)["order"]["placed_at"] == stored
    order.placed_at = value
    order.save()
    assert Event.objects.count() == 1


@pytest.mark.parametrize("amount", ["1.00005", "2.00015", Decimal("0.12345"), 3, "4.5"])
def test_an_amount_is_published_as_the_database_rounds_it(amount: Any) -> None:
    make_subscription()
    order = make_order([])
    Event.objects.all().delete()
    order.total = amount
    order.save()
    again = Order.objects.get()
    told = Event.objects.get().changes["total"][1]
    assert Decimal(told) == again.total, connection.vendor
    order.save()
    again.save()
    assert Event.objects.count() == 1


@pytest.mark.parametrize(("value", "text"), [("0E-8", "0.00000000"), ("1E+3", "1000"), ("1.50", "1.50")])
def test_decimals_are_never_in_scientific_notation(value: str, text: str) -> None:
    assert as_json(Decimal(value)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(days=1), "P1DT00H00M00S"),
        (timedelta(hours=-1), "-P0DT01H00M00S"),
        (timedelta(seconds=90, microseconds=5), "P0DT00H01M30.000005S"),
    ],
)
def test_a_duration_is_published_as_djangos_json_encoder_writes_it(value: timedelta, text: str) -> None:
    assert as_json(value) == text
    assert json.dumps(value, cls=DjangoJSONEncoder) == f'"{text}"'
    field: Any = TypedOrder._meta.get_field("takes")
    assert field.to_python(text) == value
    schema = schema_of(field)
    assert list(json_schema.misfits(text, schema)) == []
    assert list(json_schema.misfits(str(value), schema)) != []
    assert list(json_schema.misfits(example_of(field), schema)) == []


@pytest.mark.skipif(connection.vendor != "postgresql", reason="triggers are PostgreSQL's")
@pytest.mark.parametrize("value", [timedelta(days=1), timedelta(hours=-1), timedelta(days=-3, microseconds=5)])
def test_triggers_publish_the_same_durations(value: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {as_sql(TypedOrder._meta.get_field('takes'), '%s::interval', 'default')}", [value])
        [written] = cursor.fetchone()
    found = triggers.converted(TypedOrder, ["takes"], {"takes": written}, using="default")
    assert found == {"takes": as_json(value)}
