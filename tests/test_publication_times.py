"""`published_at` is when an event gets its `sequence`: the feed takes what is old for committed in sequence."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from orderhooks import outbox, publishing
from orderhooks.db import DatabaseClock
from orderhooks.models import Event
from orderhooks.notifications import events
from orderhooks.sources import BuiltInOrders
from tests.factories import make_order, make_subscription

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def read_at(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """When the payload of an order was made."""
    make_subscription()
    times: list[datetime] = []
    payload = BuiltInOrders.payload

    def timed(source: BuiltInOrders, order: Any) -> Any:
        made = payload(source, order)
        times.append(DatabaseClock().now())
        return made

    monkeypatch.setattr(BuiltInOrders, "payload", timed)
    return times


def save_one() -> None:
    make_order(lines=[])


def save_together() -> None:
    with transaction.atomic():
        for _ in range(5):
            make_order(lines=[])


def leave_to_worker() -> None:
    """Two changes of one order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox.transaction_batch, "coalesce", lambda *_arguments, **_options: [])
        order = make_order(lines=[])
        order.note = "late"
        order.save()
    outbox.coalesce(BuiltInOrders.name, str(order.pk), now=timezone.now())


@pytest.mark.by_hand
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite commits events in the order of their sequence")
@pytest.mark.parametrize("save", [save_one, save_together, leave_to_worker])
def test_events_are_published_when_they_are_inserted(save: Callable[[], None], read_at: list[datetime]) -> None:
    save()
    assert read_at
    assert Event.objects.filter(published_at__gte=max(read_at)).count() == Event.objects.count() > 0


def test_an_event_that_is_published_again_too(read_at: list[datetime], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_number(*_arguments: Any) -> str:
        raise LookupError("no number")

    with monkeypatch.context() as patch:
        patch.setattr(BuiltInOrders, "number", no_number)
        make_order(lines=[])
    event = Event.objects.get(published_at=None)
    assert publishing.republish(event)
    assert Event.objects.filter(published_at__gte=max(read_at)).count() == Event.objects.count()


def test_an_alarm_that_comes_after_slow_mails_too() -> None:
    make_subscription(operational=True, topics=["*"])
    began_at = DatabaseClock().now()
    events.publish("subscription.disabled", {}, now=began_at - timedelta(minutes=1))
    assert Event.objects.filter(published_at__gte=began_at).exists()
