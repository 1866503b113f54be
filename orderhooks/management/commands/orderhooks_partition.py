"""`manage.py orderhooks_partition`: divide the table of attempts by month, on PostgreSQL."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError, OperationalError, ProgrammingError, connections

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
        is_divided, added = partitions.are_used(), []
        try:
            if is_divided:
                added = partitions.add_months(now=now)
            else:
                partitions.divide(now=now)
        except partitions.ObstacleError as error:
            raise CommandError(
                f"These are on the table of attempts, and would stay with a part of it: {error}. Drop them, run this, "
                "and make them again on the divided table; nothing was changed."
            ) from error
        except OperationalError as error:
            if not is_lock_timeout(error):
                raise
            raise CommandError(
                "Somebody keeps the table of attempts locked. Stop the workers and run this again; nothing was changed."
            ) from error
        except ProgrammingError as error:
            raise CommandError(
                f"{_sentence(error)} The database's user has to own the tables of orderhooks, and to have the right to "
                "create tables in their schema: GRANT CREATE ON SCHEMA … TO …; nothing was changed."
            ) from error
        except IntegrityError as error:
            raise CommandError(
                f"{_sentence(error)} There are attempts of a later month: the clock of a host was wrong. "
                "Delete them, or run this again once that month has begun; nothing was changed."
            ) from error
        self.stdout.write(f"The attempts are divided by month{' already' if is_divided else ''}:")
        for month in partitions.months():
            new = " (new)" if month.table in added else ""
            self.stdout.write(f"  {month.table}, until {month.ends_at:%Y-%m-%d}{new}")
        self.stdout.write(f"  {partitions.OTHERS}, for all other times")


def _sentence(error: Exception) -> str:
    return f"{str(error).strip().rstrip('.')}."
