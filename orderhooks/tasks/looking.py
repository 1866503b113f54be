"""Looking at the worker and the broker, for people and for probes."""

from orderhooks.models import Pump
from orderhooks.reporting.worker_status import Worker
from orderhooks.tasks import task_queue

__all__ = ["broker_problem", "broker_settings", "look_at_worker", "worker_command"]


def look_at_worker() -> Worker:
    """At most three queries."""
    queue = task_queue.current()
    seen_at = Pump.objects.last_seen_at()
    return Worker(
        Pump.objects.fresh().exists(),
        seen_at,
        queue.sweep_due_at(seen_at=seen_at),
        worker_command=queue.worker_command,
        sweep_command=queue.sweep_command,
    )


def worker_command() -> str:
    """What people type to start a worker."""
    return task_queue.current().worker_command


def broker_settings() -> str:
    """Where the project says which broker it has, such as Q_CLUSTER. Blank: it needs none."""
    return task_queue.current().broker_settings


def broker_problem() -> str:
    """Why the broker can't be reached, or "". Takes as long as its client waits."""
    try:
        task_queue.current().ask_broker()
    except Exception as error:
        # Whatever its client raises.
        return f"{type(error).__name__}: {error}".replace("\n", " ")
    return ""
