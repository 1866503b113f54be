"""What a task queue has to do for orderhooks, and which one the setting `QUEUE` names."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import cast

from django.core.checks import CheckMessage
from django.utils import timezone
from django.utils.module_loading import import_string

from orderhooks import conf

# Left of a task's time for writing down the last results.
HAND_OVER_SECONDS = 5.0
SWEEP_EVERY = timedelta(minutes=1)

# The classes by the names that QUEUE has. Each is imported when it is used: a store has one of their packages alone.
QUEUES = {
    "django_q": "orderhooks.tasks.django_q.DjangoQ",
    "celery": "orderhooks.tasks.celery.Celery",
    "django_tasks": "orderhooks.tasks.django_tasks.DjangoTasks",
    "none": "orderhooks.tasks.own_worker.OwnWorker",
}


class TaskQueue(ABC):
    """A task queue. A task takes no arguments and returns nothing; running it once more than asked for does no harm."""

    # What people type to start a worker, and what starts the sweep.
    worker_command: str
    sweep_command: str
    # Where the project says which broker it has. Blank: it needs none.
    broker_settings: str
    # Whether a process that is no worker can have one run a task.
    takes_tasks = True

    @property
    @abstractmethod
    def task_seconds(self) -> float:
        """How long one task may take."""

    @property
    @abstractmethod
    def runs_at_once(self) -> bool:
        """Whether `enqueue` itself runs the task, as test settings have it."""

    @property
    @abstractmethod
    def enqueues_quickly(self) -> bool:
        """Whether a save can wait for `enqueue`: no broker is asked. Otherwise a thread calls it."""

    @property
    def lingers(self) -> bool:
        """Whether a pump without work waits for more, because `has_other_work` says when others need its worker."""
        return not self.runs_at_once

    @abstractmethod
    def enqueue(self, task: str) -> None:
        """Have a worker run the task of this name (see `names`). Raises whatever the queue's client raises."""

    @abstractmethod
    def has_other_work(self) -> bool:
        """Whether other tasks wait for the worker that asks. Raises whatever the queue's client raises."""

    def sweep_due_at(self, *, seen_at: datetime | None) -> datetime | None:
        """When the next sweep is due, in the past if nothing starts it. None: it is switched off.

        `seen_at` is when a pump was last seen, None if never. A queue that does not show when its schedules run next is
        judged by that: each sweep leaves a pump's heartbeat.
        """
        if not conf.current().sweep:
            return None
        return timezone.now() if seen_at is None else seen_at + SWEEP_EVERY

    @abstractmethod
    def check(self) -> Iterator[CheckMessage]:
        """What is wrong with the queue's own settings. The settings of orderhooks are valid."""

    def ask_broker(self) -> None:
        """Raise whatever the queue's client raises if the broker can't be reached."""
        self.has_other_work()

    def connect(self, schedules: Collection[str]) -> None:
        """Register tasks, and the schedules of these names, at the start of each process. Touches no database."""
        return

    def register_schedules(self, schedules: Collection[str]) -> None:
        """Store the schedules of these names, and no other ones of ours, after `migrate`."""
        return


def current() -> TaskQueue:
    """The queue that QUEUE names. Raises KeyError for an unknown name, ImportError if its package is missing."""
    return _load(QUEUES[conf.current().queue])


@functools.cache
def _load(path: str) -> TaskQueue:
    return cast(TaskQueue, import_string(path)())
