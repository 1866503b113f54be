"""Pruning: what is finished and old goes, what waits or is young stays."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from django_q.conf import Conf

from orderhooks import operations, retention, retention_periods, tasks
from orderhooks.models import (
    Attempt,
    AttemptStats,
    CaptureFailure,
    Delivery,
    Event,
    IdempotentRequest,
    Receipt,
    Reconciliation,
    Replay,
)
from orderhooks.retention_periods import KINDS, RetentionPeriods
from orderhooks.tasks import django_q
from tests.factories import (
    cutoffs_at,
    make_attempt,
    make_attempt_stats,
    make_delivery,
    make_event,
    make_event_at,
    make_failed_event,
    make_replay,
    make_subscription,
    make_user,
)

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now()
DAY = timedelta(days=1)
OLD = {"created_at": NOW - 100 * DAY, "finished_at": NOW - 99 * DAY}
OLD_EVENT = {"occurred_at": NOW - 100 * DAY, "routed_at": NOW - 100 * DAY}


def prune() -> int:
    return retention.prune(before=cutoffs_at(NOW - 90 * DAY))


@pytest.mark.parametrize("state", ["delivered", "failed", "skipped"])
def test_finished_old_deliveries_go_with_their_attempts_and_events(state: str) -> None:
    make_attempt(make_delivery(state=state, event=make_event(**OLD_EVENT), **OLD))
    assert prune() == 2
    assert not Delivery.objects.exists()
    assert not Attempt.objects.exists()
    assert not Event.objects.exists()
    assert prune() == 0


def test_what_waits_or_is_young_stays() -> None:
    event = make_event(**OLD_EVENT)
    make_delivery(event=event, state="delivered", **OLD)
    kept = [
        make_delivery(event=event, created_at=NOW - 100 * DAY),
        make_delivery(event=event, state="sending", created_at=NOW - 100 * DAY),
        make_delivery(event=event, state="delivered", created_at=NOW - 100 * DAY, finished_at=NOW - DAY),
        make_delivery(event=event, state="failed"),
    ]
    waiting = make_event(**{**OLD_EVENT, "routed_at": None})
    unpublished = make_failed_event(occurred_at=NOW - 100 * DAY)
    assert prune() == 1
    assert set(Delivery.objects.all()) == set(kept)
    assert set(Event.objects.all()) == {event, waiting, unpublished}


def test_it_goes_in_batches(monkeypatch) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    for _ in range(5):
        make_delivery(state="delivered", **OLD)
    left = []
    while prune():
        left.append(Delivery.objects.count())
    assert left == [3, 1, 0]


def test_receipts_go_too() -> None:
    Receipt.objects.create(webhook_id="evt_1", received_at=NOW - 100 * DAY)
    young = Receipt.objects.create(webhook_id="evt_2")
    assert prune() == 1
    assert list(Receipt.objects.all()) == [young]


def test_the_command_follows_the_setting_or_its_option(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "RETENTION_DAYS": 200}
    make_delivery(state="delivered", **OLD)
    said = StringIO()
    call_command("orderhooks_prune", stdout=said)
    assert said.getvalue().startswith("Deleted 0 deliveries")
    call_command("orderhooks_prune", "--days", "90", stdout=said)
    assert not Delivery.objects.exists()
    with pytest.raises(CommandError, match="--days"):
        call_command("orderhooks_prune", "--days", "-1")


def test_the_daily_task_goes_on_in_another_when_its_time_is_up(monkeypatch) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 1)
    monkeypatch.setattr(Conf, "TIMEOUT", 1e-9)
    queued = []
    monkeypatch.setattr(django_q, "async_task", lambda path, **_options: queued.append(path))
    for _ in range(3):
        make_delivery(state="delivered", **OLD)
    tasks.prune()
    assert Delivery.objects.count() == 2
    assert queued == [tasks.PRUNE]


def test_old_reconciliations_go_finished_or_not() -> None:
    for days in (1, 100):
        Reconciliation.objects.create(source="orderhooks", started_at=NOW - days * DAY)
    assert prune() == 1
    assert Reconciliation.objects.get().started_at == NOW - DAY


def periods(**days: float) -> RetentionPeriods:
    """By the setting with these kinds."""
    return retention_periods.of(days)


def prune_by(**days: float) -> int:
    before = periods(**days).cutoffs(now=NOW)
    rows = 0
    while done := retention.prune(before=before):
        rows += done
    return rows


def attempt_of(days: int, **fields) -> Attempt:
    """An attempt, and its finished delivery and event, of that many days ago."""
    at = NOW - days * DAY
    delivery = make_delivery(
        state="delivered", event=make_event(occurred_at=at, routed_at=at), created_at=at, finished_at=at
    )
    bodies = {"request_headers": {"webhook-id": "x"}, "response_headers": {"server": "y"}, "response_body": "z"}
    return make_attempt(delivery, started_at=at, **{**bodies, **fields})


def test_each_kind_has_its_own_time() -> None:
    for days in (100, 50, 20, 10, 1):
        attempt_of(days, status_code=204, duration_ms=12)
    prune_by(attempt_bodies=7, attempts=14, deliveries=30, events=90)
    assert [event.occurred_at for event in Event.objects.order_by("pk")] == [NOW - d * DAY for d in (50, 20, 10, 1)]
    assert [one.created_at for one in Delivery.objects.order_by("pk")] == [NOW - d * DAY for d in (20, 10, 1)]
    assert [one.started_at for one in Attempt.objects.order_by("pk")] == [NOW - d * DAY for d in (10, 1)]
    old, young = Attempt.objects.order_by("pk")
    assert (old.request_headers, old.response_headers, old.response_body) == ({}, {}, "")
    assert (old.status_code, old.duration_ms, old.url) == (204, 12, young.url)
    assert (young.request_headers, young.response_body) == ({"webhook-id": "x"}, "z")


def test_bodies_of_a_delivery_that_waits_go_and_the_delivery_stays() -> None:
    waiting = make_delivery(created_at=NOW - 60 * DAY)
    make_attempt(waiting, started_at=NOW - 59 * DAY, response_body="z")
    prune_by(attempt_bodies=7, attempts=30)
    assert Delivery.objects.get() == waiting
    assert not Attempt.objects.exists()


def test_bodies_are_blanked_in_batches_and_none_is_looked_at_twice(monkeypatch) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    for _ in range(5):
        attempt_of(10)
    young = attempt_of(1)
    before = periods(attempt_bodies=7).cutoffs(now=NOW)
    left = []
    while retention.prune(before=before):
        left.append(Attempt.objects.exclude(response_body="").count())
    assert left == [4, 2, 1]
    Attempt.objects.exclude(pk=young.pk).update(response_body="written since")
    assert retention.prune(before=before) == 0
    # The next day goes on where this one ended.
    assert retention.prune(before=periods(attempt_bodies=0.5).cutoffs(now=NOW)) == 1


def test_each_of_the_other_kinds_goes_by_its_own_days() -> None:
    user, subscription = make_user(), make_subscription()
    old = NOW - 20 * DAY
    rows: dict[str, Any] = {
        "receipts": Receipt.objects.create(webhook_id="evt_1", received_at=old),
        "idempotency_keys": IdempotentRequest.objects.create(user=user, key_digest="a", created_at=old),
        "replays": make_replay(subscription=subscription, state="done", finished_at=old),
        "reconciliations": Reconciliation.objects.create(source="orderhooks", started_at=old),
        "capture_failures": CaptureFailure.objects.create(fingerprint="a", error="x", last_at=old),
        "statistics": make_attempt_stats(subscription, at=old),
    }
    for kind, row in rows.items():
        prune_by(**{**dict.fromkeys(rows, 30.0), kind: 10.0})
        assert not type(row)._base_manager.filter(pk=row.pk).exists()
        left = [name for name, one in rows.items() if type(one)._base_manager.filter(pk=one.pk).exists()]
        assert left == list(rows)[list(rows).index(kind) + 1 :]
    assert AttemptStats.objects.count() == Replay.objects.count() == 0


def test_a_number_is_for_all_kinds_but_not_for_what_guards_against_duplicates(settings) -> None:
    settings.ORDERHOOKS = {"RETRY_SCHEDULE": [60, 5 * 24 * 3600]}
    days = retention_periods.of(2)
    # A day for a receiver that asks for one; five and a fifth for the second wait.
    assert days.receipts == pytest.approx(7)
    assert days.idempotency_keys == 1
    assert {getattr(days, kind) for kind in KINDS if kind not in ("receipts", "idempotency_keys")} == {2}
    assert retention_periods.of(400).receipts == 400
    assert retention_periods.of(400).idempotency_keys == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (90, 90, 90, 90)),
        ({"attempt_bodies": 7}, (7, 90, 90, 90)),
        ({"attempts": 14}, (14, 14, 90, 90)),
        ({"deliveries": 30}, (30, 30, 30, 90)),
        ({"deliveries": 200}, (200, 200, 200, 200)),
        ({"events": 30}, (30, 30, 30, 30)),
        ({"events": 400}, (90, 90, 90, 400)),
        ({"attempts": 200}, (200, 200, 200, 200)),
        ({"attempt_bodies": 1, "attempts": 2, "deliveries": 3, "events": 4}, (1, 2, 3, 4)),
    ],
)
def test_kinds_that_are_not_named_fit_those_that_are(given, expected) -> None:
    assert retention_periods.fault_of(given) == ""
    days = retention_periods.of(given)
    assert (days.attempt_bodies, days.attempts, days.deliveries, days.events) == expected


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ({"attemps": 7}, "Did you mean 'attempts'?"),
        ({"pictures": 7}, "The kinds are: attempt_bodies, attempts"),
        ({"events": "long"}, "'events' can't be 'long'. Give a number of days from 1"),
        ({"events": True}, "Give a number of days"),
        ({"replays": 0}, "from 1 to"),
        ({"attempt_bodies": -1}, "from 0 to"),
        ({"events": 30, "deliveries": 60}, "Set 'deliveries' to at most 30, or 'events' to at least 60."),
        ({"attempts": 60, "deliveries": 30}, "Set 'attempts' to at most 30, or 'deliveries' to at least 60."),
        ({"attempt_bodies": 60, "attempts": 30}, "Set 'attempt_bodies' to at most 30"),
        ({"receipts": 3}, "Set 'receipts' to at least 9.2."),
        ("90", "Give a number of days from 1 to 36500, or a dict"),
    ],
)
def test_a_combination_that_is_not_possible_has_a_remedy(given, remedy) -> None:
    assert remedy in retention_periods.fault_of(given)


def test_a_retry_schedule_that_is_not_valid_has_its_own_check(settings) -> None:
    settings.ORDERHOOKS = {"RETRY_SCHEDULE": 5}
    assert retention_periods.fault_of({"events": 30}) == ""


def test_the_task_and_the_command_follow_the_kinds(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "RETENTION_DAYS": {"attempt_bodies": 7, "deliveries": 30}}
    attempt_of(40)
    attempt_of(10)
    tasks.prune()
    assert Attempt.objects.get().response_body == ""
    said = StringIO()
    call_command("orderhooks_prune", stdout=said)
    assert said.getvalue().startswith("Deleted 0 deliveries")
    assert Event.objects.count() == 2


def test_what_was_never_sent_can_be_replayed_only_as_long_as_deliveries_are_kept(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "RETENTION_DAYS": {"deliveries": 10, "events": 90}}
    subscription = make_subscription(created_at=NOW - 90 * DAY)
    make_delivery(
        event=make_event_at(NOW - 20 * DAY),
        subscription=subscription,
        state="delivered",
        created_at=NOW - 20 * DAY,
        finished_at=NOW - 20 * DAY,
    )
    tasks.prune()
    assert Event.objects.count() == 1
    with pytest.raises(operations.ReplayError, match="Deliveries are deleted after 10 days"):
        operations.replay(subscription, since=NOW - 30 * DAY, only="never_sent")
    assert operations.preview_replay(subscription, since=NOW - 9 * DAY, only="never_sent").count == 0
    assert operations.preview_replay(subscription, since=NOW - 30 * DAY).count == 1
