"""Celery: the tasks are Celery's shared tasks, and `celery beat` starts the sweep.

Names for `CELERY_TASK_ROUTES`: `orderhooks.tasks.*`.
"""

from collections.abc import Collection, Iterator
from typing import Any

from celery import current_app, shared_task
from celery.schedules import crontab
from django.core.checks import CheckMessage, Error, Warning

from orderhooks import conf
from orderhooks.tasks import work
from orderhooks.tasks.names import DAILY_SCHEDULES, NOTIFY, PRUNE, PUMP, RECONCILE, SWEEP_SCHEDULE
from orderhooks.tasks.task_queue import HAND_OVER_SECONDS, SWEEP_EVERY, TaskQueue

__all__ = ["SWEEP_EVERY", "Celery"]

# A pump's turn, unless the project limits tasks to less.
TASK_SECONDS = 60.0
# A wake-up that is older has been made good by the sweep. So an outage of the workers leaves no long queue of them.
# The worker goes by its own host's clock: one that is further ahead than this would take every wake-up for expired.
EXPIRES_SECONDS = 600.0
# In the project's time zone, when shops are quiet.
DAILY_HOUR = 3

# What Celery calls the app that it makes where a project has made none.
NO_APP = "default"
CONNECT_SECONDS = 3.0

# By name, as any app of the process has them. Nothing reads their results, and what they do must not be given back to
# the queue when a worker dies: all that is due is in the database.
for name, function in {
    PUMP: work.pump,
    NOTIFY: work.notify,
    PRUNE: work.prune,
    RECONCILE: work.reconcile,
}.items():
    shared_task(name=name, ignore_result=True, acks_late=False, expires=EXPIRES_SECONDS)(function)


class Celery(TaskQueue):
    worker_command = "celery -A <your project> worker"
    sweep_command = "celery -A <your project> beat"
    broker_settings = "Celery's broker_url"

    def __init__(self) -> None:
        # The project's app as it is when Django starts. A thread that asks later may get another: Celery keeps its
        # current app for each thread.
        self.app = current_app._get_current_object()

    @property
    def task_seconds(self) -> float:
        limits = [self.app.conf.task_soft_time_limit, self.app.conf.task_time_limit]
        return min([TASK_SECONDS, *(float(limit) for limit in limits if limit)])

    @property
    def runs_at_once(self) -> bool:
        return bool(self.app.conf.task_always_eager)

    @property
    def enqueues_quickly(self) -> bool:
        return self.runs_at_once

    def enqueue(self, task: str) -> None:
        self.app.tasks[task].apply_async()

    def has_other_work(self) -> bool:
        """Whether messages wait in a queue of this worker. Those that it has fetched are not seen."""
        with self.app.connection_for_read(connect_timeout=CONNECT_SECONDS) as connection:
            return any(_has_messages(connection, name) for name in self.app.amqp.queues.consume_from)

    def ask_broker(self) -> None:
        with self.app.connection_for_write(connect_timeout=CONNECT_SECONDS) as connection:
            connection.ensure_connection(max_retries=1)

    def connect(self, schedules: Collection[str]) -> None:
        # By name: to look a task up would finalize the app, before other apps have connected their own schedules.
        if SWEEP_SCHEDULE in schedules:
            self.app.add_periodic_task(SWEEP_EVERY, self.app.signature(PUMP), name=SWEEP_SCHEDULE)
        for number, (name, task) in enumerate(DAILY_SCHEDULES.items()):
            if name in schedules:
                at = crontab(hour=DAILY_HOUR, minute=10 * number)
                self.app.add_periodic_task(at, self.app.signature(task), name=name)

    def check(self) -> Iterator[CheckMessage]:
        if self.app.main == NO_APP:
            yield Error(
                "ORDERHOOKS['QUEUE'] is 'celery', and the project has no Celery app: no worker could be woken.",
                hint="Import your app in the project's __init__.py: from .celery import app as celery_app. See "
                "'First steps with Django' in Celery's documentation.",
                id="orderhooks.E029",
            )
            return
        needed = conf.current().timeout_seconds + HAND_OVER_SECONDS * 2
        if self.task_seconds < needed:
            yield Warning(
                f"Celery ends tasks after {self.task_seconds:g} s: a worker might be stopped in the middle of an "
                f"attempt, which may take {conf.current().timeout_seconds:g} s (TIMEOUT_SECONDS).",
                hint=f"Set task_time_limit and task_soft_time_limit to {needed:g} seconds or more.",
                id="orderhooks.W021",
            )
        if self.runs_at_once:
            yield Warning(
                "Celery's task_always_eager is True: each save of an order waits until its webhooks are sent.",
                hint="Remove it and run a worker. In tests call orderhooks.tasks.pump() instead.",
                id="orderhooks.W062",
            )


def _has_messages(connection: Any, queue: str) -> bool:
    """Redis has no queue where no message waits; a channel is closed by the error that says so."""
    try:
        with connection.channel() as channel:
            return bool(channel.queue_declare(queue=queue, passive=True).message_count)
    except connection.channel_errors:
        return False
