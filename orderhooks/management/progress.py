"""The progress of a job, as commands show it: a bar on a terminal, and a line at the end everywhere."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from orderhooks import reporting, tasks
from orderhooks.db import DatabaseClock
from orderhooks.models.jobs import Job
from orderhooks.reporting.counts import counted

__all__ = ["JobCommand", "bar"]

POLL_SECONDS = 0.5
BAR_CHARACTERS = 30


class JobCommand(BaseCommand):
    """A command that starts a job of workers, and shows how far it has got until it ends."""

    jobs: type[Job]
    # Called between two readings of the progress; tests replace it.
    wait = staticmethod(time.sleep)

    def find(self, public_id: str) -> Any:
        """The job with this id. Raises CommandError."""
        jobs: Any = self.jobs._default_manager
        job = jobs.filter(public_id=public_id).first()
        if job is None:
            raise CommandError(f"There is no {self.jobs._meta.model_name} {public_id!r}. The admin lists them.")
        return job

    def watch(self, job: Any) -> None:
        """Show a progress bar on a terminal, until the job ends. It is then as the database has it."""
        name = self.jobs._meta.model_name
        for problem in reporting.worker_problems(tasks.look_at_worker(), now=DatabaseClock().now()):
            self.stdout.write(self.style.WARNING(f"{problem} The {name} begins when one is at work."))
        is_terminal = self.stdout.isatty()
        try:
            while job.is_running:
                if is_terminal:
                    self.stdout.write(f"\r{_bar_of(job)}", ending="")
                    self.stdout.flush()
                self.wait(POLL_SECONDS)
                job.refresh_from_db()
        except KeyboardInterrupt:
            self.stdout.write(f"\nIt goes on. `manage.py orderhooks_{name} --cancel {job.public_id}` cancels it.")
            return
        if is_terminal:
            self.stdout.write(f"\r{_bar_of(job)}")
        self.report_end(job)

    def report_end(self, job: Any) -> None:
        """Write what came of a job that has ended."""
        raise NotImplementedError


def bar(share: float, text: str) -> str:
    """`[=====     ]  50 %  120 deliveries`. `share` is from 0 to 1."""
    filled = "=" * round(share * BAR_CHARACTERS)
    return f"[{filled:{BAR_CHARACTERS}}] {share:4.0%}  {text}"


def _bar_of(job: Any) -> str:
    return bar(job.share_done(), counted(job.done, "delivery", "deliveries"))


def sent_text(count: int) -> str:
    """What came of a job's deliveries, as a sentence."""
    sent = counted(count, "delivery is sent, or waits for its", "deliveries are sent, or wait for their")
    return f"{sent} turn."
