"""`orderhooks_status` says which endpoints fail, what waits, and whether a worker is running."""

import json
from datetime import timedelta

import pytest
from django.core.management.base import CommandError
from django.db import ProgrammingError
from django.utils import timezone
from django_q.models import Schedule

from orderhooks import source_trials, tasks
from orderhooks.models import Change, Pump, Subscription
from orderhooks.models.attempt_stats import AttemptStats
from orderhooks.reporting.system_status import system_status
from tests.commands.calls import called
from tests.factories import (
    START_WORKER,
    make_attempt_stats,
    make_delivery,
    make_event,
    make_failed_event,
    make_late_subscription,
    make_subscription,
)

pytestmark = pytest.mark.django_db


def test_it_lists_each_subscription_with_its_state_success_and_backlog() -> None:
    now = timezone.now()
    Pump.start(now=now)
    crm = make_subscription(name="CRM", last_success_at=now - timedelta(minutes=7, seconds=5))
    make_attempt_stats(crm, 3)
    make_attempt_stats(crm, 1, outcome=AttemptStats.Outcome.BROKEN)
    make_delivery(subscription=crm)
    make_subscription(name="Shelf", state=Subscription.State.PAUSED)
    lines = called("orderhooks_status").splitlines()
    assert lines[0].split("  ")[0] == "subscription"
    assert [cell.strip() for cell in lines[1].split("  ") if cell] == [
        *("CRM", "active", "75.0 %", "1", "7 min ago", "-")
    ]
    assert [cell.strip() for cell in lines[2].split("  ") if cell] == ["Shelf", "paused", "-", "0", "never", "-"]
    assert lines[4].startswith("worker: at work   sweep: ")
    assert lines[5] == "1 delivery waits to be sent, the oldest for 0 s."
    assert len(lines) == 6, "nothing needs a person"


def test_it_says_what_needs_a_person_and_how_to_fix_it() -> None:
    now = timezone.now()
    make_subscription(name="A", state=Subscription.State.DISABLED, state_reason="The endpoint responded with 410 Gone.")
    error = {
        "last_failure": "The endpoint responded with 503.",
        "last_failure_at": now - timedelta(minutes=2, seconds=5),
    }
    error |= {"last_failure_kind": "status", "last_failure_status": 503}
    make_subscription(name="B", failing_since=now - timedelta(hours=1), **error)
    make_subscription(name="C", failing_since=now, circuit_open_until=now + timedelta(seconds=100), **error)
    make_failed_event()
    printed = called("orderhooks_status")
    assert "failing for 0 s, cooling down for 2 min more" in printed
    assert "The endpoint responded with 503. (2 min ago)" in printed
    problems = [line for line in printed.splitlines() if line.startswith("! ")]
    assert printed.startswith("! No worker"), "the first line"
    assert problems[0] == f"! No worker has ever been seen. {START_WORKER}"
    assert any("1 event has no payload" in line for line in problems)
    assert any(
        line.startswith("! A (sub_") and "): Disabled: nothing is sent to it" in line and "410 Gone." in line
        for line in problems
    )
    [failing] = [line for line in problems if line.startswith("! B (sub_")]
    assert "): Failing since " in failing
    assert "It responded with 503 at" in failing
    assert "it will be disabled at" in failing
    assert failing.endswith("it is tried again automatically.")
    [cooling] = [line for line in problems if line.startswith("! C (sub_")]
    assert "it is cooling down" in cooling
    assert cooling.index("Failing since") < cooling.index("it is cooling down")


def test_a_worker_that_went_away_long_ago_is_missed() -> None:
    now = timezone.now()
    Pump.objects.create(started_at=now - timedelta(hours=3, seconds=5), beat_at=now - timedelta(hours=3, seconds=5))
    assert f"No worker has been seen for 3 h 0 min. {START_WORKER}" in called("orderhooks_status")


