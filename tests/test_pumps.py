"""Heartbeats: who is alive, who was last seen, and whether anybody starts the sweep."""

from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.models import Schedule
from django_q.scheduler import scheduler

from orderhooks import tasks
from orderhooks.db import DatabaseClock
from orderhooks.models import Pump
from orderhooks.tasks.names import SWEEP_SCHEDULE

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = timedelta(minutes=1)


def test_one_that_has_ended_is_not_alive_but_was_seen() -> None:
    now = DatabaseClock().now()
    pump = Pump.start(now=now - MINUTE)
    assert Pump.objects.last_seen_at() == now - MINUTE
    pump.beat(now=now)
    assert Pump.objects.fresh().exists()
    pump.end(now=now)
    assert not Pump.objects.fresh().exists()
    assert not Pump.notify()
    assert Pump.objects.last_seen_at() == now


def test_only_the_last_one_that_ended_is_kept_and_those_alive() -> None:
    now = DatabaseClock().now()
    first, last, alive = (Pump.start(now=now) for _ in range(3))
    killed = Pump.objects.create(beat_at=now - timedelta(days=2))
    first.end(now=now)
    assert not Pump.objects.filter(pk=killed.pk).exists()
    last.end(now=now)
    assert set(Pump.objects.values_list("pk", flat=True)) == {last.pk, alive.pk}


def test_nobody_was_ever_seen() -> None:
    assert Pump.objects.last_seen_at() is None


def test_the_next_sweep_comes_from_the_queues_own_schedule(settings) -> None:
    tasks.register_sweep()
    overdue = timezone.now() - 7 * MINUTE
    Schedule.objects.filter(name=SWEEP_SCHEDULE).update(next_run=overdue)
    assert tasks.look_at_worker().sweep_due_at == overdue
    scheduler()
    next_sweep = tasks.look_at_worker().sweep_due_at
    assert next_sweep is not None
    assert timezone.now() < next_sweep <= timezone.now() + MINUTE
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SWEEP": False}
    tasks.register_sweep()
    assert tasks.look_at_worker().sweep_due_at is None
