"""`manage.py orderhooks_prune`: delete what is finished and older than RETENTION_DAYS."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from orderhooks import conf, retention


class Command(BaseCommand):
    help = (
        "Deletes finished deliveries with their attempts, events that nobody is owed, and receipts, if they are older "
        "than ORDERHOOKS['RETENTION_DAYS']. Works in small batches beside everything else; a worker does it each day."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=float, help="keep so many days in place of RETENTION_DAYS")

    def handle(self, *args: Any, days: float | None, **options: Any) -> None:
        kept = conf.current().retention_days if days is None else days
        if not 0 <= kept <= 36500:
            raise CommandError("--days takes a number from 0 to 36500.")
        before = timezone.now() - timedelta(days=kept)
        rows = 0
        while gone := retention.prune(before=before):
            rows += gone
        self.stdout.write(f"Deleted {rows} deliveries, events and receipts from before {before:%Y-%m-%d %H:%M %Z}.")
