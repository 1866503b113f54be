"""Two workers that see the same alarm at once, on a database that lets them: it is raised once."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import connection, transaction
from django.utils import timezone

from orderhooks import notifications
from orderhooks.models import Event, RaisedAlarm
from tests.factories import make_delivery, make_subscription
from tests.test_races import wait_until_somebody_waits_for_a_lock

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now()
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _rows_are_locked_one_by_one(settings: Any) -> None:
    settings.ADMINS = [("Ops", "ops@example.com")]
    make_subscription(operational=True)
    if not connection.features.has_select_for_update_skip_locked:
        pytest.skip("this database lets one writer in at a time; the run on PostgreSQL has these tests")


def at_once(act: Callable[[], object], in_a_thread: Any) -> None:
    """One worker acts and has not committed yet while another one does the same."""
    with transaction.atomic():
        act()
        thread = in_a_thread(act)
        wait_until_somebody_waits_for_a_lock()
    thread.join(20)


@pytest.mark.parametrize("endpoints", [1, 8])
def test_an_endpoint_that_fails_and_a_digest(in_a_thread: Any, endpoints: int) -> None:
    for _ in range(endpoints):
        make_subscription(failing_since=NOW - 2 * HOUR)
    at_once(lambda: notifications.send_due(now=NOW), in_a_thread)
    events: list[Any] = list(Event.objects.all())
    [event] = events
    assert event.payload["count"] == endpoints
    assert len(mail.outbox) == 1


@pytest.mark.parametrize("endpoints", [1, 8])
def test_backlogs(in_a_thread: Any, endpoints: int) -> None:
    for _ in range(endpoints):
        make_delivery(next_attempt_at=NOW - HOUR)
    at_once(lambda: notifications.look(now=NOW), in_a_thread)
    events: list[Any] = list(Event.objects.filter(topic="webhook.subscription.backlog"))
    [event] = events
    assert event.payload["count"] == endpoints
    assert RaisedAlarm.objects.count() == 1


def test_a_gap_without_workers(in_a_thread: Any) -> None:
    at_once(lambda: notifications.worker_is_back(NOW - HOUR, now=NOW), in_a_thread)
    assert Event.objects.count() == RaisedAlarm.objects.count() == 1
