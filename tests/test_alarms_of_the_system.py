"""Alarms about no state of an endpoint: backlogs, a time without workers, orders whose changes make no events."""

import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone
from jsonschema import Draft202012Validator

from orderhooks import notifications, operational, pumping
from orderhooks.models import CaptureFailure, Event, Pump, RaisedAlarm, Reconciliation, Subscription
from orderhooks.reporting import alarm_problems
from tests.erasures import pump
from tests.factories import make_delivery, make_failed_event, make_subscription
from tests.mail import no_mail_server
from tests.receivers import RecordingReceiver

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now()
HOUR = timedelta(hours=1)
# Of a day that is over, so that neither end of it is near.
NOON = (NOW - timedelta(days=3)).replace(hour=12)
LATE = NOW - notifications.BACKLOG_AFTER


@pytest.fixture(autouse=True)
def on_call(settings: Any) -> Subscription:
    settings.ADMINS = [("Ops", "ops@example.com")]
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "BASE_URL": "https://shop.example.com"}
    return make_subscription(name="On call", operational=True)


def raised(at: datetime = NOW) -> list[Any]:
    """The events that a look at that time makes; the e-mails are sent too."""
    before = list(Event.objects.values_list("pk", flat=True))
    notifications.look(now=at)
    notifications.send_due(now=at)
    found = list(Event.objects.filter(topic__in=[*operational.TOPICS]).exclude(pk__in=before))
    for event in found:
        Draft202012Validator(operational.DATA).validate(event.payload)
    return found


def events_of(topic: str) -> list[Any]:
    return list(Event.objects.filter(topic=topic))


def subjects() -> list[str]:
    return [message.subject.split("] ")[-1] for message in mail.outbox]


def test_a_backlog_is_reported_once_until_it_has_cleared() -> None:
    subscription = make_subscription(name="Warehouse")
    delivery = make_delivery(subscription=subscription, next_attempt_at=LATE)
    [event] = raised()
    assert (event.topic, event.payload["waiting"]) == ("webhook.subscription.backlog", 1)
    assert event.order_pk == subscription.public_id
    assert "are late" in event.payload["message"]
    assert "30 min" in event.payload["message"]
    assert raised(NOW + HOUR) == [] == raised(NOW + 30 * HOUR)
    type(delivery).objects.filter(pk=delivery.pk).update(next_attempt_at=NOW + 40 * HOUR)
    assert raised(NOW + 31 * HOUR) == []
    [again] = raised(NOW + 41 * HOUR)
    assert again.topic == "webhook.subscription.backlog"
    assert subjects() == ["Webhooks to “Warehouse” are late"] * 2


def test_a_backlog_that_comes_and_goes_is_not_reported_within_the_hour() -> None:
    delivery = make_delivery(next_attempt_at=LATE)
    assert len(raised()) == 1
    for minutes in (10, 20, 30):
        for due_at in (NOW + 9 * HOUR, LATE):
            type(delivery).objects.filter(pk=delivery.pk).update(next_attempt_at=due_at)
            assert raised(NOW + timedelta(minutes=minutes)) == []


@pytest.mark.parametrize(
    ("fields", "due_at"),
    [
        ({"state": "paused"}, LATE),
        ({"failing_since": NOW - HOUR / 2}, LATE),
        ({"last_notified_state": "healthy", "last_notified_at": NOW - HOUR / 4}, LATE),
        ({}, LATE + timedelta(minutes=1)),
    ],
    ids=["paused", "failing", "just recovered", "due for a short time"],
)
def test_what_is_paused_failing_or_due_for_a_short_time_is_no_backlog(fields: Any, due_at: datetime) -> None:
    make_delivery(subscription=make_subscription(**fields), next_attempt_at=due_at)
    assert raised() == []


def test_many_backlogs_are_one_event_and_one_mail() -> None:
    for number in range(8):
        make_delivery(subscription=make_subscription(name=f"E{number}"), next_attempt_at=LATE)
    [event] = raised()
    assert (event.payload["count"], event.payload["subscription"], event.payload["waiting"]) == (8, None, 8)
    assert subjects() == ["Webhooks to 8 endpoints are late"]


def turn() -> None:
    """A pump's turn, which looks once and ends."""
    pumping.Turn(other_work=lambda: False, notices_due=lambda: None, lingers=False).run(until=time.monotonic() + 0.2)