def test_programs_get_json_and_a_status() -> None:
    Schedule.objects.all().delete()  # otherwise it is late in a suite that takes longer than a minute
    make_subscription(name="A", state=Subscription.State.DISABLED)
    told = json.loads(called("orderhooks_status", "--json"))
    assert told["subscriptions"][0]["health"] == "disabled"
    assert told["subscriptions"][0]["success_rate"] is None
    assert told["worker"] == {
        "at_work": False,
        "seen_at": None,
        "sweep_due_at": told["worker"]["sweep_due_at"],
        "worker_command": "manage.py qcluster",
        "sweep_command": "manage.py qcluster",
    }
    assert len(told["problems"]) == 2
    with pytest.raises(CommandError, match="2 problems need a person"):
        called("orderhooks_status", "--json", "--fail")


def test_one_problem_is_no_plural() -> None:
    Schedule.objects.all().delete()  # otherwise it is late in a suite that takes longer than a minute
    Pump.start(now=timezone.now())
    make_subscription(name="A", state=Subscription.State.DISABLED)
    with pytest.raises(CommandError, match=r"^1 problem needs a person: see the lines"):
        called("orderhooks_status", "--fail")


def test_a_missed_objective_needs_a_person() -> None:
    late = make_late_subscription()
    problem = (
        f"CRM ({late.public_id}): It misses its objective: 0 % of the deliveries of 30 days arrived within 1 min, not "
        "99 %."
    )
    status = system_status(tasks.look_at_worker(), now=timezone.now())
    assert [one for one in status.problems() if "objective" in one] == [problem]
    assert f"! {problem}" in called("orderhooks_status").splitlines()
    assert json.loads(called("orderhooks_status", "--json"))["objectives"] == [problem]


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
            with django_assert_num_queries(16, exact=False) as first:
                system_status(tasks.look_at_worker(), now=timezone.now())
    with django_assert_num_queries(len(first)):
        system_status(tasks.look_at_worker(), now=timezone.now())


def test_events_that_no_worker_took_up_wait_and_say_for_how_long() -> None:
    now = timezone.now()
    make_subscription(name="CRM")
    Pump.objects.create(started_at=now - timedelta(hours=1), beat_at=now - timedelta(minutes=5, seconds=5), ended=True)
    make_event(routed_at=None, published_at=now - timedelta(minutes=4, seconds=5))
    make_event(routed_at=None)
    printed = called("orderhooks_status")
    waiting = "2 new events wait to be sent, the oldest for 4 min."
    assert printed.splitlines()[0] == f"! No worker has been seen for 5 min. {waiting} {START_WORKER}"
    assert waiting in printed.splitlines()
    told = json.loads(called("orderhooks_status", "--json"))
    assert (told["waiting"], told["unrouted"]) == (2, 2)
    assert told["oldest_waiting_since"] is not None


def test_changes_of_a_process_that_died_wait_too() -> None:
    now = timezone.now()
    Change.objects.create(
        transaction_id="00000000-0000-4000-8000-000000000000",
        source="orderhooks",
        order_pk="1",
        kind=Change.Kind.UPDATED,
        created_at=now - timedelta(minutes=3, seconds=5),
    )
    assert "1 new change waits to be sent, the oldest for 3 min." in called("orderhooks_status")


def test_a_probe_asks_for_the_worker_alone() -> None:
    make_subscription(name="A", state=Subscription.State.DISABLED, state_reason="The endpoint responded with 410 Gone.")
    with pytest.raises(CommandError, match="No worker has ever been seen"):
        called("orderhooks_status", "--worker")
    Pump.start(now=timezone.now())
    assert called("orderhooks_status", "--worker").startswith("worker: at work"), "a disabled endpoint is no matter"
    with pytest.raises(CommandError, match="1 problem"):
        called("orderhooks_status", "--fail")


def test_a_database_that_is_not_migrated_is_an_error_with_its_remedy(monkeypatch) -> None:
    def fail(**_options: object) -> None:
        raise ProgrammingError('relation "orderhooks_pump" does not exist')

    monkeypatch.setattr(tasks, "look_at_worker", fail)
    with pytest.raises(ProgrammingError):
        called("orderhooks_status")
    monkeypatch.setattr(source_trials, "is_unmigrated", lambda: True)
    with pytest.raises(CommandError, match=r"Migrations are not applied\. Run `manage\.py migrate`"):
        called("orderhooks_status")
