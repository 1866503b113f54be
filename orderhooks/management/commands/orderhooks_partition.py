"""`manage.py orderhooks_partition`: divide the table of attempts by month, on PostgreSQL."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError, OperationalError, connections

from orderhooks import partitions
from orderhooks.db import DatabaseClock
from orderhooks.db.locks import is_lock_timeout
from orderhooks.models import Attempt


class Command(BaseCommand):
    help = (
        "Divides the table of attempts by month, so that retention drops a month at a time (PostgreSQL). "
        "Stop the workers first: the table is locked while it is read through. Orders are saved all the same. "
        "Where it is divided already, the months that are missing are made."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if connections[Attempt.objects.db].vendor != "postgresql":
            raise CommandError("Only PostgreSQL divides tables so that they can be dropped in parts.")
        now = DatabaseClock().now()
        try:
            if partitions.are_used():
                partitions.add_months(now=now)
            else:
                partitions.divide(now=now)
        except OperationalError as error:
            if not is_lock_timeout(error):
                raise
            raise CommandError(
                "Somebody keeps the table of attempts locked. Stop the workers and run this again; nothing was changed."
            ) from error
        except IntegrityError as error:
            raise CommandError(
                f"{str(error).strip()} There are attempts of a later month: the clock of a host was wrong. "
                "Delete them, or run this again once that month has begun; nothing was changed."
            ) from error
        self.stdout.write("The attempts are divided by month:")
        for month in partitions.months():
            self.stdout.write(f"  {month.table}, until {month.ends_at:%Y-%m-%d}")
        self.stdout.write(f"  {partitions.OTHERS}, for all other times")
