"""The setting QUEUE: what is checked, which tasks and schedules each queue gets, and the commands beside it."""

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery as CeleryApp
from celery import current_app
from django.core.checks import run_checks
from django.core.management import CommandError
from django.db import OperationalError, connection
from django.utils import timezone
from kombu.transport import memory

from orderhooks import pumping, tasks
from orderhooks.db import DatabaseClock
from orderhooks.management.commands import orderhooks_work
from orderhooks.models import Pump, Reconciliation
from orderhooks.reporting import worker_problems
from orderhooks.tasks import django_q, own_worker, task_queue
from orderhooks.tasks.celery import Celery
from orderhooks.tasks.names import DAILY_SCHEDULES, SWEEP_SCHEDULE
from tests.commands.calls import called
from tests.factories import make_order, make_subscription

pytestmark = pytest.mark.django_db(transaction=True)


def found(settings: Any, **ours: Any) -> dict[str, str]:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, **ours}
    return {one.id or "": f"{one.msg} {one.hint}" for one in run_checks() if (one.id or "").startswith("orderhooks")}


@pytest.fixture
def shop_app() -> Iterator[CeleryApp]:
    """A store's Celery app whose broker is in memory."""
    before = current_app._get_current_object()
    app = CeleryApp("shop", broker="memory://", set_as_current=True)
    task_queue._load.cache_clear()  # a process has one app
    yield app
    memory.Channel.queues.clear()  # messages are kept for all apps of the process
    before.set_current()
    task_queue._load.cache_clear()


@pytest.mark.parametrize(
    ("queue", "words"),
    [("celry", "Did you mean 'celery'?"), ("rq", "The queues are: 'django_q', 'celery'"), (None, "The queues are:")],
)
def test_an_unknown_queue_is_reported_with_those_that_are_known(settings, queue: Any, words: str) -> None:
    assert words in found(settings, QUEUE=queue)["orderhooks.E028"]


def test_a_queue_that_is_not_installed_is_reported_and_breaks_nothing(settings, monkeypatch) -> None:
    monkeypatch.setitem(task_queue.QUEUES, "celery", "orderhooks.tasks.not_there.Celery")
    assert "orderhooks[celery]" in found(settings, QUEUE="celery")["orderhooks.E024"]
    tasks.connect()
    tasks.register_sweep()
    make_subscription()
    assert make_order().pk


def test_a_project_without_a_celery_app_is_reported(settings) -> None:
    task_queue._load.cache_clear()
    settings.Q_CLUSTER = None
    assert "Import your app" in found(settings, QUEUE="celery")["orderhooks.E029"]


def test_what_does_not_fit_in_celerys_settings_is_reported(settings, shop_app: CeleryApp) -> None:
    settings.Q_CLUSTER = None
    assert found(settings, QUEUE="celery") == {}
    shop_app.conf.task_time_limit = 20
    shop_app.conf.task_always_eager = True
    reported = found(settings, QUEUE="celery")
    assert "after 20 s" in reported["orderhooks.W021"]
    assert "25 seconds or more" in reported["orderhooks.W021"]
    assert "each save of an order waits" in reported["orderhooks.W062"]


@pytest.mark.parametrize(
    ("ours", "names"),
    [
        ({}, {SWEEP_SCHEDULE, "orderhooks prune"}),
        ({"RECONCILE_DAYS": 2}, {SWEEP_SCHEDULE, *DAILY_SCHEDULES}),
        ({"RECONCILE_DAYS": 2, "SWEEP": False}, set()),
    ],
)
def test_celery_beat_gets_the_sweep_and_the_daily_tasks(settings, shop_app: CeleryApp, ours, names) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "QUEUE": "celery", **ours}
    tasks.connect()
    beat = shop_app.conf.beat_schedule
    assert set(beat) == names
    if names:
        assert beat[SWEEP_SCHEDULE]["task"] == tasks.PUMP
        assert beat[SWEEP_SCHEDULE]["schedule"] == task_queue.SWEEP_EVERY


