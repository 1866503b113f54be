"""Pruning: what is finished and old goes, what waits or is young stays."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from django_q.conf import Conf

from orderhooks import retention, tasks
from orderhooks.models import Attempt, Delivery, Event, Receipt, Reconciliation
from tests.factories import make_attempt, make_delivery, make_event, make_failed_event

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now()
DAY = timedelta(days=1)
OLD = {"created_at": NOW - 100 * DAY, "finished_at": NOW - 99 * DAY}
OLD_EVENT = {"occurred_at": NOW - 100 * DAY, "routed_at": NOW - 100 * DAY}


def prune() -> int:
    return retention.prune(before=NOW - 90 * DAY)


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
    monkeypatch.setattr(tasks, "async_task", lambda path, **_options: queued.append(path))
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
