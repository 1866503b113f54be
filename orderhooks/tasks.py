"""The queue: the only module that knows django-q2. Wakes a worker, and is what the worker runs.

A wake-up carries nothing: it may be lost, doubled or late. All that matters is in the database.
"""

import atexit
import logging
import os
import threading
import time
from datetime import timedelta
from typing import Any

from django.db import connections, router, transaction
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import OrmQ, Schedule
from django_q.tasks import async_task

from orderhooks import conf, outbox, routing, sending
from orderhooks.models import Delivery, Event, Pump, SubscriptionSecret
from orderhooks.signals import announce, event_published

logger = logging.getLogger(__name__)

PUMP = "orderhooks.tasks.pump"
SWEEP = "orderhooks sweep"
BEAT_SECONDS = 1.0
LOOK_SECONDS = 0.05
# Left of a task's time for writing down the last results.
HAND_OVER_SECONDS = 5.0
EXIT_SECONDS = 2.0


def wake() -> None:
    """Have a worker pump. Never raises and never waits for a broker; nothing is lost if it does not get through.

    A pump that is at work already will see what there is: it looks once more after its heartbeat has gone.
    """
    try:
        if Pump.objects.fresh(now=timezone.now()).exists():
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
    """Move everything that is due: fold, route, claim, send, record. A django-q2 task; any number may run at once."""
    settings = conf.current()
    task_seconds = float(Conf.TIMEOUT or 60)
    until = time.monotonic() + max(HAND_OVER_SECONDS, task_seconds - settings.timeout_seconds - HAND_OVER_SECONDS)
    me = Pump.objects.create()
    try:
        SubscriptionSecret.objects.expired(now=timezone.now()).delete()
        with sending.Sender(threads=settings.worker_threads) as sender:
            _run(me, sender, until=until, linger=timedelta(seconds=settings.linger_seconds))
    finally:
        Pump.objects.filter(pk=me.pk).delete()
    # Whoever published while the heartbeat was still there has sent no wake-up.
    now = timezone.now()
    if Event.objects.unrouted().exists() or Delivery.objects.due(now=now).exists():
        wake()


def _run(me: Pump, sender: sending.Sender, *, until: float, linger: timedelta) -> None:
    next_beat = 0.0
    while time.monotonic() < until:
        now = timezone.now()
        if time.monotonic() >= next_beat:
            next_beat = time.monotonic() + BEAT_SECONDS
            me.beat(now=now)
            for event in outbox.fold_left_behind(now=now):
                announce(event_published, sender=Event, event=event)
            sending.recover(now=now)
        moved = routing.route(now=now) + sender.claim(now=now) + sender.collect(wait_seconds=LOOK_SECONDS)
        if moved or sender.under_way:
            continue
        # One pump is enough to wait for a retry; the others give their worker back.
        if Pump.objects.fresh(now=now).filter(started_at__lt=me.started_at).exists():
            break
        if not Delivery.objects.due(now=now + linger).exists():
            break
        time.sleep(LOOK_SECONDS)


def register_sweep(**_signal: Any) -> None:
    """Have django-q2 start a pump each minute, whatever else failed; or not, if the setting SWEEP is off.

    Runs after each `migrate`, so it leaves a schedule that is there as it is.
    """
    using = router.db_for_write(Schedule)
    if Schedule._meta.db_table not in connections[using].introspection.table_names():
        return  # django-q2 is not migrated yet; the next `migrate` comes by here again
    schedules = Schedule.objects.using(using).filter(name=SWEEP)
    if not conf.current().sweep:
        schedules.delete()
    elif not schedules.exists():
        Schedule.objects.using(using).create(
            name=SWEEP, func=PUMP, schedule_type=Schedule.MINUTES, minutes=1, repeats=-1
        )


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