def test_a_pump_that_comes_back_after_a_gap_reports_it_once() -> None:
    seen_at = timezone.now() - timedelta(minutes=25)
    Pump.objects.create(started_at=seen_at, beat_at=seen_at)
    make_delivery(next_attempt_at=seen_at, subscription=make_subscription(state="paused"))
    make_delivery(next_attempt_at=seen_at, subscription=make_subscription(state="paused"))
    turn()
    turn()
    [event] = events_of(operational.WORKER_MISSING)
    assert event.payload["message"].startswith("No worker was running for 25 min. It is back now.")
    assert event.payload["waiting"] == 2
    assert event.payload["since"] == f"{seen_at:%Y-%m-%dT%H:%M:%S.%f}Z"
    assert event.routed_at is not None, "the same pump delivers it"
    notifications.send_due(now=timezone.now())
    assert subjects() == ["No worker was running"]


def test_two_pumps_that_come_back_at_once_report_one_gap() -> None:
    for _worker in range(2):
        notifications.worker_is_back(NOW - HOUR, now=NOW)
    assert Event.objects.count() == RaisedAlarm.objects.count() == 1


def test_after_a_gap_the_backlog_is_no_alarm_of_its_own_yet() -> None:
    make_delivery(next_attempt_at=LATE)
    notifications.worker_is_back(NOW - HOUR, now=NOW)
    assert raised(NOW + timedelta(minutes=1)) == []
    assert len(raised(NOW + HOUR)) == 1


@pytest.mark.parametrize("sweep", [True, False])
def test_a_short_gap_and_one_without_work_or_sweep_is_none(settings: Any, sweep: bool) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SWEEP": sweep}
    notifications.worker_is_back(NOW - notifications.WORKER_MISSING_AFTER / 2, now=NOW)
    notifications.worker_is_back(None, now=NOW)
    assert not Event.objects.exists()
    notifications.worker_is_back(NOW - HOUR, now=NOW)
    assert Event.objects.exists() == sweep


def test_an_error_in_the_report_does_not_stop_the_pump(monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.setattr(notifications.system, "current_backlog", None)
    notifications.worker_is_back(NOW - HOUR, now=NOW)
    assert "could not report" in caplog.text


def test_changes_that_make_no_event_are_reported_once_a_day_and_source() -> None:
    def fail(at: datetime) -> None:
        CaptureFailure.objects.update_or_create(
            fingerprint="1", defaults={"source": "shop", "error": "secret of Ada", "count": 3, "last_at": at}
        )

    fail(NOON)
    make_failed_event(source="other", occurred_at=NOON)
    events = raised(NOON + timedelta(seconds=1))
    assert {(event.topic, event.payload["source"]) for event in events} == {
        (operational.SOURCE_UNSEEN, "shop"),
        (operational.SOURCE_UNSEEN, "other"),
    }
    assert all("Ada" not in str(event.payload) for event in events)
    fail(NOON + timedelta(seconds=2))
    assert raised(NOON + HOUR) == [] == raised(NOON + 11 * HOUR)
    assert len(raised(NOON + 24 * HOUR)) == 1
    assert raised(NOON + 48 * HOUR) == [], "nothing new was lost"


def test_orders_that_differ_are_an_alarm_too() -> None:
    done = Reconciliation.objects.create(
        state="done", changed=2, finished_at=NOW, examples=[{"number": "1001", "source": "shop", "kind": "changed"}]
    )
    for _again in range(2):
        notifications.send_reconciliation(done, now=NOW)
    [event] = events_of(operational.SOURCE_UNSEEN)
    assert "Orders differ" in event.payload["message"]
    [message] = mail.outbox
    assert "“1001” (shop): changed" in message.body


def test_a_mail_that_fails_is_sent_later_and_the_event_once() -> None:
    make_delivery(next_attempt_at=LATE)
    with no_mail_server():
        assert len(raised()) == 1
        assert not notifications.is_due(now=NOW + notifications.PAUSE / 2)
    assert notifications.is_due(now=NOW + notifications.PAUSE)
    assert raised(NOW + notifications.PAUSE) == []
    assert len(mail.outbox) == 1
    assert not notifications.is_due(now=NOW + HOUR)


def test_nobody_is_alarmed_without_admins_and_an_active_operational_subscription(
    settings: Any, on_call: Subscription
) -> None:
    assert alarm_problems() == []
    settings.ADMINS = []
    assert alarm_problems() == []
    Subscription.objects.filter(pk=on_call.pk).update(state="paused")
    [problem] = alarm_problems()
    assert problem.startswith("Nobody is alarmed")


def test_what_is_due_goes_before_the_look_and_does_not_depend_on_it(
    receiver: RecordingReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_delivery(subscription=make_subscription(url=receiver.url))
    sent: list[int] = []

    def fail(**_options: object) -> None:
        sent.append(len(receiver.received))
        raise RuntimeError("not now")

    monkeypatch.setattr(notifications, "look", fail)
    pump()
    assert sent == [1]
    assert "could not look for alarms" in caplog.text
