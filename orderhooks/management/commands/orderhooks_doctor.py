"""`manage.py orderhooks_doctor`: find what could keep webhooks from being sent, with the remedies."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from orderhooks.db import DatabaseClock
from orderhooks.encryption import UndecryptableError
from orderhooks.management import doctor, progress, reconciliation, times
from orderhooks.models import Reconciliation
from orderhooks.reconciling import Difference
from orderhooks.reporting import reconciliation_text
from orderhooks.reporting.counts import count_text

MOST_SHOWN = 100


class Command(BaseCommand):
    help = (
        "Examines settings, order sources, clock, broker, worker, backlog, losses, secrets, versions and endpoints. "
        "Prints a line for each finding, with its remedy. Exits with status 1 if anything is marked `fail`. With "
        "--reconcile it compares all orders with what was last published of them instead."
    )
    # `examine` runs them and reports them with the other findings.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON, for programs")
        parser.add_argument(
            "--reconcile", action="store_true", help="find the orders that differ from what was last published of them"
        )
        parser.add_argument("--since", metavar="WHEN", help=f"compare only orders dated since then: {times.FORMATS}")
        parser.add_argument("--publish", action="store_true", help="publish the differences that --reconcile finds")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["reconcile"]:
            return self._reconcile(**options)
        if options["since"] or options["publish"]:
            raise CommandError("--since and --publish belong to --reconcile.")
        findings = list(doctor.examine())
        if options["json"]:
            self.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2))
        else:
            styles = {"ok": self.style.SUCCESS, "warn": self.style.WARNING, "fail": self.style.ERROR}
            for one in findings:
                self.stdout.write(f"{styles[one.level](one.level.ljust(4))}  {one.what}: {one.text}")
        if failed := sum(one.level == "fail" for one in findings):
            raise CommandError(f"{failed} of these checks failed. Do what the lines marked `fail` say.")
        return None

    def _reconcile(self, *, since: str | None, publish: bool, **options: Any) -> None:
        now = DatabaseClock().now()
        show = _Lines(self, as_json=options["json"])
        begin = times.parse(since, now=now) if since else None
        if begin is not None and begin >= now:
            raise CommandError("--since takes a time before now.")
        try:
            done = reconciliation.run(since=begin, publish=publish, show=show.batch)
        except (ValueError, UndecryptableError) as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            raise CommandError("Cancelled. What was published stays published.") from None
        show.end(done)
        if left := done.unpublished():
            raise CommandError(f"Orders that differ and were not published: {count_text(left)}.")


class _Lines:
    """The output of a reconciliation: a line for each difference, up to MOST_SHOWN, and the progress below them."""

    def __init__(self, command: Command, *, as_json: bool) -> None:
        self.command = command
        self.as_json = as_json
        self.left = MOST_SHOWN
        self.is_cut = False
        self.has_bar = command.stdout.isatty() and not as_json

    def batch(self, differences: Sequence[Difference], done: Reconciliation, total: int) -> None:
        out = self.command.stdout
        if self.as_json:
            for one in differences:
                out.write(json.dumps({**asdict(one), "kind": one.kind.value}))
            return
        for one in differences[: max(0, self.left)]:
            out.write(f"{self._cleared()}{reconciliation.difference_text(one)}")
        self.left -= len(differences)
        if self.left < 0 and not self.is_cut:
            self.is_cut = True
            out.write(f"{self._cleared()}More are counted only; --json prints all.")
        if self.has_bar:
            share = min(1.0, done.compared / total) if total else 1.0
            text = f"{count_text(done.compared)} of {count_text(total)} orders"
            out.write(f"\r{progress.bar(share, text)}", ending="")
            out.flush()

    def end(self, done: Reconciliation) -> None:
        out = self.command.stdout
        if self.as_json:
            names = ("compared", "changed", "unknown", "deleted", "unreadable", "older", "published")
            out.write(json.dumps({name: getattr(done, name) for name in names}))
            return
        out.write(f"{self._cleared()}{reconciliation_text(done, now=DatabaseClock().now())}")
        if done.older:
            out.write(
                f"Without an event, and older than the first subscription: {count_text(done.older)}. They do not count "
                "as different. `manage.py orderhooks_backfill` sends them to a subscription."
            )

    def _cleared(self) -> str:
        """Ends the line of the progress bar."""
        return "\r\x1b[K" if self.has_bar else ""
