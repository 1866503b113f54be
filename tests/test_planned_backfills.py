"""What a backfill may be, judged before it begins: its topic, source, time and rate, and one at a time."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from orderhooks import operations
from orderhooks.models import Backfill
from orderhooks.topics import UnknownTopicError
from tests.factories import make_backfill, make_subscription

pytestmark = pytest.mark.django_db

LATER = timezone.now() + timedelta(days=1)


@pytest.mark.parametrize(
    ("arguments", "problem", "says"),
    [
        ({"topic": "order.paid"}, operations.BackfillError, r"does not want order\.paid.*\(order\.updated, order\.c"),
        ({"topic": "order.eaten"}, UnknownTopicError, "order.eaten"),
        ({"topic": "order.deleted"}, operations.BackfillError, "not about an order that exists"),
        ({"topic": "webhook.test"}, operations.BackfillError, "not about an order that exists"),
        ({"rate": 0}, operations.BackfillError, "from 1 to 1000"),
        ({"rate": 1001}, operations.BackfillError, "from 1 to 1000"),
        ({"since": LATER}, operations.BackfillError, "^Give a time before now: the orders since then are sent.$"),
        ({"source": "nowhere"}, operations.BackfillError, "Choose one of: orderhooks"),
    ],
)
def test_what_makes_no_sense_is_reported(arguments: dict[str, Any], problem: type[Exception], says: str) -> None:
    subscription = make_subscription(topics=["order.updated", "order.created"])
    for call in (operations.backfill, operations.preview_backfill):
        with pytest.raises(problem, match=says):
            call(subscription, **arguments)
    assert not Backfill.objects.exists()


def test_a_second_one_for_the_same_subscription_waits_for_the_first() -> None:
    running = make_backfill()
    with pytest.raises(operations.BackfillError, match=f"{running.public_id} is still running"):
        operations.backfill(running.subscription)
    operations.cancel_backfill(running)
    assert operations.backfill(running.subscription).state == "running"


def test_of_several_sources_one_has_to_be_named(settings) -> None:
    paths = ["orderhooks.sources.BuiltInOrders", "tests.test_order_keys.Users"]
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": paths}
    crm = make_subscription()
    with pytest.raises(operations.BackfillError, match=r"several order sources\. Choose one of: orderhooks, users"):
        operations.backfill(crm)
    assert operations.backfill(crm, source="users").source == "users"


def test_orders_without_a_date_have_no_since(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": ["tests.test_order_keys.UuidOrders"]}
    with pytest.raises(operations.BackfillError, match=r'dated_by = "…" in UuidOrders'):
        operations.backfill(make_subscription(), since=LATER - timedelta(days=9))


def test_without_a_source_there_is_nothing_to_send(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": []}
    with pytest.raises(operations.BackfillError, match="Name the class of an order source"):
        operations.backfill(make_subscription())