def test_a_queue_that_is_not_there_hides_no_task_in_another(settings, shop_app: CeleryApp) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "QUEUE": "celery"}
    shop_app.amqp.queues.select(["not_there", "celery"])
    with shop_app.connection_for_write() as broker:
        broker.default_channel.queue_declare("celery")
        tasks.sweep()
        assert Celery().has_other_work()
        broker.default_channel.queue_purge("celery")


def test_tasks_of_others_that_wait_in_celerys_queue_are_seen(settings, shop_app: CeleryApp) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "QUEUE": "celery"}
    queue = Celery()
    assert not queue.has_other_work(), "where no message waits, Redis has no queue"
    with shop_app.connection_for_write() as broker:
        broker.default_channel.queue_declare("celery")
        assert not queue.has_other_work()
        tasks.sweep()
        assert queue.has_other_work()
        broker.default_channel.queue_purge("celery")


def test_a_save_wakes_a_celery_worker_with_a_message_that_expires(settings, shop_app: CeleryApp) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "QUEUE": "celery"}
    make_subscription()
    with shop_app.connection_for_write() as broker:
        broker.default_channel.queue_declare("celery")
        make_order(lines=[])
        tasks.let_the_waker_finish(seconds=30)
        message = broker.default_channel.basic_get("celery", no_ack=True)
    assert message.headers["task"] == tasks.PUMP
    assert message.headers["expires"] is not None


@pytest.mark.parametrize(
    ("queue", "commands"),
    [
        ("celery", ("celery -A <your project> worker", "celery -A <your project> beat")),
        ("none", ("manage.py orderhooks_work", "")),
    ],
)
def test_a_missing_worker_is_reported_with_the_command_of_the_queue(settings, queue: str, commands: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "QUEUE": queue}
    Pump.objects.create(beat_at=DatabaseClock().now() - 10 * task_queue.SWEEP_EVERY)
    problems = " ".join(worker_problems(tasks.look_at_worker(), now=DatabaseClock().now()))
    assert all(command in problems for command in commands)
    assert "qcluster" not in problems


def test_the_worker_without_a_queue_refuses_where_there_is_one(settings) -> None:
    with pytest.raises(CommandError, match=r"start manage\.py qcluster, or set it to 'none'"):
        called("orderhooks_work")


@pytest.fixture
def enqueued(monkeypatch) -> list[str]:
    names: list[str] = []
    monkeypatch.setattr(django_q, "async_task", lambda task, **_options: names.append(task))
    return names


def test_a_sweep_by_a_command_wakes_a_worker_and_has_it_tidy_up(settings, enqueued: list[str]) -> None:
    called("orderhooks_sweep")
    assert enqueued == [tasks.PUMP]
    called("orderhooks_sweep", "--daily")
    assert enqueued[1:] == [tasks.PUMP, tasks.PRUNE]
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "RECONCILE_DAYS": 1}
    called("orderhooks_sweep", "--daily")
    assert enqueued[3:] == [tasks.PUMP, tasks.PRUNE, tasks.RECONCILE]


def test_a_sweep_without_a_broker_fails_in_words(settings, shop_app: CeleryApp) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "QUEUE": "celery"}
    shop_app.conf.update(broker_url="redis://127.0.0.1:9/0", task_publish_retry=False)
    with pytest.raises(CommandError, match="The task queue can't be reached: "):
        called("orderhooks_sweep")


@pytest.mark.parametrize("options", [[], ["--daily"]])
def test_a_sweep_where_nobody_can_be_woken_says_what_to_run(settings, options: list[str]) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "QUEUE": "none"}
    with pytest.raises(CommandError, match=r"Keep `manage\.py orderhooks_work` running"):
        called("orderhooks_sweep", *options)


def test_one_turn_without_a_database_fails_in_words(settings, monkeypatch) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "QUEUE": "none"}

    def refuse(*_arguments: Any) -> None:
        raise OperationalError("connection refused")

    with connection.execute_wrapper(refuse), pytest.raises(CommandError, match=r"can't be reached.*connection refused"):
        called("orderhooks_work", "--once")


