"""The queue: the only module that uses django-q2. Wakes a worker, and is what the worker runs.

A wake-up carries nothing: it may be lost, doubled or late. All that matters is in the database.
"""

import atexit
import logging
import os
import threading
import time
from datetime import datetime, timedelta
from typing import Any

from django.db import connections, router, transaction
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import OrmQ, Schedule
from django_q.tasks import async_task

from orderhooks import conf, notifications, pumping, reconciling, retention, retention_periods
from orderhooks.db import DatabaseClock
from orderhooks.models import Pump, Reconciliation, Subscription
from orderhooks.reporting.worker_status import Worker

logger = logging.getLogger(__name__)

PUMP = "orderhooks.tasks.pump"
NOTIFY = "orderhooks.tasks.notify"
PRUNE = "orderhooks.tasks.prune"
RECONCILE = "orderhooks.tasks.reconcile"
SWEEP = "orderhooks sweep"
DAILY = "orderhooks prune"
DAILY_RECONCILIATION = "orderhooks reconcile"
# Left of a task's time for writing down the last results.
HAND_OVER_SECONDS = 5.0
EXIT_SECONDS = 2.0


def wake() -> None:
    """Wake a worker. Never raises and never waits for a broker; nothing is lost if the wake-up is.

    If a pump is at work, nothing is enqueued: PostgreSQL notifies it, and on other databases it looks by itself. A pump
    looks once more after its heartbeat has ended.
    """
    try:
        if Pump.notify():
            return
        if Conf.ORM and router.db_for_write(OrmQ) == Conf.ORM:
            # Atomic, or django-q2 would close this connection as stale.
            with transaction.atomic(using=Conf.ORM):
                _enqueue()
        else:
            _waker().due.set()
    except Exception:
        logger.exception("could not wake a worker; the sweep will")


def pump(**_unknown: object) -> None:
    """Do all that is due: coalesce, route, claim, send, record. A django-q2 task; any number may run at once."""
    task_seconds = float(Conf.TIMEOUT or 60)
    # A subscription's limit may be longer than the setting, not longer than the task may take.
    longest = min(Subscription.objects.longest_timeout_seconds(), task_seconds - 2 * HAND_OVER_SECONDS)
    longest = max(longest, conf.current().timeout_seconds)
    mine = max(HAND_OVER_SECONDS, task_seconds - longest - HAND_OVER_SECONDS)
    broker = get_broker()
    turn = pumping.Turn(
        other_work=lambda: broker.queue_size() > 0,
        notices_due=lambda: async_task(NOTIFY, save=False),
        longest_seconds=longest,
        # With `sync` the save runs the pump, and waits for it.
        lingers=not Conf.SYNC,
    )
    # With `sync` the next save runs a pump; `wake` would run one here, which would call `wake` again, without end.
    if turn.run(until=time.monotonic() + mine) and not Conf.SYNC:
        wake()


def notify(**_unknown: object) -> None:
    """Send the e-mails that are due. A task of its own: a mail server may be slow."""
    notifications.send_due(now=DatabaseClock().now())


def prune(**_unknown: object) -> None:
    """Delete what is finished and old, as long as a task may last; the rest in a task of its own."""
    until = time.monotonic() + float(Conf.TIMEOUT or 60) / 2
    before = retention_periods.current().cutoffs(now=DatabaseClock().now())
    while retention.prune(before=before):
        if time.monotonic() > until:
            async_task(PRUNE, save=False)
            break


def reconcile(**_unknown: object) -> None:
    """Compare orders with what was last published of them, as long as a task may last; the rest in a task of its own.

    Reports by e-mail at the end if any differ.
    """
    until = time.monotonic() + float(Conf.TIMEOUT or 60) / 2
    days = conf.current().reconcile_days
    now = DatabaseClock().now()
    running = Reconciliation.objects.under_way()
    if running is None and days is not None:
        running = reconciling.begin(since=now - timedelta(days=days), is_scheduled=True)
    if running is None:
        return
    while running.state == Reconciliation.State.RUNNING:
        if time.monotonic() > until:
            async_task(RECONCILE, save=False)
            return
        reconciling.advance(running, now=DatabaseClock().now())
    notifications.send_reconciliation(running, now=DatabaseClock().now())


