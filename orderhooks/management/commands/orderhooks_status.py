"""`manage.py orderhooks_status`: how deliveries are going, and what needs a person."""

import json
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder

from orderhooks.db import DatabaseClock
from orderhooks.management import moments, standing
from orderhooks.management.standing import Row, Standing
from orderhooks.reporting import Worker, backlog_text
from orderhooks.reporting.attempt_stats import MOST_COUNTED
from orderhooks.reporting.endpoint_health import Health

HEAD = ("subscription", "state", "success 24 h", "waiting", "last success", "last error")
WORDS = 60


class Command(BaseCommand):
    help = "Shows each subscription's state, success and backlog, whether a worker is there, and what needs a person."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
        parser.add_argument("--fail", action="store_true", help="end with status 1 if something needs a person")

    def handle(self, *args: Any, **options: Any) -> None:
        found = standing.look(now=DatabaseClock().now())
        if options["json"]:
            self.stdout.write(json.dumps(standing.told(found), indent=2, cls=DjangoJSONEncoder))
        else:
            self._draw(found)
        if options["fail"] and (troubles := found.troubles()):
            raise CommandError(f"{len(troubles)} of these need a person: see the lines that begin with !")

    def _draw(self, found: Standing) -> None:
        # First: whoever looks at three in the morning should not have to read a table to its end.
        for trouble in found.troubles():
            self.stdout.write(self.style.ERROR(f"! {trouble}"))
        head, *lines = standing.columns([HEAD, *(_cells(row, found) for row in found.subscriptions)])
        if lines:
            self.stdout.write(self.style.MIGRATE_HEADING(head))
        for row, line in zip(found.subscriptions, lines, strict=True):
            self.stdout.write(self._styled(row)(line))
        if not lines:
            self.stdout.write("There is no subscription yet, so nothing is recorded or sent. Add one in the admin.")
        now, worker = found.at, found.worker
        seen = "at work" if worker.at_work else f"last seen {moments.ago(worker.seen_at, now=now)}"
        self.stdout.write(f"\nworker: {seen}   sweep: {_sweep(worker, now)}")
        self.stdout.write(backlog_text(found.backlog, now=now))

    def _styled(self, row: Row) -> Any:
        styles = {Health.ACTIVE.value: self.style.SUCCESS, Health.PAUSED.value: self.style.WARNING}
        return styles.get(row.health, self.style.ERROR)


def _cells(row: Row, found: Standing) -> tuple[str, ...]:
    now = found.at
    error = f"{row.last_error[:WORDS]} ({moments.ago(row.last_error_at, now=now)})" if row.last_error_at else "-"
    return (
        row.name,
        row.state,
        "-" if row.success_rate is None else _percent(row.success_rate, lost=bool(found.lost)),
        f"{MOST_COUNTED}+" if row.waiting > MOST_COUNTED else str(row.waiting),
        moments.ago(row.last_success_at, now=now),
        error,
    )


def _percent(rate: float, *, lost: bool) -> str:
    # Never 100 % when something failed, or was never told of.
    return "100 %" if rate == 1 and not lost else f"{min(rate * 100, 99.9):.1f} %"


def _sweep(worker: Worker, now: datetime) -> str:
    due_at = worker.sweep_due_at
    if due_at is None:
        return "off"
    return f"in {moments.span(due_at - now)}" if due_at > now else f"due {moments.ago(due_at, now=now)}"
