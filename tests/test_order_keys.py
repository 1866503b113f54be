"""All orders of a source, by their keys, in batches: whatever the key is, and since a time."""

import datetime
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from orderhooks.models import Order
from orderhooks.sources import BuiltInOrders, OrderSource, UndatedError, count_orders, keys, order_keys
from tests.shapes import models as shapes

pytestmark = pytest.mark.django_db

NOW = timezone.now()


class UuidOrders(OrderSource):
    name = "uuids"
    model = "shapes.UuidOrder"


class CompositeOrders(OrderSource):
    name = "composites"
    model = "shapes.CompositeOrder"


class Users(OrderSource):
    name = "users"
    model = "auth.User"
    newest_first = ("-date_joined",)


class TypedOrders(OrderSource):
    name = "typed"
    model = "shapes.TypedOrder"
    dated_by = "due_on"


def all_keys(source: OrderSource, since: datetime.datetime | None = None, at_most: int = 2) -> list[str]:
    found: list[str] = []
    while batch := order_keys(source, after=found[-1] if found else "", at_most=at_most, since=since, using="default"):
        assert len(batch) <= at_most
        found += batch
    return found


@pytest.mark.parametrize(
    ("source", "rows"),
    [
        (UuidOrders(), [{"id": uuid.UUID(int=number)} for number in (1, 2, 2**127, 2**128 - 1, 7)]),
        (
            CompositeOrders(),
            [{"tenant": tenant, "number": number} for tenant in ("b", 'a"') for number in (2, 10, 9)],
        ),
    ],
)
def test_each_order_is_found_once_whatever_its_key_is(source: OrderSource, rows: list[dict[str, Any]]) -> None:
    model = source.get_model()
    orders = [model._base_manager.create(**row) for row in rows]
    assert sorted(all_keys(source)) == sorted(keys.text_of(order, model) for order in orders)
    assert count_orders(source, since=None, using="default") == len(rows)


def test_orders_since_a_time_are_those_dated_since_then() -> None:
    for number, days in enumerate((10, 2, 1, 0)):
        Order.objects.create(number=str(number), placed_at=NOW - datetime.timedelta(days=days))
        User.objects.create(username=str(number), date_joined=NOW - datetime.timedelta(days=days))
    since = NOW - datetime.timedelta(days=2)
    for source in (BuiltInOrders(), Users()):
        assert len(all_keys(source, since)) == count_orders(source, since=since, using="default") == 3


def test_a_date_without_a_time_counts_from_its_day_in_the_time_zone(settings: Any) -> None:
    settings.TIME_ZONE = "Pacific/Kiritimati"  # 14 hours ahead
    for day in (1, 2, 3):
        shapes.TypedOrder.objects.create(due_on=datetime.date(2026, 1, day))
    since = datetime.datetime(2026, 1, 1, 20, tzinfo=datetime.UTC)
    with timezone.override(None):
        assert count_orders(TypedOrders(), since=since, using="default") == 2


def test_orders_without_a_date_say_what_to_declare() -> None:
    with pytest.raises(UndatedError, match='dated_by = "…" in UuidOrders'):
        order_keys(UuidOrders(), after="", at_most=1, since=NOW, using="default")
