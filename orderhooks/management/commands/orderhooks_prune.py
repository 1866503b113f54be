"""`manage.py orderhooks_prune`: delete records that are finished and older than RETENTION_DAYS."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from orderhooks import conf, retention
from orderhooks.reporting.counts import count_text


class Command(BaseCommand):
    help = (
        "Deletes finished deliveries with their attempts, events without open deliveries, and receipts, if they are "
        "older than ORDERHOOKS['RETENTION_DAYS']. It works in small batches and may run at any time. A worker does the "
        "same once a day."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=float, help="keep this many days instead of RETENTION_DAYS")

    def handle(self, *args: Any, days: float | None, **options: Any) -> None:
        kept = conf.current().retention_days if days is None else days
        if not 0 <= kept <= 36500:
            raise CommandError("--days takes a number from 0 to 36500.")
        before = timezone.now() - timedelta(days=kept)
        rows = 0
        while deleted := retention.prune(before=before):
            rows += deleted
        self.stdout.write(
            f"Deleted {count_text(rows)} deliveries, events and receipts from before {before:%Y-%m-%d %H:%M %Z}."
        )
