"""The sweep and the daily tasks: registered with a queue that has a scheduler, enqueued by a command elsewhere."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from django.core.checks import CheckMessage, Error

from orderhooks import conf
from orderhooks.tasks import task_queue
from orderhooks.tasks.names import DAILY_SCHEDULES, PUMP, RECONCILE, SWEEP_SCHEDULE

__all__ = ["NoQueueError", "check", "connect", "register_sweep", "sweep", "tidy_up"]

# What to do if a queue can't be loaded.
REMEDIES = {
    "django_q": "python -m pip install django-q2",
    "celery": "python -m pip install 'orderhooks[celery]'",
    "django_tasks": "Use Django 6, or install django-tasks. In TASKS, the backend 'default', or one named "
    "'orderhooks', takes the tasks on its queue 'default'.",
}


def connect() -> None:
    """Register the tasks with the queue, at the start of each process. A queue that can't be used, `check` reports."""
    with suppress(Exception):
        task_queue.current().connect(_schedules())


def register_sweep(**_signal: Any) -> None:
    """Have the queue start a pump each minute, whatever else failed, and prune and reconcile each day; not if SWEEP is
    off. Without RECONCILE_DAYS it does not reconcile.

    Runs after each `migrate`, so it leaves a schedule that is there as it is.
    """
    try:
        queue = task_queue.current()
    except Exception:
        return  # `check` reports it; no other app's `migrate` has to fail because of it
    queue.register_schedules(_schedules())


class NoQueueError(Exception):
    """There is no queue to which a task could be given. The message says the remedy."""


def sweep() -> None:
    """Have a worker look for what a lost wake-up left behind: what a scheduler outside of the queue runs each minute.

    Raises NoQueueError, and whatever the queue's client raises.
    """
    _outside([PUMP])


def tidy_up() -> None:
    """Have a worker prune, and reconcile if RECONCILE_DAYS is set: what a scheduler outside runs each day.

    Raises NoQueueError, and whatever the queue's client raises.
    """
    _outside(daily_tasks())


def _outside(names: Iterable[str]) -> None:
    queue = task_queue.current()
    if not queue.takes_tasks:
        raise NoQueueError(
            f"ORDERHOOKS['QUEUE'] is {conf.current().queue!r}: no worker can be woken. Keep `{queue.worker_command}` "
            "running, which sweeps by itself; or have cron call it with --once each minute, and `manage.py "
            "orderhooks_prune` each day."
        )
    for task in names:
        queue.enqueue(task)


def daily_tasks() -> list[str]:
    """The names of the tasks that are due once a day."""
    return [task for task in DAILY_SCHEDULES.values() if task != RECONCILE or conf.current().reconcile_days is not None]


def check() -> Iterator[CheckMessage]:
    """What is wrong with the queue, each with its remedy. The settings of orderhooks have to be valid."""
    try:
        queue = task_queue.current()
    except Exception as error:
        name, why = conf.current().queue, str(error).rstrip(".")
        yield Error(
            f"ORDERHOOKS['QUEUE'] is {name!r}, which can't be used: {why}. No worker could be woken.",
            hint=REMEDIES.get(name, ""),
            id="orderhooks.E024",
        )
        return
    yield from queue.check()


def _schedules() -> list[str]:
    if not conf.current().sweep:
        return []
    wanted = daily_tasks()
    return [SWEEP_SCHEDULE, *(name for name, task in DAILY_SCHEDULES.items() if task in wanted)]