def register_sweep(**_signal: Any) -> None:
    """Have django-q2 start a pump each minute, whatever else failed, and prune and reconcile each day; not if SWEEP is
    off. Without RECONCILE_DAYS it does not reconcile.

    Runs after each `migrate`, so it leaves a schedule that is there as it is.
    """
    using = router.db_for_write(Schedule)
    if Schedule._meta.db_table not in connections[using].introspection.table_names():
        return  # django-q2 is not migrated yet; the next `migrate` calls this again
    schedules = Schedule.objects.using(using)
    wanted = {
        SWEEP: {"func": PUMP, "schedule_type": Schedule.MINUTES, "minutes": 1},
        DAILY: {"func": PRUNE, "schedule_type": Schedule.DAILY},
        DAILY_RECONCILIATION: {"func": RECONCILE, "schedule_type": Schedule.DAILY},
    }
    settings = conf.current()
    unwanted = set() if settings.sweep else set(wanted)
    if settings.reconcile_days is None:
        unwanted.add(DAILY_RECONCILIATION)
    schedules.filter(name__in=unwanted).delete()
    for name in wanted.keys() - unwanted:
        if not schedules.filter(name=name).exists():
            schedules.create(name=name, repeats=-1, **wanted[name])


def sweep_due_at() -> datetime | None:
    """When django-q2 is to start the next sweep; in the past if no cluster is running. None: it is switched off.

    Its last start is a minute before; django-q2 keeps no better record of tasks whose results are not saved.
    """
    schedules = Schedule.objects.using(router.db_for_write(Schedule)).filter(name=SWEEP)
    next_run: datetime | None = schedules.values_list("next_run", flat=True).first()
    return next_run


def look_at_worker() -> Worker:
    """Three queries."""
    return Worker(Pump.objects.fresh().exists(), Pump.objects.last_seen_at(), sweep_due_at())


def broker_problem() -> str:
    """Why the broker can't be reached, or "". Takes as long as its client waits."""
    try:
        get_broker().queue_size()
    except Exception as error:
        # Whatever its client raises.
        return f"{type(error).__name__}: {error}".replace("\n", " ")
    return ""


def _enqueue() -> None:
    async_task(PUMP, save=False)


class _Waker(threading.Thread):
    """Talks to the broker, so that no save has to wait for one that is slow or gone. One for each process."""

    def __init__(self) -> None:
        super().__init__(name="orderhooks-waker", daemon=True)
        self.pid = os.getpid()
        self.due = threading.Event()
        self.idle = threading.Event()

    def run(self) -> None:
        while True:
            self.idle.set()
            self.due.wait()
            self.idle.clear()
            self.due.clear()
            try:
                _enqueue()
            except Exception:
                logger.exception("could not reach the broker; the sweep will wake a worker")
            if Conf.SYNC:
                connections.close_all()  # the pump ran here


_the_waker: _Waker | None = None
_waker_lock = threading.Lock()


def _waker() -> _Waker:
    global _the_waker
    with _waker_lock:
        if _the_waker is None or _the_waker.pid != os.getpid():
            _the_waker = _Waker()
            _the_waker.start()
        return _the_waker


def let_the_waker_finish(seconds: float = EXIT_SECONDS) -> None:
    """Wait a short time for a wake-up that is on its way to the broker."""
    waker = _the_waker
    if waker is not None and waker.pid == os.getpid():
        end = time.monotonic() + seconds
        while (waker.due.is_set() or not waker.idle.is_set()) and time.monotonic() < end:
            waker.idle.wait(0.05)


# Otherwise a command that places an order and ends would leave its wake-up behind.
atexit.register(let_the_waker_finish)
