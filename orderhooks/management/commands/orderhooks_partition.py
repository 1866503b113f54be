"""`manage.py orderhooks_partition`: divide the tables that grow, on PostgreSQL."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError, OperationalError, ProgrammingError, connections

from orderhooks import partitions
from orderhooks.db import DatabaseClock
from orderhooks.db.locks import is_lock_timeout
from orderhooks.models import Attempt

NOTHING_CHANGED = "What is not divided yet was not changed."


class Command(BaseCommand):
    help = (
        "Divides the table of attempts by month, so that retention drops a month at a time (PostgreSQL). "
        "Stop the workers first: the table is locked while it is read through. Orders are saved all the same. "
        "Where it is divided already, the partitions that are missing are made."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--events",
            action="store_true",
            help="also divide the tables of events and deliveries. Saves of orders wait until that is done",
        )

    def handle(self, *args: Any, events: bool, **options: Any) -> None:
        if connections[Attempt.objects.db].vendor != "postgresql":
            raise CommandError("Only PostgreSQL divides tables so that they can be dropped in parts.")
        now = DatabaseClock().now()
        try:
            lines = [*_by_month(now), *(_by_sequence(now) if events or partitions.are_ranged() else ())]
        except partitions.ObstacleError as error:
            raise CommandError(
                f"What you have made on the table {error.table} would stay with a part of it: {error}. Drop it, run "
                f"this, and make it again on the divided table. {NOTHING_CHANGED}"
            ) from error
        except OperationalError as error:
            if not is_lock_timeout(error):
                raise
            raise CommandError(
                f"Somebody keeps a table locked. Stop the workers and run this again. {NOTHING_CHANGED}"
            ) from error
        except ProgrammingError as error:
            raise CommandError(
                f"{_sentence(error)} The database's user has to own the tables of orderhooks, and to have the right to "
                f"create tables in their schema: GRANT CREATE ON SCHEMA … TO …. {NOTHING_CHANGED}"
            ) from error
        except IntegrityError as error:
            raise CommandError(
                f"{_sentence(error)} There are attempts of a later month: the clock of a host was wrong. "
                f"Delete them, or run this again once that month has begun. {NOTHING_CHANGED}"
            ) from error
        for line in lines:
            self.stdout.write(line)


def _by_month(now: datetime) -> Iterator[str]:
    is_divided, added = partitions.are_used(), []
    if is_divided:
        added = partitions.add_months(now=now)
    else:
        partitions.divide(now=now)
    yield f"The attempts are divided by month{' already' if is_divided else ''}:"
    for month in partitions.months():
        yield f"  {month.table}, until {month.ends_at:%Y-%m-%d}{' (new)' if month.table in added else ''}"
    yield "  orderhooks_attempt_others, for all other times"


def _by_sequence(now: datetime) -> Iterator[str]:
    is_divided, added = partitions.are_ranged(), []
    if is_divided:
        added = partitions.add_ranges(now=now)
    else:
        partitions.divide_by_range(now=now)
    yield f"The events and their deliveries are divided by sequence{' already' if is_divided else ''}:"
    for division in (partitions.EVENTS, partitions.DELIVERIES):
        for part in partitions.ranges(division):
            yield f"  {part.table}, before {part.ends_at:,}{' (new)' if part.table in added else ''}"
        yield f"  {division.others}, for all others"


def _sentence(error: Exception) -> str:
    return f"{str(error).strip().rstrip('.')}."
