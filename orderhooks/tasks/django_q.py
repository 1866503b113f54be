"""django-q2: the default. Its `qcluster` runs the tasks and the schedules. Traps: docs/architecture.md."""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.db import connections, router, transaction
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import OrmQ, Schedule
from django_q.tasks import async_task

from orderhooks import conf
from orderhooks.compiled_queries import CompiledQuery
from orderhooks.tasks.names import DAILY_SCHEDULES, PUMP, SWEEP_SCHEDULE
from orderhooks.tasks.task_queue import HAND_OVER_SECONDS, TaskQueue

__all__ = ["DjangoQ"]

EXAMPLE = (
    "Q_CLUSTER = {'name': 'shop', 'orm': 'default', 'timeout': 60, 'retry': 90, 'save_limit': -1, 'catch_up': False}"
)
# Both in one hint, because 'retry' must stay above 'timeout'.
GOOD_TIMES = "Good values are 'timeout': 60 and 'retry': 90 ('retry' must be above 'timeout')."

# The packages that django-q2's brokers need, by the key of Q_CLUSTER that chooses the broker.
BROKER_PACKAGES = {"redis": "redis", "sqs": "boto3", "mongo": "pymongo", "iron_mq": "iron_mq", "disque_nodes": "redis"}

SCHEDULES: dict[str, dict[str, Any]] = {
    SWEEP_SCHEDULE: {"func": PUMP, "schedule_type": Schedule.MINUTES, "minutes": 1},
    **{name: {"func": task, "schedule_type": Schedule.DAILY} for name, task in DAILY_SCHEDULES.items()},
}


QUEUED = CompiledQuery(lambda: OrmQ.objects.order_by())


class DjangoQ(TaskQueue):
    worker_command = sweep_command = "manage.py qcluster"
    broker_settings = "Q_CLUSTER"

    def __init__(self) -> None:
        # By the task's name, what this process has put into the table last: its key, and the signed task.
        self._enqueued: dict[str, tuple[int, str]] = {}

    @property
    def task_seconds(self) -> float:
        return float(Conf.TIMEOUT or 60)

    @property
    def runs_at_once(self) -> bool:
        return bool(Conf.SYNC)

    @property
    def enqueues_quickly(self) -> bool:
        return bool(Conf.ORM) and router.db_for_write(OrmQ) == Conf.ORM

    def enqueue(self, task: str) -> None:
        if not self.enqueues_quickly:
            async_task(task, save=False)
        elif not self._is_waiting(task):
            broker = _NotingBroker(get_broker())
            # Atomic, or django-q2 would close this connection as stale.
            with transaction.atomic(using=Conf.ORM):
                async_task(task, save=False, broker=broker)
            if broker.noted:
                self._enqueued[task] = broker.noted

    def _is_waiting(self, task: str) -> bool:
        """Whether the last one still waits: it will find all that is committed by now.

        So the saves of an hour without a worker leave one task for each process, not one for each save.
        """
        last = self._enqueued.get(task)
        # Inside of a transaction something may be committed too late for it.
        if last is None or connections[Conf.ORM].in_atomic_block:
            return False
        key, signed = last
        # A worker that takes it sets `lock` to the time until when it has it. Without a time it is never taken.
        found = QUEUED.of([key], using=Conf.ORM)
        return any(row.payload == signed and row.lock is not None and row.lock < timezone.now() for row in found)

    def has_other_work(self) -> bool:
        return bool(get_broker().queue_size() > 0)

    def register_schedules(self, schedules: Collection[str]) -> None:
        using = router.db_for_write(Schedule)
        if Schedule._meta.db_table not in connections[using].introspection.table_names():
            return  # django-q2 is not migrated yet; the next `migrate` calls this again
        stored = Schedule.objects.using(using)
        stored.filter(name__in=SCHEDULES.keys() - set(schedules)).delete()
        for name in schedules:
            if not stored.filter(name=name).exists():
                stored.create(name=name, repeats=-1, **SCHEDULES[name])

    def sweep_due_at(self, *, seen_at: datetime | None) -> datetime | None:
        """Its last start is a minute before; django-q2 keeps no better record of tasks whose results are not saved."""
        schedules = Schedule.objects.using(router.db_for_write(Schedule)).filter(name=SWEEP_SCHEDULE)
        next_run: datetime | None = schedules.values_list("next_run", flat=True).first()
        return next_run

    def check(self) -> Iterator[CheckMessage]:
        cluster = getattr(settings, "Q_CLUSTER", None)
        if cluster is None and not apps.is_installed("django_q"):
            yield Warning(
                "No queue is set up: this project can receive webhooks, but sends none.",
                hint="If it only receives, set ORDERHOOKS['SOURCES'] = []. If it sends, "
                f"add 'django_q' to INSTALLED_APPS and set {EXAMPLE}. If it has another queue, name it: "
                "ORDERHOOKS['QUEUE'].",
                id="orderhooks.W025",
            )
        elif not isinstance(cluster, Mapping):
            yield Error(
                "Q_CLUSTER is not set: no worker would deliver anything.",
                hint=EXAMPLE + ("" if apps.is_installed("django_q") else "; and add 'django_q' to INSTALLED_APPS."),
                id="orderhooks.E020",
            )
        else:
            yield from [*_not_installed(cluster), *_times(cluster), *_habits(cluster)]


