"""Django's tasks framework (Django 6; the package django-tasks brings it to 5.2), with whatever backend TASKS names.

It has no scheduler: `manage.py orderhooks_sweep`, called each minute, takes its place.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.db import router, transaction

from orderhooks.tasks import work
from orderhooks.tasks.names import NOTIFY, PRUNE, PUMP, RECONCILE
from orderhooks.tasks.task_queue import TaskQueue

if TYPE_CHECKING or find_spec("django.tasks"):
    from django.tasks import task, task_backends
    from django.tasks.backends.dummy import DummyBackend
    from django.tasks.backends.immediate import ImmediateBackend
else:
    from django_tasks import task, task_backends
    from django_tasks.backends.dummy import DummyBackend
    from django_tasks.backends.immediate import ImmediateBackend

__all__ = ["DjangoTasks"]

TASK_SECONDS = 60.0
# A backend for these tasks alone, if TASKS has one of this name.
ALIAS = "orderhooks" if "orderhooks" in getattr(settings, "TASKS", {}) else "default"


# A backend finds a task by the module and the name of its function.
@task(backend=ALIAS)
def pump() -> None:
    """See `work.pump`."""
    work.pump()


@task(backend=ALIAS)
def notify() -> None:
    """See `work.notify`."""
    work.notify()


@task(backend=ALIAS)
def prune() -> None:
    """See `work.prune`."""
    work.prune()


@task(backend=ALIAS)
def reconcile() -> None:
    """See `work.reconcile`."""
    work.reconcile()


TASKS = {PUMP: pump, NOTIFY: notify, PRUNE: prune, RECONCILE: reconcile}


class DjangoTasks(TaskQueue):
    sweep_command = "manage.py orderhooks_sweep"
    broker_settings = "TASKS"

    def __init__(self) -> None:
        option = "" if ALIAS == "default" else f" --backend {ALIAS}"
        other = f"<the worker of your backend TASKS[{ALIAS!r}]>"
        self.worker_command = other if _stored() is None else f"manage.py db_worker{option}"

    @property
    def task_seconds(self) -> float:
        return TASK_SECONDS

    @property
    def runs_at_once(self) -> bool:
        return isinstance(task_backends[ALIAS], ImmediateBackend)

    @property
    def enqueues_quickly(self) -> bool:
        return self.runs_at_once or _stored() is not None

    @property
    def lingers(self) -> bool:
        return _stored() is not None

    def enqueue(self, task: str) -> None:
        stored = _stored()
        if stored is None:
            TASKS[task].enqueue()
            return
        # If it fails, the transaction that it belongs to goes on.
        with transaction.atomic(using=router.db_for_write(stored.model)):
            # One that waits will find all that is due.
            if not stored.filter(task_path=TASKS[task].module_path).exists():
                TASKS[task].enqueue()

    def has_other_work(self) -> bool:
        stored = _stored()
        return stored is not None and stored.exists()

    def check(self) -> Iterator[CheckMessage]:
        if isinstance(task_backends[ALIAS], DummyBackend):
            yield Error(
                f"TASKS[{ALIAS!r}] is Django's DummyBackend, which runs no task: no worker could be woken.",
                hint="Name a backend with workers, such as django_tasks_db.DatabaseBackend.",
                id="orderhooks.E029",
            )
        if self.runs_at_once:
            yield Warning(
                f"TASKS[{ALIAS!r}] is Django's ImmediateBackend: each save of an order waits until its webhooks are "
                "sent.",
                hint="Name a backend with workers, such as django_tasks_db.DatabaseBackend. In tests call "
                "orderhooks.tasks.pump() instead.",
                id="orderhooks.W062",
            )


def _stored() -> Any:
    """The tasks that wait, if the backend is that of django-tasks-db, which keeps them in the database; or None."""
    if not apps.is_installed("django_tasks_db"):
        return None
    from django_tasks_db.backend import DatabaseBackend
    from django_tasks_db.models import DBTaskResult

    if not isinstance(task_backends[ALIAS], DatabaseBackend):
        return None
    return DBTaskResult.objects.using(router.db_for_write(DBTaskResult)).ready().filter(backend_name=ALIAS)
