"""`orderhooks_status` answers who is unwell, what waits, and whether a worker is there."""

import json
from datetime import timedelta

import pytest
from django.core.management.base import CommandError
from django.utils import timezone

from orderhooks.management import standing
from orderhooks.models import Pump, Subscription
from orderhooks.models.tallies import Tally
from tests.commands.calls import called
from tests.factories import make_delivery, make_failed_event, make_subscription, make_tally

pytestmark = pytest.mark.django_db


def test_it_lists_each_subscription_with_its_state_success_and_backlog() -> None:
    now = timezone.now()
    Pump.start(now=now)
    crm = make_subscription(name="CRM", last_success_at=now - timedelta(minutes=7, seconds=5))
    make_tally(crm, 3)
    make_tally(crm, 1, outcome=Tally.Outcome.BROKEN)
    make_delivery(subscription=crm)
    make_subscription(name="Shelf", state=Subscription.State.PAUSED)
    lines = called("orderhooks_status").splitlines()
    assert lines[0].split("  ")[0] == "subscription"
    assert [cell.strip() for cell in lines[1].split("  ") if cell] == [
        *("CRM", "active", "75.0 %", "1", "7 min ago", "-")
    ]
    assert [cell.strip() for cell in lines[2].split("  ") if cell] == ["Shelf", "paused", "-", "0", "never", "-"]
    assert lines[4].startswith("worker: at work   sweep: ")
    assert "waiting: 1, the oldest for 0 s" in lines[4]
    assert len(lines) == 5, "nothing needs a person"


def test_it_tells_what_needs_a_person_and_how_to_mend_it() -> None:
    now = timezone.now()
    make_subscription(name="A", state=Subscription.State.DISABLED, state_reason="The endpoint answered 410 Gone.")
    error = {"last_failure": "The endpoint answered 503.", "last_failure_at": now - timedelta(minutes=2, seconds=5)}
    make_subscription(name="B", failing_since=now - timedelta(hours=1), **error)
    make_subscription(name="C", failing_since=now, cooling_until=now + timedelta(seconds=100), **error)
    make_failed_event()
    printed = called("orderhooks_status")
    assert "cooling, 1 min more" in printed
    assert "The endpoint answered 503. (2 min ago)" in printed
    troubles = [line for line in printed.splitlines() if line.startswith("! ")]
    assert troubles[0] == f"! No worker has ever been seen. {standing.QCLUSTER}"
    assert any("1 events have no payload" in line for line in troubles)
    assert any(
        line.startswith("! A (sub_") and line.endswith("is disabled. The endpoint answered 410 Gone.")
        for line in troubles
    )
    assert any(line.startswith("! B (sub_") and "is failing. The endpoint answered 503." in line for line in troubles)
    assert any(line.startswith("! C (sub_") and "is cooling." in line for line in troubles)


def test_a_worker_that_went_away_long_ago_is_missed() -> None:
    now = timezone.now()
    Pump.objects.create(started_at=now - timedelta(hours=3, seconds=5), beat_at=now - timedelta(hours=3, seconds=5))
    assert f"No worker has been seen for 3 h. {standing.QCLUSTER}" in called("orderhooks_status")


def test_programs_get_json_and_a_status() -> None:
    make_subscription(name="A", state=Subscription.State.DISABLED)
    told = json.loads(called("orderhooks_status", "--json"))
    assert told["subscriptions"][0]["condition"] == "disabled"
    assert told["subscriptions"][0]["success_rate"] is None
    assert told["worker"] == {"at_work": False, "seen_at": None, "sweep_due_at": told["worker"]["sweep_due_at"]}
    assert len(told["troubles"]) == 2
    with pytest.raises(CommandError, match="Needs a person: 2"):
        called("orderhooks_status", "--json", "--fail")


def test_nothing_wrong_is_status_0() -> None:
    Pump.start(now=timezone.now())
    printed = called("orderhooks_status", "--fail")
    assert "There is no subscription yet" in printed


def test_colours_are_for_terminals_alone() -> None:
    make_subscription()
    assert "\x1b[" not in called("orderhooks_status")
    assert "\x1b[" in called("orderhooks_status", force_color=True)


def test_the_queries_do_not_grow_with_the_subscriptions(django_assert_num_queries) -> None:
    for number in range(12):
        make_subscription(name=f"Endpoint {number}")
        if number == 0:
            with django_assert_num_queries(9, exact=False) as first:
                standing.look(now=timezone.now())
    with django_assert_num_queries(len(first)):
        standing.look(now=timezone.now())
