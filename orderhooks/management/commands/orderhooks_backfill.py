"""`manage.py orderhooks_backfill --to NAME`: send the orders that are there already to one subscription."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from orderhooks import operations
from orderhooks.db import DatabaseClock
from orderhooks.management import actor, lookup, times
from orderhooks.management.progress import JobCommand, sent_text
from orderhooks.models import Backfill
from orderhooks.models.backfills import DEFAULT_RATE
from orderhooks.reporting.counts import counted
from orderhooks.topics import UnknownTopicError


class Command(JobCommand):
    help = (
        "Sends one event for each order that is there already, as it is now, to one subscription only; workers send "
        "them. Shows how many orders there are, then the progress. Ctrl-C stops the display, not the backfill."
    )

    jobs = Backfill

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--to", metavar="sub_…", help="the id or name of the subscription")
        parser.add_argument("--since", metavar="WHEN", help=f"only orders dated since then: {times.FORMATS}")
        parser.add_argument("--topic", default="order.updated", help="the topic of the events; default: order.updated")
        parser.add_argument("--source", default="", help="the name of the order source, if there are several")
        parser.add_argument(
            "--rate", type=int, default=DEFAULT_RATE, help=f"at most this many orders a second; default: {DEFAULT_RATE}"
        )
        parser.add_argument("--dry-run", action="store_true", help="only count the orders")
        parser.add_argument("--no-wait", action="store_true", help="do not show the progress")
        parser.add_argument("--cancel", metavar="bfl_…", help="cancel this backfill")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["cancel"]:
            return self._cancel(options["cancel"])
        if not options["to"]:
            raise CommandError("Name the subscription with --to: its id or its name.")
        subscription = lookup.subscription(options["to"])
        selection: dict[str, Any] = {name: options[name] for name in ("topic", "source", "rate")}
        selection["since"] = times.parse(options["since"], now=DatabaseClock().now()) if options["since"] else None
        try:
            if options["dry_run"]:
                backfill = operations.preview_backfill(subscription, **selection)
            else:
                backfill = operations.backfill(subscription, **selection, by=actor.current())
        except (operations.BackfillError, UnknownTopicError) as error:
            raise CommandError(str(error)) from None
        orders = f"{orders_text(backfill)} to {subscription} as {backfill.topic}"
        if options["dry_run"]:
            return self.stdout.write(f"It would send {orders}.")
        self.stdout.write(f"{backfill.public_id}: sends {orders}, at most {backfill.rate} a second.")
        if not options["no_wait"]:
            self.watch(backfill)
        return None

    def _cancel(self, public_id: str) -> None:
        backfill = self.find(public_id)
        was_running = operations.cancel_backfill(backfill)
        backfill.refresh_from_db()
        how = "Cancelled" if was_running else f"It was already {backfill.state}"
        self.stdout.write(f"{how}; {counted(backfill.done, 'delivery', 'deliveries')} had been made.")

    def report_end(self, job: Any) -> None:
        done, failed = sent_text(job.done), counted(job.failed, "order", "orders")
        self.stdout.write(f"{job.get_state_display()}: {done}")
        if job.failed:
            self.stdout.write(self.style.WARNING(f"{failed} could not be read. {job.first_error}"))
        if job.error:
            raise CommandError(job.error)


def orders_text(backfill: Backfill) -> str:
    """`1,200 orders`; without a number if they were not counted."""
    if backfill.total is None:
        return f"the orders of the store {backfill.subscription.store}"
    return counted(backfill.total, "order", "orders")
