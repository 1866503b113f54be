"""The queue: the only module that knows django-q2. Wakes a worker, and is what the worker runs.

A wake-up carries nothing: it may be lost, doubled or late. All that matters is in the database.
"""

import atexit
import logging
import os
import threading
import time
from datetime import datetime, timedelta
from typing import Any

from django.db import (
    DEFAULT_DB_ALIAS,
    InterfaceError,
    InternalError,
    OperationalError,
    connections,
    router,
    transaction,
)
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import OrmQ, Schedule
from django_q.tasks import async_task

from orderhooks import conf, notices, outbox, routing, sending
from orderhooks.models import Bell, DatabaseClock, Event, Notify, Pump, SubscriptionSecret, claims, retention
from orderhooks.models.locks import is_lock_timeout
from orderhooks.signals import announce, event_published

logger = logging.getLogger(__name__)

PUMP = "orderhooks.tasks.pump"
NOTIFY = "orderhooks.tasks.notify"
PRUNE = "orderhooks.tasks.prune"
SWEEP = "orderhooks sweep"
DAILY = "orderhooks prune"
BEAT_SECONDS = 1.0
LOOK_SECONDS = 0.05
# Where those who publish ring, a pump looks by itself for retries alone.
LISTENING_LOOK_SECONDS = 0.5
RECONNECT_SECONDS = 0.5
LOCKED_SECONDS = 5.0
# Left of a task's time for writing down the last results.
HAND_OVER_SECONDS = 5.0
EXIT_SECONDS = 2.0


def wake() -> None:
    """Have a worker pump. Never raises and never waits for a broker; nothing is lost if it does not get through.

    A pump that is at work already is told where the database can tell it; elsewhere it looks for itself. It looks once
    more after its heartbeat has gone.
    """
    try:
        if _tell_a_pump():
            return
        if Conf.ORM and router.db_for_write(OrmQ) == Conf.ORM:
            # Atomic, or django-q2 would close this connection as stale.
            with transaction.atomic(using=Conf.ORM):
                _enqueue()
        else:
            _waker().due.set()
    except Exception:
        logger.exception("could not wake a worker; the sweep will")


def _tell_a_pump() -> bool:
    """One query: whether a pump is alive, and if so, the ring of its bell."""
    fresh = Pump.objects.fresh()
    if connections[fresh.db].vendor == "postgresql":
        fresh = fresh.annotate(rung=Notify())
    return bool(fresh.values_list()[:1])


def pump(**_unknown: object) -> None:
    """Move everything that is due: fold, route, claim, send, record. A django-q2 task; any number may run at once."""
    settings = conf.current()
    task_seconds = float(Conf.TIMEOUT or 60)
    until = time.monotonic() + max(HAND_OVER_SECONDS, task_seconds - settings.timeout_seconds - HAND_OVER_SECONDS)
    clock = DatabaseClock()
    me = Pump.start(now=clock.now())
    try:
        SubscriptionSecret.objects.expired(now=clock.now()).delete()
        with (
            Bell() as bell,
            sending.Sender(threads=settings.worker_threads, bell=bell, clock=clock.now) as sender,
        ):
            _run(me, sender, bell, clock, until=until, linger_seconds=settings.linger_seconds)
    finally:
        Pump.objects.filter(pk=me.pk).delete()
    # Whoever published while the heartbeat was still there has sent no wake-up.
    if Event.objects.unrouted().exists() or claims.due_lanes(now=clock.now()):
        wake()


def _run(
    me: Pump, sender: sending.Sender, bell: Bell, clock: DatabaseClock, *, until: float, linger_seconds: float
) -> None:
    next_beat, last_move, answers = 0.0, time.monotonic(), True
    events = _Router()
    while time.monotonic() < until:
        try:
            bell.listen()
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + BEAT_SECONDS
                _beat(me, clock)
            now = clock.now()
            moved = events.route(now=now) + sender.claim(now=now) + sender.collect(wait_seconds=LOOK_SECONDS)
            sender.go_on()
            answers = True
        except (OperationalError, InterfaceError, InternalError):
            # What can't be written down must not be sent. The results that are there wait for the database.
            if answers:
                logger.exception("the database does not answer as it should; no request goes out until it does")
            answers = False
            sender.stop()
            connections[DEFAULT_DB_ALIAS].close()
            time.sleep(RECONNECT_SECONDS)
            continue
        if moved or sender.under_way:
            last_move = time.monotonic()
        elif time.monotonic() > last_move + linger_seconds or _is_in_the_way(me):
            break
        else:
            bell.wait(LISTENING_LOOK_SECONDS if bell.listens else LOOK_SECONDS)


class _Router:
    """Routes; if somebody keeps a subscription locked, not again for a while, so that sending goes on."""

    def __init__(self) -> None:
        self.next_at = 0.0

    def route(self, *, now: datetime) -> int:
        if time.monotonic() < self.next_at:
            return 0
        try:
            return routing.route(now=now)
        except OperationalError as error:
            if not is_lock_timeout(error):
                raise
            logger.warning("somebody keeps a subscription locked; new events wait until it is free")
            self.next_at = time.monotonic() + LOCKED_SECONDS
            return 0


def _beat(me: Pump, clock: DatabaseClock) -> None:
    clock.look()
    me.beat(now=clock.now())
    for event in outbox.fold_left_behind(now=clock.now()):
        announce(event_published, sender=Event, event=event)
    sending.recover(now=clock.now())
    if notices.due(now=clock.now()).exists():
        async_task(NOTIFY, save=False)


def notify(**_unknown: object) -> None:
    """Send the e-mails that are due. A task of its own: a mail server may be slow."""
    notices.send_due(now=DatabaseClock().now())


def prune(**_unknown: object) -> None:
    """Delete what is finished and old, as long as a task may last; the rest in a task of its own."""
    until = time.monotonic() + float(Conf.TIMEOUT or 60) / 2
    before = DatabaseClock().now() - timedelta(days=conf.current().retention_days)
    while retention.prune(before=before):
        if time.monotonic() > until:
            async_task(PRUNE, save=False)
            break


def _is_in_the_way(me: Pump) -> bool:
    """Whether an idle pump should give its worker back: another one waits, or the cluster has other tasks to do."""
    return Pump.objects.fresh().filter(started_at__lt=me.started_at).exists() or get_broker().queue_size() > 0


def register_sweep(**_signal: Any) -> None:
    """Have django-q2 start a pump each minute, whatever else failed, and prune each day; not if SWEEP is off.

    Runs after each `migrate`, so it leaves a schedule that is there as it is.
    """
    using = router.db_for_write(Schedule)
    if Schedule._meta.db_table not in connections[using].introspection.table_names():
        return  # django-q2 is not migrated yet; the next `migrate` comes by here again
    schedules = Schedule.objects.using(using)
    wanted = {
        SWEEP: {"func": PUMP, "schedule_type": Schedule.MINUTES, "minutes": 1},
        DAILY: {"func": PRUNE, "schedule_type": Schedule.DAILY},
    }
    if not conf.current().sweep:
        schedules.filter(name__in=wanted).delete()
        return
    for name, values in wanted.items():
        if not schedules.filter(name=name).exists():
            schedules.create(name=name, repeats=-1, **values)


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
    """Wait a moment for a wake-up that is on its way to the broker."""
    waker = _the_waker
    if waker is not None and waker.pid == os.getpid():
        end = time.monotonic() + seconds
        while (waker.due.is_set() or not waker.idle.is_set()) and time.monotonic() < end:
            waker.idle.wait(LOOK_SECONDS)


# A command that places an order and ends would else leave its wake-up behind.
atexit.register(let_the_waker_finish)
