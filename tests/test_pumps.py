"""Heartbeats: who is alive, who was last seen, and whether anybody starts the sweep."""

import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import connection, transaction
from django.utils import timezone
from django_q.models import Schedule
from django_q.scheduler import scheduler

from orderhooks import tasks
from orderhooks.db import DatabaseClock, drivers, wakeup
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


def test_a_pump_ends_though_a_host_was_lost_while_it_ended_its_own() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite in memory is one connection; run with TEST_DATABASE=postgres")
    now = DatabaseClock().now()
    Pump.start(now=now).end(now=now)
    pump = Pump.start(now=now)
    deleted, let_go = threading.Event(), threading.Event()

    def be_lost() -> None:
        try:
            # The database takes its connection for open, for hours.
            with transaction.atomic():
                Pump.objects.filter(ended=True).delete()
                deleted.set()
                let_go.wait(60)
        finally:
            connection.close()

    def end() -> None:
        try:
            pump.end(now=now)
        finally:
            connection.close()

    lost, ending = threading.Thread(target=be_lost), threading.Thread(target=end)
    lost.start()
    try:
        assert deleted.wait(20)
        ending.start()
        ending.join(20)
        assert not ending.is_alive()
    finally:
        let_go.set()
        lost.join()
        ending.join()
    assert Pump.objects.get().ended


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


@pytest.mark.parametrize(
    ("vendor", "driver", "is_it"),
    [("postgresql", "psycopg", True), ("postgresql", "psycopg2", False), ("sqlite", "sqlite3", False)],
)
def test_the_driver_is_known_by_its_name(vendor: str, driver: str, is_it: bool) -> None:
    database = SimpleNamespace(vendor=vendor, Database=SimpleNamespace(__name__=driver))
    assert drivers.is_psycopg3(database) is is_it


def test_without_notifications_a_pump_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with psycopg 2."""
    monkeypatch.setattr(wakeup, "is_psycopg3", lambda _connection: False)
    with wakeup.Wakeup() as waiting:
        waiting.listen()
        assert not waiting.listens
        assert not waiting.wait(0)
        waiting.notify()
        assert waiting.wait(10)
