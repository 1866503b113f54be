"""The worker's status in plain words: whether a worker is running, and what to do if none is."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.translation import gettext as _

from orderhooks.reporting.backlog import Backlog, backlog_text
from orderhooks.reporting.durations import span_text

__all__ = ["SWEEP_LATE", "Worker", "start_text", "worker_problems"]

# Between two sweeps a worker that has nothing to do may be away; django-q2 starts them half a minute late at most.
WORKER_AWAY = timedelta(minutes=2)
SWEEP_LATE = timedelta(seconds=90)


@dataclass(frozen=True, slots=True)
class Worker:
    """The worker and the sweep. `seen_at` is None if no worker was ever seen, `sweep_due_at` if the sweep is off.

    The commands are what people type to start a worker, and what starts the sweep.
    """

    at_work: bool
    seen_at: datetime | None
    sweep_due_at: datetime | None
    worker_command: str
    sweep_command: str

    def is_missing(self, *, now: datetime) -> bool:
        """Whether no worker is running although one should be."""
        return not self.at_work and (self.seen_at is None or now - self.seen_at >= WORKER_AWAY)

    def sweep_is_late(self, *, now: datetime) -> bool:
        """Whether no cluster starts the sweep: it is due, and no pump has run since, by whichever call.

        The time at which it is due is not enough: after an outage django-q2 may start each sweep that it missed.
        """
        if self.sweep_due_at is None or self.at_work:
            return False
        return now - max(self.sweep_due_at, self.seen_at or self.sweep_due_at) >= SWEEP_LATE


def worker_problems(worker: Worker, *, now: datetime, waiting: Backlog | None = None) -> list[str]:
    """What is wrong with the worker, each with its remedy. People should read it first.

    With `waiting` it also says what waits for the worker. Empty if a worker is running and the sweep is in time.
    """
    missing, late = missing_worker_text(worker, now=now, waiting=waiting), late_sweep_text(worker, now=now)
    return [text for text in (missing, late) if text]


def missing_worker_text(worker: Worker, *, now: datetime, waiting: Backlog | None = None) -> str:
    """That no worker is running, and the remedy. Blank if one is."""
    if not worker.is_missing(now=now):
        return ""
    missing = _("No worker has ever been seen.")
    if worker.seen_at is not None:
        missing = _("No worker has been seen for %(span)s.") % {"span": span_text(now - worker.seen_at)}
    held = f"{backlog_text(waiting, now=now)} " if waiting is not None and waiting.total else ""
    return f"{missing} {held}{start_text(worker.worker_command)}"


def late_sweep_text(worker: Worker, *, now: datetime) -> str:
    """That nobody starts the sweep, and the remedy. Blank if it is in time or off."""
    if worker.sweep_due_at is None or not worker.sweep_is_late(now=now):
        return ""
    late = _("The sweep, which starts a worker each minute, has been due for %(span)s.")
    return f"{late % {'span': span_text(now - worker.sweep_due_at)}} {start_text(worker.sweep_command)}"


def start_text(command: str) -> str:
    """What to do if a process that should be running does nothing."""
    return _("Start `%(command)s`; if one runs and does nothing, restart it.") % {"command": command}
