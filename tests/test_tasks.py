"""Waking, pumping, sweeping: what the worker runs and what the store's process enqueues."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pydoc import locate

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import OrmQ, Schedule
from django_q.scheduler import scheduler

from orderhooks import outbox, pumping, tasks
from orderhooks.db import DatabaseClock, Wakeup
from orderhooks.models import Change, Delivery, Event, Pump
from orderhooks.sending import finishing
from orderhooks.tasks import django_q, task_queue, waking
from orderhooks.tasks.names import SWEEP_SCHEDULE
from tests.factories import make_delivery, make_event, make_order, make_subscription
from tests.receivers import Answer, RecordingReceiver

pytestmark = pytest.mark.django_db(transaction=True)

orm_broker_only = pytest.mark.skipif(
    not Conf.ORM, reason="this run has Redis for a broker; the ORM broker is another's"
)


def test_a_pump_takes_an_event_all_the_way(receiver: RecordingReceiver) -> None:
    make_subscription(url=receiver.url)
    make_event(routed_at=None)
    tasks.pump()
    assert receiver.topics == ["order.paid"]
    assert Delivery.objects.get().state == "delivered"
    assert not Pump.objects.fresh().exists()


def test_a_pump_takes_unknown_keywords_and_may_run_with_nothing_to_do() -> None:
    pump: Callable[..., object] = tasks.pump
    assert pump(asked_by="a newer version") is None


def test_a_pump_coalesces_what_a_dead_process_left_behind(receiver: RecordingReceiver, monkeypatch) -> None:
    make_subscription(url=receiver.url)
    with monkeypatch.context() as patch:
        patch.setattr("orderhooks.outbox.transaction_batch.coalesce", lambda *_args, **_kwargs: [])
        make_order(lines=[])
    Change.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    tasks.pump()
    assert receiver.topics == ["order.created"]


@pytest.mark.by_hand
def test_an_order_that_can_not_be_coalesced_holds_nobody_up(receiver: RecordingReceiver, monkeypatch, caplog) -> None:
    make_subscription(url=receiver.url)
    real = outbox.coalesce
    with monkeypatch.context() as patch:
        patch.setattr(outbox.transaction_batch, "coalesce", lambda *_args, **_kwargs: [])
        bad, _good = make_order(lines=[]), make_order(lines=[])
    Change.objects.update(created_at=timezone.now() - timedelta(minutes=1))

    def coalesce(source: str, order_pk: str, **options):
        if order_pk == str(bad.pk):
            raise RuntimeError("bad luck")
        return real(source, order_pk, **options)

    monkeypatch.setattr(outbox.left_behind, "coalesce", coalesce)
    tasks.pump()
    assert receiver.topics == ["order.created"]
    assert "bad luck" in caplog.text
    assert Change.objects.get().order_pk == str(bad.pk)


def test_a_pump_recovers_what_a_dead_worker_was_sending(receiver: RecordingReceiver, settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "RETRY_SCHEDULE": [0, 0]}
    make_delivery(
        subscription=make_subscription(url=receiver.url),
        state="sending",
        attempts_made=1,
        lease_expires_at=timezone.now() - timedelta(seconds=1),
    )
    tasks.pump()
    assert [one.headers["webhook-attempt"] for one in receiver.received] == ["2"]


@pytest.mark.slow
def test_a_pump_waits_for_a_retry_that_is_about_to_be_due(receiver: RecordingReceiver, settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "RETRY_SCHEDULE": [0.2], "LINGER_SECONDS": 2}
    get_broker().purge_queue()
    receiver.answer = lambda count: Answer(500 if count == 1 else 200)
    make_delivery(subscription=make_subscription(url=receiver.url))
    tasks.pump()
    assert Delivery.objects.get().state == "delivered"


def test_a_pump_is_not_followed_by_another_for_what_waits_for_its_order() -> None:
    subscription = make_subscription(ordered=True)
    make_delivery(subscription=subscription, state="failed")
    make_delivery(subscription=subscription)
    tasks.pump()
    assert not OrmQ.objects.exists()


def test_only_one_pump_waits(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "LINGER_SECONDS": 60}
    Pump.objects.create(started_at=timezone.now() - timedelta(seconds=1))
    make_delivery(next_attempt_at=timezone.now() + timedelta(seconds=30))
    tasks.pump()  # returns at once; otherwise the test would hang
    assert Pump.objects.fresh().count() == 1


def test_a_pump_hands_over_what_its_time_does_not_allow(receiver: RecordingReceiver, monkeypatch) -> None:
    make_delivery(subscription=make_subscription(url=receiver.url))
    monkeypatch.setattr(task_queue, "HAND_OVER_SECONDS", 0.0)
    monkeypatch.setattr(Conf, "TIMEOUT", 1)
    woken = []
    monkeypatch.setattr(waking, "wake", lambda: woken.append(Delivery.objects.get().state))
    tasks.pump()
    assert woken == ["pending"]


@orm_broker_only
def test_a_save_wakes_one_worker_after_the_commit() -> None:
    make_subscription()
    OrmQ.objects.all().delete()
    with transaction.atomic():
        make_order(lines=[])
        assert not OrmQ.objects.exists()
    [wake_up] = OrmQ.objects.all()
    assert wake_up.func() == tasks.PUMP


@orm_broker_only
@pytest.mark.django_db(transaction=True)
def test_while_no_worker_runs_a_process_leaves_one_wake_up_however_much_it_saves() -> None:
    make_subscription()
    for number in range(3):
        make_order(number=str(number), lines=[])
    [wake_up] = OrmQ.objects.all()
    # What a worker has taken may have looked already.
    broker = get_broker()
    [(key, _task)] = broker.dequeue()
    make_order(number="4", lines=[])
    assert OrmQ.objects.count() == 2
    broker.acknowledge(key)
    make_order(number="5", lines=[])
    [other] = OrmQ.objects.all()
    assert other.pk != wake_up.pk
    # Another project's task of the same key is none of ours.
    OrmQ.objects.update(payload="another")
    make_order(number="6", lines=[])
    assert OrmQ.objects.count() == 2


@orm_broker_only
@pytest.mark.django_db(transaction=True)
def test_in_a_transaction_a_wake_up_that_waits_is_not_enough() -> None:
    tasks.wake()
    with transaction.atomic():
        # A worker might take the first one, and look, before this is committed.
        tasks.wake()
    assert OrmQ.objects.count() == 2


@orm_broker_only
def test_no_wake_up_is_sent_while_a_pump_is_at_work_and_a_dead_ones_heartbeat_does_not_count() -> None:
    pump = Pump.objects.create()
    tasks.wake()
    assert not OrmQ.objects.exists()
    Pump.objects.filter(pk=pump.pk).update(beat_at=timezone.now() - timedelta(seconds=6))
    tasks.wake()
    assert OrmQ.objects.count() == 1


@orm_broker_only
def test_a_queue_that_can_not_be_written_to_never_reaches_the_save(monkeypatch, caplog) -> None:
    def broken(*_args, **_kwargs):
        raise OSError("no queue")

    monkeypatch.setattr(django_q, "async_task", broken)
    make_subscription()
    order = make_order(lines=[])
    assert order.pk
    assert Event.objects.exists()
    assert "could not wake a worker" in caplog.text


@pytest.fixture
def deaf_broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A Redis that takes connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(Conf, "ORM", None)
        monkeypatch.setattr(Conf, "REDIS", {"host": "127.0.0.1", "port": server.getsockname()[1]})
        monkeypatch.setattr(waking, "_the_waker", None)
        yield server


@pytest.mark.slow
def test_a_save_does_not_wait_for_a_broker_that_never_responds(deaf_broker, monkeypatch) -> None:
    make_subscription()
    make_order(lines=[])
    # The broker is still being waited for, and the save has long returned.
    connection, _address = deaf_broker.accept()
    assert Event.objects.exists()
    waker = waking._the_waker
    assert waker is not None
    assert not waker.idle.is_set()
    connection.close()
    deaf_broker.close()
    assert waker.idle.wait(10)


@pytest.mark.slow
def test_a_broker_that_is_gone_is_logged_by_the_waker(monkeypatch, caplog) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setattr(Conf, "ORM", None)
    monkeypatch.setattr(Conf, "REDIS", {"host": "127.0.0.1", "port": port})
    monkeypatch.setattr(waking, "_the_waker", None)
    tasks.wake()
    tasks.let_the_waker_finish(seconds=30)  # the client library tries for a while
    assert "could not reach the broker" in caplog.text


def test_wake_ups_that_pile_up_become_one(monkeypatch) -> None:
    entered, release, sent = threading.Event(), threading.Event(), []

    def slow(*_arguments: object, **_options: object) -> None:
        sent.append(1)
        entered.set()
        release.wait(10)

    monkeypatch.setattr(Conf, "ORM", None)
    monkeypatch.setattr(django_q, "async_task", slow)
    monkeypatch.setattr(waking, "_the_waker", None)
    tasks.wake()
    assert entered.wait(10)
    for _ in range(5):
        tasks.wake()
    release.set()
    tasks.let_the_waker_finish()
    assert len(sent) == 2


def test_the_sweep_is_registered_once_by_migrate_and_can_be_switched_off(settings) -> None:
    Schedule.objects.all().delete()
    call_command("migrate", verbosity=0)
    call_command("migrate", verbosity=0)
    assert Schedule.objects.get(name="orderhooks prune").func == tasks.PRUNE
    sweep = Schedule.objects.get(name=SWEEP_SCHEDULE)
    assert (sweep.func, sweep.schedule_type, sweep.minutes, sweep.repeats) == (tasks.PUMP, "I", 1, -1)
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SWEEP": False}
    call_command("migrate", verbosity=0)
    assert not Schedule.objects.exists()


@orm_broker_only
def test_an_emptied_queue_is_made_good_by_the_sweep(receiver: RecordingReceiver) -> None:
    call_command("migrate", verbosity=0)
    make_subscription(url=receiver.url)
    make_order(lines=[])
    OrmQ.objects.all().delete()
    Schedule.objects.exclude(name=SWEEP_SCHEDULE).delete()
    Schedule.objects.update(next_run=timezone.now() - timedelta(seconds=1))
    scheduler()
    [task] = OrmQ.objects.all()
    assert task.func() == tasks.PUMP
    pump = locate(task.func())
    assert callable(pump)
    pump()
    assert receiver.topics == ["order.created"]


def test_a_pump_that_can_not_write_stops_sending_and_goes_on_when_it_can(receiver, monkeypatch, caplog) -> None:
    monkeypatch.setattr(pumping, "RECONNECT_SECONDS", 0.01)
    subscription = make_subscription(url=receiver.url)
    for _ in range(3):
        make_delivery(subscription=subscription)
    real = finishing.finish
    refused: list[int] = []

    def finish(results):
        if len(refused) < 5:
            refused.append(len(receiver.received))
            raise OperationalError("cannot execute UPDATE in a read-only transaction")
        return real(results)

    monkeypatch.setattr(finishing, "finish", finish)
    tasks.pump()
    assert Delivery.objects.filter(state="delivered").count() == 3
    assert len(receiver.received) == 3, "no response was lost, so nothing was sent twice"
    assert "no request goes out" in caplog.text


def test_an_idle_pump_leaves_its_worker_to_other_tasks(settings) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "LINGER_SECONDS": 60}
    get_broker().enqueue("somebody else's task")
    try:
        tasks.pump()  # returns; otherwise the test would hang
    finally:
        get_broker().purge_queue()


def test_a_save_wakes_a_pump_that_waits(in_a_thread) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL notifies; elsewhere a pump looks by itself")
    make_subscription()
    pump = Pump.start(now=DatabaseClock().now())
    with Wakeup() as wakeup:
        wakeup.listen()
        in_a_thread(lambda: str(make_order(lines=[])))
        assert wakeup.wait(20)
        assert not wakeup.wait(0)
    pump.delete()


def test_a_connection_that_is_lost_while_a_pump_waits_is_an_error_that_it_survives(in_a_thread) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("elsewhere nothing listens")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [process] = cursor.fetchone()

    def cut() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [process])

    wakeup = Wakeup()
    with wakeup:
        wakeup.listen()
        in_a_thread(cut)
        with pytest.raises(pumping.DATABASE_FAILS):
            for _ in range(3):  # what the server said last may come first
                wakeup.wait(20)
        connection.close()
        wakeup.listen()
        assert wakeup.listens


def test_a_notification_from_before_ends_the_next_wait_only_once() -> None:
    wakeup = Wakeup()
    for _ in range(100):
        wakeup.notify()
    assert wakeup.wait(60)
    assert not wakeup.wait(0)
    wakeup.close()
    wakeup.notify()  # a thread that outlives the pump


def test_the_databases_clock_is_used_not_this_machines(monkeypatch) -> None:
    clock = DatabaseClock()
    ours = timezone.now()
    assert abs((clock.now() - ours).total_seconds()) < 30
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert abs((clock.now() - ours).total_seconds()) < 30


@pytest.mark.parametrize(
    ("task_seconds", "own_seconds", "longest", "of_its_own"),
    [
        (60, None, 15, 40),
        (60, 5, 15, 40),
        (60, 30, 30, 25),
        (30, 30, 20, 5),  # not for more than the task has
        (20, 30, 15, 5),  # nor for less than the setting says
    ],
)
def test_a_pump_leaves_time_for_the_slowest_subscription(
    monkeypatch, task_seconds, own_seconds, longest, of_its_own
) -> None:
    def run(turn: pumping.Turn, *, until: float) -> bool:
        turns.append((turn.longest_seconds, round(until - time.monotonic())))
        return False

    turns: list[tuple[float | None, int]] = []
    monkeypatch.setattr(pumping.Turn, "run", run)
    monkeypatch.setattr(Conf, "TIMEOUT", task_seconds)
    make_subscription(timeout_seconds=own_seconds)
    tasks.pump()
    assert turns == [(longest, of_its_own)]
