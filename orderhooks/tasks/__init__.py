"""The queue: the only package that depends on which one the store has. Wakes a worker, and is what the worker runs.

A wake-up carries nothing: it may be lost, doubled or late. All that matters is in the database. The setting `QUEUE`
chooses the queue; `task_queue` says what each has to do.
"""

from orderhooks.tasks.looking import broker_problem, broker_settings, look_at_worker, worker_command
from orderhooks.tasks.names import NOTIFY, PRUNE, PUMP, RECONCILE
from orderhooks.tasks.own_worker import OtherQueueError, make_worker
from orderhooks.tasks.scheduling import NoQueueError, check, connect, register_sweep, sweep, tidy_up
from orderhooks.tasks.task_queue import HAND_OVER_SECONDS, QUEUES
from orderhooks.tasks.waking import let_the_waker_finish, wake
from orderhooks.tasks.work import notify, prune, pump, reconcile

__all__ = [
    "HAND_OVER_SECONDS",
    "NOTIFY",
    "PRUNE",
    "PUMP",
    "QUEUES",
    "RECONCILE",
    "NoQueueError",
    "OtherQueueError",
    "broker_problem",
    "broker_settings",
    "check",
    "connect",
    "let_the_waker_finish",
    "look_at_worker",
    "make_worker",
    "notify",
    "prune",
    "pump",
    "reconcile",
    "register_sweep",
    "sweep",
    "tidy_up",
    "wake",
    "worker_command",
]