def test_a_worker_of_its_own_waits_for_more_in_one_turn(settings, monkeypatch) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "QUEUE": "none", "LINGER_SECONDS": 0}
    monkeypatch.setattr(pumping, "BEAT_SECONDS", 0.01)
    # An older pump, for which one of a shared worker would give its worker back.
    Pump.objects.create(started_at=timezone.now() - task_queue.SWEEP_EVERY)
    beats: list[pumping.Turn] = []
    beat = pumping.Turn._beat

    def counted(turn: pumping.Turn, *arguments: Any) -> None:
        beats.append(turn)
        if len(beats) == 3:
            worker.stop()
        beat(turn, *arguments)

    monkeypatch.setattr(pumping.Turn, "_beat", counted)
    worker = tasks.make_worker()
    worker.run()
    assert len(beats) >= 3
    assert all(turn is beats[0] for turn in beats)


def test_after_one_signal_another_of_any_kind_ends_it_at_once(monkeypatch) -> None:
    handlers: dict[int, Any] = {}
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    stopped: list[int] = []
    handle = orderhooks_work._once(lambda: stopped.append(1))
    handle(signal.SIGTERM, None)
    assert stopped == [1]
    assert handlers == {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.SIG_DFL}


def test_a_daily_task_that_fails_is_begun_again_and_no_other(settings, monkeypatch, caplog) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "QUEUE": "none", "RECONCILE_DAYS": 1}
    ran: list[str] = []
    through = threading.Event()

    def prune() -> None:
        ran.append(tasks.PRUNE)
        if len(ran) > 2:
            through.set()
            return
        raise OSError("the database is away")

    monkeypatch.setitem(own_worker.TASKS, tasks.PRUNE, prune)
    monkeypatch.setitem(own_worker.TASKS, tasks.RECONCILE, lambda: ran.append(tasks.RECONCILE))

    turns = iter(range(1000))

    def turn(_turn: pumping.Turn, *, until: float) -> bool:
        if through.wait(0.01) or next(turns, None) is None:
            worker.stop()
        return False

    monkeypatch.setattr(pumping.Turn, "run", turn)
    worker = tasks.make_worker()
    worker.run()
    assert sorted(ran) == [tasks.PRUNE, tasks.PRUNE, tasks.RECONCILE]
    assert "the database is away" in caplog.text


def test_a_turn_that_fails_is_logged_and_followed_by_another(settings, monkeypatch, caplog, in_a_thread) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "QUEUE": "none"}
    monkeypatch.setattr(own_worker, "PAUSE_SECONDS", 0.01)
    third = threading.Event()
    turns: list[int] = []

    def run(turn: pumping.Turn, *, until: float) -> bool:
        turns.append(1)
        if len(turns) < 3:
            raise OSError("the database is away")
        third.set()
        worker.stop()
        return False

    monkeypatch.setattr(pumping.Turn, "run", run)
    worker = tasks.make_worker()
    in_a_thread(worker.run)
    assert third.wait(20)
    assert "the database is away" in caplog.text


@pytest.mark.parametrize(("reconciled", "started"), [(False, [tasks.PRUNE, tasks.RECONCILE]), (True, [tasks.PRUNE])])
def test_a_worker_of_its_own_tidies_up_when_it_starts(
    settings, monkeypatch, reconciled: bool, started: list[str]
) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "QUEUE": "none", "RECONCILE_DAYS": 1}
    if reconciled:
        Reconciliation.objects.create(is_scheduled=True, state="done", finished_at=timezone.now())
    ran: list[str] = []
    both = threading.Event()

    def task(name: str) -> Any:
        def run() -> None:
            ran.append(name)
            if len(ran) == len(started):
                both.set()

        return run

    monkeypatch.setattr(own_worker, "TASKS", {name: task(name) for name in own_worker.TASKS})

    def turn(_turn: pumping.Turn, *, until: float) -> bool:
        both.wait(20)
        worker.stop()
        return False

    monkeypatch.setattr(pumping.Turn, "run", turn)
    worker = tasks.make_worker()
    worker.run()
    assert ran == started
