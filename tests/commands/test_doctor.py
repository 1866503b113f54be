"""`orderhooks_doctor` finds what keeps webhooks from going out, and says what to do."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management.base import CommandError
from django.db import OperationalError
from django.utils import timezone

from orderhooks.management import doctor
from orderhooks.models import CaptureFailure, Delivery, Pump, Subscription
from orderhooks.tasks import django_q
from orderhooks.tasks.django_q import DjangoQ
from tests.commands.calls import called
from tests.factories import (
    START_WORKER,
    make_attempt_stats,
    make_delivery,
    make_event,
    make_late_subscription,
    make_subscription,
)

pytestmark = pytest.mark.django_db
LONG_AGO = timedelta(minutes=5)
RESUME = "Resume it once the receiver is ready: you choose what happens to what waits."


@pytest.fixture(autouse=True)
def healthy(monkeypatch, settings) -> None:
    """A shop in which all is well; each test spoils one thing."""
    settings.ADMINS = [("Ops", "ops@example.com")]
    now = timezone.now()
    Pump.start(now=now)
    monkeypatch.setattr(DjangoQ, "sweep_due_at", lambda _queue, seen_at: now + timedelta(seconds=30))


def found(level: str) -> list[str]:
    return [f"{one.what}: {one.text}" for one in doctor.examine() if one.level == level]


def test_where_all_is_well_each_thing_is_ok() -> None:
    make_subscription()
    printed = called("orderhooks_doctor")
    assert [line.split()[0] for line in printed.splitlines()] == ["ok"] * 14
    assert [line.split()[1] for line in printed.splitlines()] == [
        *("settings:", "sources:", "sources:", "clock:", "broker:"),
        *("worker:", "backlog:", "losses:", "reconciliation:", "secrets:", "versions:", "endpoints:", "objectives:"),
        "alarms:",
    ]


def test_that_nobody_is_alarmed_is_a_warning(settings) -> None:
    settings.ADMINS = []
    [warning] = found("warn")
    assert warning.startswith("alarms: Nobody is alarmed")


def test_programs_get_json() -> None:
    told = json.loads(called("orderhooks_doctor", "--json"))
    assert told[0] == {"what": "settings", "level": "ok", "text": "The system checks find nothing wrong."}


def test_a_failure_is_status_1() -> None:
    Pump.objects.all().delete()
    assert found("fail") == [f"worker: No worker has ever been seen. {START_WORKER}"]
    with pytest.raises(CommandError, match=r"1 of these checks failed\."):
        called("orderhooks_doctor")


def test_wrong_settings_are_reported_with_their_hint(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "TIMEOUT_SECOND": 3}
    [one] = found("fail")
    assert "TIMEOUT_SECOND" in one
    assert "TIMEOUT_SECONDS" in one, "the hint"


def test_clocks_that_differ_are_reported(monkeypatch) -> None:
    wrong = timezone.now() + timedelta(minutes=7, seconds=5)
    monkeypatch.setattr("orderhooks.management.doctor.timezone.now", lambda: wrong)
    assert found("fail") == ["clock: This host and its database are 7 min apart. Keep their clocks in step (NTP)."]


def test_a_broker_that_is_away_is_reported(monkeypatch) -> None:
    class Away:
        def queue_size(self) -> int:
            raise ConnectionError("refused\nby 127.0.0.1")

    monkeypatch.setattr(django_q, "get_broker", Away)
    [one] = found("fail")
    assert one.startswith("broker: The broker can't be reached: ConnectionError: refused by 127.0.0.1. Start it")


@pytest.mark.parametrize(
    ("age", "fails"),
    [(timedelta(seconds=1), False), (timedelta(seconds=90), False), (timedelta(hours=2, seconds=5), True)],
)
def test_a_worker_that_is_away_for_long_is_missed(age: timedelta, fails: bool) -> None:
    Pump.objects.update(beat_at=timezone.now() - age)
    text = "No worker has been seen for 2 h"
    assert any(text in one for one in found("fail")) == fails


@pytest.mark.parametrize(
    ("due_in", "level", "words"),
    [
        (None, "warn", "The sweep is off"),
        (timedelta(minutes=-5, seconds=-5), "fail", "starts a worker each minute, has been due for 5 min"),
        (timedelta(seconds=-30), "ok", "one is started each minute"),
    ],
)
def test_a_sweep_that_does_not_come_is_reported(monkeypatch, due_in: Any, level: str, words: str) -> None:
    Pump.objects.all().delete()
    Pump.start(now=timezone.now() - timedelta(minutes=1)).end(
        now=timezone.now() - (LONG_AGO if level == "fail" else timedelta(minutes=1))
    )
    due_at = due_in if due_in is None else timezone.now() + due_in
    monkeypatch.setattr(DjangoQ, "sweep_due_at", lambda _queue, seen_at: due_at)
    assert any(words in one for one in found(level))


def test_what_has_to_start_the_sweep_is_named_if_it_is_another_process(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "QUEUE": "celery"}
    assert any("`celery -A <your project> beat` has to start one" in one for one in found("ok"))


def test_what_is_long_due_is_reported_unless_its_endpoint_cools_down() -> None:
    due = timezone.now() - LONG_AGO
    make_delivery(subscription=make_subscription(name="CRM"), next_attempt_at=due)
    make_delivery(subscription=make_subscription(name="Fresh"))
    cooling = make_subscription(name="Cool", circuit_open_until=timezone.now() + timedelta(minutes=1))
    make_delivery(subscription=cooling, next_attempt_at=due)
    [overdue] = [one for one in found("warn") if one.startswith("backlog")]
    assert "more than 2 min to: CRM." in overdue


def test_what_a_dead_worker_held_and_nobody_took_over_is_reported() -> None:
    make_delivery(state=Delivery.State.SENDING, lease_expires_at=timezone.now() - LONG_AGO)
    [one] = found("fail")
    assert one.startswith("backlog: 1 deliveries were being sent by workers that are gone")


def test_secrets_that_no_key_decrypts_are_reported(settings) -> None:
    make_subscription(name="CRM")
    settings.SECRET_KEY = "another key, with which nothing was encrypted"
    [one] = found("fail")
    assert one.startswith("secrets: No configured key decrypts the secrets of CRM.")


def test_a_subscription_without_a_secret_is_reported() -> None:
    make_subscription(name="CRM").secrets.all().delete()
    assert found("fail") == ["secrets: CRM has no signing secret. Rotate it."]


def test_endpoints_that_are_not_well_are_reported_and_fail_nothing() -> None:
    gone = make_subscription(name="CRM", state=Subscription.State.DISABLED, state_reason="410 Gone.")
    make_subscription(name="Shelf", state=Subscription.State.PAUSED)
    assert found("warn") == [
        f"endpoints: CRM ({gone.public_id}): Disabled: nothing is sent to it, and its deliveries are kept. 410 Gone. "
        "Have the receiver fixed, send a test, then resume the subscription."
    ]
    assert found("fail") == []


def test_a_missed_objective_is_a_warning() -> None:
    late = make_late_subscription()
    [warning] = found("warn")
    assert warning.startswith(f"objectives: CRM ({late.public_id}): It misses its objective: 0 % of the deliveries")


def test_a_paused_subscription_that_holds_deliveries_is_a_warning() -> None:
    paused = make_subscription(name="Shelf", state=Subscription.State.PAUSED)
    make_delivery(subscription=paused)
    one = f"endpoints: Shelf ({paused.public_id}): Paused by an operator, and 1 delivery is held. "
    assert found("warn") == [one + RESUME]
    make_delivery(subscription=paused)
    assert found("warn") == [one.replace("1 delivery is", "2 deliveries are") + RESUME]
    assert found("fail") == []


def test_a_database_that_is_not_migrated_is_reported(monkeypatch) -> None:

    def missing(_now: Any) -> Any:
        raise OperationalError("no such table:\norderhooks_pump")
        yield

    monkeypatch.setitem(doctor.EXAMINATIONS, "worker", missing)
    [one] = found("fail")
    assert one == (
        "worker: The database reported an error: no such table: orderhooks_pump. Has `manage.py migrate` run?"
    )


def test_events_that_no_worker_takes_up_are_overdue() -> None:
    make_event(routed_at=None, published_at=timezone.now() - LONG_AGO)
    [one] = found("fail")
    assert one.startswith("backlog: No worker handles what is new: 1 new event waits to be sent, the oldest for 5 min.")


def test_what_is_held_for_long_makes_nothing_new_overdue() -> None:
    make_delivery(
        subscription=make_subscription(state=Subscription.State.PAUSED), created_at=timezone.now() - timedelta(days=3)
    )
    make_event(routed_at=None, published_at=timezone.now())
    assert found("fail") == []


def test_changes_that_could_not_be_captured_fail_and_spoil_the_rate() -> None:
    crm = make_subscription(name="CRM")
    make_attempt_stats(crm, 3)
    assert " 100 % " in called("orderhooks_status")
    row = CaptureFailure.objects.create(
        source="shop", fingerprint="a", order_pk="17", error="KeyError: 'total_currency'.", count=12
    )
    [one] = found("fail")
    assert one.startswith("losses: 12 changes of orders were saved and made no events (source shop, last order")
    assert "KeyError: 'total_currency'. Fix the cause" in one
    printed = called("orderhooks_status")
    assert printed.startswith("! 12 changes of orders were saved")
    assert "100 %" not in printed
    assert json.loads(called("orderhooks_status", "--json"))["lost"] == [one.removeprefix("losses: ")]
    row.last_at -= timedelta(days=8)
    row.save()
    assert found("fail") == [], "they were told of for a week"
