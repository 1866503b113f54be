"""`manage.py orderhooks_prune`: delete records that are finished and older than RETENTION_DAYS."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from orderhooks import retention, retention_periods
from orderhooks.reporting.counts import count_text


class Command(BaseCommand):
    help = (
        "Deletes finished deliveries with their attempts, events without deliveries, receipts and other records, if "
        "they are older than ORDERHOOKS['RETENTION_DAYS'] allows for their kind. It works in small batches and may run "
        "at any time. A worker does the same once a day."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=float, help="keep all kinds this many days instead of RETENTION_DAYS")

    def handle(self, *args: Any, days: float | None, **options: Any) -> None:
        if days is not None and not 0 <= days <= 36500:
            raise CommandError("--days takes a number from 0 to 36500.")
        periods = retention_periods.current() if days is None else retention_periods.of(days)
        now = timezone.now()
        before = retention.whole_months(periods.cutoffs(now=now))
        for table in retention.keep_partitions(now=now, before=before):
            self.stdout.write(f"Dropped {table} with all that was in it.")
        rows = 0
        while done := retention.prune(before=before):
            rows += done
        self.stdout.write(
            f"Deleted {count_text(rows)} deliveries, events and other records. The oldest deliveries that are kept are "
            f"of {before['deliveries']:%Y-%m-%d %H:%M %Z}."
        )
