"""`manage.py orderhooks_status`: subscriptions, worker and backlog, and the problems that a person has to solve."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError

from orderhooks import source_trials, tasks
from orderhooks.db import DatabaseClock
from orderhooks.reporting import Worker, backlog_text, worker_problems
from orderhooks.reporting.attempt_stats import MOST_COUNTED
from orderhooks.reporting.counts import count_text, counted
from orderhooks.reporting.durations import relative_text
from orderhooks.reporting.endpoint_health import Health
from orderhooks.reporting.system_status import SubscriptionStatus, SystemStatus, as_dict, system_status

HEAD = ("subscription", "state", "success 24 h", "waiting", "last success", "last error")
ERROR_CHARACTERS = 60


class Command(BaseCommand):
    help = (
        "Shows the problems that a person has to solve, each subscription's state, success and backlog, and whether a "
        "worker is running."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
        parser.add_argument("--fail", action="store_true", help="exit with status 1 if there is a problem")
        parser.add_argument(
            "--worker",
            action="store_true",
            help="look for a worker alone, and exit with status 1 if none is running: for the probe of a container",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._show(options)
        except DatabaseError as error:
            if not source_trials.is_unmigrated():
                raise
            raise CommandError("Migrations are not applied. Run `manage.py migrate`, then this again.") from error

    def _show(self, options: Mapping[str, Any]) -> None:
        worker, now = tasks.look_at_worker(), DatabaseClock().now()
        if options["worker"]:
            if problems := worker_problems(worker, now=now):
                raise CommandError(" ".join(problems))
            self.stdout.write(_worker(worker, now))
            return
        found = system_status(worker, now=now)
        if options["json"]:
            self.stdout.write(json.dumps(as_dict(found), indent=2, cls=DjangoJSONEncoder))
        else:
            self._draw(found)
        if options["fail"] and (problems := found.problems()):
            found_text = counted(len(problems), "problem needs", "problems need")
            raise CommandError(f"{found_text} a person: see the lines that begin with !")

    def _draw(self, found: SystemStatus) -> None:
        # Problems come first, so that nobody has to read the table to its end to find them.
        for problem in found.problems():
            self.stdout.write(self.style.ERROR(f"! {problem}"))
        head, *lines = _columns([HEAD, *(_cells(row, found) for row in found.subscriptions)])
        if lines:
            self.stdout.write(self.style.MIGRATE_HEADING(head))
        for row, line in zip(found.subscriptions, lines, strict=True):
            self.stdout.write(self._styled(row)(line))
        if not lines:
            self.stdout.write("There is no subscription yet, so nothing is recorded or sent. Add one in the admin.")
        self.stdout.write(f"\n{_worker(found.worker, found.at)}")
        self.stdout.write(backlog_text(found.backlog, now=found.at))

    def _styled(self, row: SubscriptionStatus) -> Any:
        styles = {Health.ACTIVE.value: self.style.SUCCESS, Health.PAUSED.value: self.style.WARNING}
        return styles.get(row.health, self.style.ERROR)


def _cells(row: SubscriptionStatus, found: SystemStatus) -> tuple[str, ...]:
    now = found.at
    error = "-"
    if row.last_error_at:
        error = f"{row.last_error[:ERROR_CHARACTERS]} ({relative_text(row.last_error_at, now=now)})"
    return (
        row.name,
        row.state,
        "-" if row.success_rate is None else _percent(row.success_rate, lost=bool(found.lost)),
        count_text(row.waiting, bound=MOST_COUNTED),
        relative_text(row.last_success_at, now=now),
        error,
    )


def _percent(rate: float, *, lost: bool) -> str:
    # Never 100 % if anything failed, or if changes were lost.
    return "100 %" if rate == 1 and not lost else f"{min(rate * 100, 99.9):.1f} %"


def _worker(worker: Worker, now: datetime) -> str:
    seen = "at work" if worker.at_work else f"last seen {relative_text(worker.seen_at, now=now)}"
    return f"worker: {seen}   sweep: {_sweep(worker, now)}"


def _sweep(worker: Worker, now: datetime) -> str:
    due_at = worker.sweep_due_at
    if due_at is None:
        return "off"
    return relative_text(due_at, now=now) if due_at > now else f"due {relative_text(due_at, now=now)}"


def _columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """The rows as lines of text with aligned columns."""
    rows = list(rows)
    widths = [max(len(row[number]) for row in rows) for number in range(len(rows[0]))] if rows else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
