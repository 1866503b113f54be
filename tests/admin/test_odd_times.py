"""Times at the ends of the calendar, which no page of another time zone could show, are errors of the forms."""

from typing import Any

import pytest
from django.test import Client, override_settings

from orderhooks.models import Backfill, Replay
from tests.admin.visits import page
from tests.factories import make_delivery, make_event, make_order, make_subscription, make_user

pytestmark = pytest.mark.django_db

# In Tokyo the first day of the calendar began before it in UTC; in New York the last one ends after it.
ENDS = [("Asia/Tokyo", "0001-01-01T00:00"), ("America/New_York", "9999-12-31T23:59"), ("UTC", "0001-01-01T00:00")]
REFUSED = "Use a year from 2 to 9998."


@pytest.mark.parametrize("step", [{}, {"confirm": "1"}])
@pytest.mark.parametrize(("zone", "at"), ENDS)
def test_a_replay_until_or_since_such_a_time_is_refused(operator: Client, zone: str, at: str, step: Any) -> None:
    form = {"subscription": make_subscription().pk, "since": "2026-11-01T00:00", "only": "all", **step}
    with override_settings(TIME_ZONE=zone):
        for times in ({"until": at}, {"since": at}):
            text = operator.post("/admin/orderhooks/replay/add/", {**form, **times}).content.decode()
            assert REFUSED in text
    assert not Replay.objects.exists()


@pytest.mark.parametrize(("zone", "at"), ENDS)
def test_a_backfill_since_such_a_time_is_refused(operator: Client, zone: str, at: str) -> None:
    make_order()
    form = {"subscription": make_subscription().pk, "topic": "order.updated", "rate": "5", "since": at, "confirm": "1"}
    with override_settings(TIME_ZONE=zone):
        assert REFUSED in operator.post("/admin/orderhooks/backfill/add/", form).content.decode()
    assert not Backfill.objects.exists()


@pytest.mark.parametrize(("zone", "at"), ENDS)
def test_resuming_newer_than_such_a_time_is_refused(operator: Client, zone: str, at: str) -> None:
    subscription = make_subscription(state="paused")
    make_delivery(subscription=subscription, event=make_event())
    address = f"/admin/orderhooks/subscription/{subscription.pk}/resume/"
    with override_settings(TIME_ZONE=zone):
        response = operator.post(address, {"confirmed": "1", "choice": "newer", "newer_than": at})
    assert REFUSED in response.content.decode()
    subscription.refresh_from_db()
    assert subscription.state == "paused"


@pytest.mark.parametrize(
    ("kind", "times"),
    [
        ("replays", {"since": "0001-01-01T00:00:00Z"}),
        ("replays", {"since": "2026-11-01T00:00:00Z", "until": "9999-12-31T23:59:59Z"}),
        ("backfills", {"since": "0001-01-01T00:00:00Z"}),
    ],
)
@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_the_lists_of_jobs_open_whatever_the_api_was_sent(operator: Client, kind: str, times: Any, zone: str) -> None:
    make_order()
    client = Client()
    client.force_login(make_user(is_staff=True, is_superuser=True))
    body = {"subscription": make_subscription().public_id, **times}
    response = client.post(f"/api/{kind}/", body, content_type="application/json")
    with override_settings(TIME_ZONE=zone):
        page(operator, f"{kind[:-1]}/")
    assert response.status_code == 422, response.content