class _NotingBroker:
    """A broker of django-q2 that notes what it has enqueued. None: nothing."""

    def __init__(self, broker: Any) -> None:
        self.broker = broker
        self.noted: tuple[int, str] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.broker, name)

    def enqueue(self, task: str) -> Any:
        key = self.broker.enqueue(task)
        self.noted = (key, task)
        return key


def _not_installed(cluster: Mapping[str, Any]) -> Iterator[CheckMessage]:
    if not apps.is_installed("django_q"):
        yield Error(
            "'django_q' is not in INSTALLED_APPS: there would be no `manage.py qcluster`, and no table of its tasks.",
            hint="Add 'django_q' to INSTALLED_APPS, then run `manage.py migrate`.",
            id="orderhooks.E023",
        )
    for key, package in BROKER_PACKAGES.items():
        if cluster.get(key) and find_spec(package) is None:
            yield Error(
                f"Q_CLUSTER[{key!r}] needs the package {package!r}, which is not installed: no worker could be woken.",
                hint=f"pip install {package}; or use the database as the broker: 'orm': 'default'.",
                id="orderhooks.E024",
            )


def _times(cluster: Mapping[str, Any]) -> Iterator[CheckMessage]:
    timeout, retry = cluster.get("timeout"), cluster.get("retry", 60)
    attempt_seconds = conf.current().timeout_seconds
    needed = attempt_seconds + HAND_OVER_SECONDS * 2
    if not timeout:
        yield Warning(
            "Q_CLUSTER['timeout'] is not set: a worker that hangs is never stopped.",
            hint=GOOD_TIMES,
            id="orderhooks.W021",
        )
    elif timeout < needed:
        yield Warning(
            f"Q_CLUSTER['timeout'] is {timeout!r}: a worker might be stopped in the middle of an attempt, which "
            f"may take {attempt_seconds:g} s (TIMEOUT_SECONDS).",
            hint=f"Set it to {needed:g} seconds or more. {GOOD_TIMES}",
            id="orderhooks.W021",
        )
    elif retry <= timeout:
        yield Warning(
            f"Q_CLUSTER['retry'] ({retry!r}) is not above its 'timeout' ({timeout!r}): tasks would run twice.",
            hint=f"Set 'retry' to {timeout + 30} or more.",
            id="orderhooks.W022",
        )


def _habits(cluster: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """django-q2 must not send within a save, and must not repeat each sweep of an outage."""
    if cluster.get("sync", False):
        yield Warning(
            "Q_CLUSTER['sync'] is True: each save of an order waits until its webhooks are sent.",
            hint="Remove 'sync' and run manage.py qcluster. In tests call orderhooks.tasks.pump() instead.",
            id="orderhooks.W062",
        )
    if cluster.get("catch_up", True):
        yield Warning(
            "Q_CLUSTER['catch_up'] is not False: after an outage django-q2 starts a sweep for each missed minute.",
            hint="Set Q_CLUSTER['catch_up'] = False. One sweep finds everything that waits.",
            id="orderhooks.W063",
        )
