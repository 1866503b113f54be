"""Attempts by month. A month has its partition before it begins.

Attempts of a month without one are in the partition of the others, until `add_months` makes one and moves them: a daily
task that does not run stops nothing.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import connections, transaction

from orderhooks.db.locks import brief_transaction
from orderhooks.models import Attempt
from orderhooks.partitions import dividing
from orderhooks.partitions.dividing import Division, exists, is_divided, parts, rows

__all__ = [
    "BY_MONTH",
    "Month",
    "add_months",
    "are_used",
    "divide",
    "drop",
    "missing_months",
    "month_of",
    "months",
]

BY_MONTH = Division(
    "orderhooks_attempt", by="started_at", key="id, started_at", unique={"number": "delivery_id, number"}
)
# Their foreign key refers to it, as long as it is not divided.
DELIVERIES = "orderhooks_delivery"
MONTHS_AHEAD = 3
# Attempts that came while nothing made months get theirs for so long.
MONTHS_BACK = 12
MONTH = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class Month:
    """A partition: its table, and the end of its time, which is not in it."""

    table: str
    ends_at: datetime


def are_used() -> bool:
    """Whether the table of attempts is divided."""
    return is_divided(BY_MONTH.table, Attempt.objects.db)


def months() -> list[Month]:
    """The partitions that end, the oldest first."""
    found = []
    for table, bounds in parts(BY_MONTH, Attempt.objects.db):
        if end := re.search(r"TO \('(.+?)'\)", bounds):
            ends_at = datetime.fromisoformat(end[1])
            ends_at = ends_at if ends_at.tzinfo else ends_at.replace(tzinfo=UTC)
            # The connection's time zone may be any.
            found.append(Month(table, ends_at.astimezone(UTC)))
    return sorted(found, key=lambda month: month.ends_at)


def missing_months(*, now: datetime) -> list[datetime]:
    """When the months begin that should have a partition by now and have none: this one, and the next ones but for the
    last that `add_months` makes, which is a day's work.
    """
    found = months()
    there = {month.ends_at for month in found}
    first = max((month.ends_at for month in found if month.table == BY_MONTH.first), default=month_of(now))
    begins_at, missing = month_of(now), []
    while begins_at <= month_of(now) + (MONTHS_AHEAD - 1) * MONTH:
        ends_at = month_of(begins_at + MONTH)
        if ends_at not in there and ends_at > first:
            missing.append(begins_at)
        begins_at = ends_at
    return missing


def month_of(at: datetime) -> datetime:
    """When the month of a time begins, in UTC."""
    return at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def divide(*, now: datetime) -> None:
    """Make the table of attempts a partitioned one. Nobody can use it until this has read it through.

    Raises:
        ObstacleError: a view, an index or the like of the store's own is on the table.
        OperationalError: somebody keeps it locked; `locks.is_lock_timeout` is true.
        IntegrityError: an attempt is of a later month.
        ProgrammingError: the database's user does not own the table, or may not create any in its schema.
    """
    using = Attempt.objects.db
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        dividing.lock_briefly(cursor, BY_MONTH.table)
        dividing.divide(BY_MONTH, bound=_bound(month_of(month_of(now) + MONTH)), using=using)
        add_months(now=now)


def add_months(*, now: datetime) -> list[str]:
    """Make the partitions that are missing: of this month, of the next ones, and of past ones whose attempts have none.
    Returns their tables.

    Raises an OperationalError for which `locks.is_lock_timeout` is true if somebody keeps the table locked.
    """
    using = Attempt.objects.db
    found = months()
    begins_at = max([_earliest(now, using), *(month.ends_at for month in found if month.table == BY_MONTH.first)])
    there = {month.ends_at for month in found}
    added = []
    while begins_at <= month_of(now) + MONTHS_AHEAD * MONTH:
        ends_at = month_of(begins_at + MONTH)
        if ends_at not in there and _add(begins_at, ends_at, using):
            added.append(_name_of(begins_at))
        begins_at = ends_at
    return added


def _earliest(now: datetime, using: str) -> datetime:
    """The first month that attempts need: this one, or an earlier one of attempts that are among the others."""
    oldest = month_of(month_of(now) - (MONTHS_BACK - 1) * MONTH)
    with connections[using].cursor() as cursor:
        [(earliest,)] = rows(
            cursor,
            f"SELECT min(started_at) FROM {BY_MONTH.others} WHERE started_at >= %s",  # noqa: S608 - a name of ours
            [oldest],
        )
    return min(month_of(now), month_of(earliest or now))


def _name_of(begins_at: datetime) -> str:
    return f"{BY_MONTH.table}_{begins_at:%Y_%m}"


def _bound(at: datetime) -> str:
    return f"'{at:%Y-%m-%d}+00'"


def _add(begins_at: datetime, ends_at: datetime, using: str) -> bool:
    """Whether it made the month; False if another process has meanwhile."""
    name, begin, end = _name_of(begins_at), _bound(begins_at), _bound(ends_at)
    with brief_transaction(using), connections[using].cursor() as cursor:
        # Workers would put attempts of this month there again, so they wait before PostgreSQL chooses where a row goes.
        # And one process at a time. See Note [Order of locks].
        cursor.execute(f"LOCK TABLE ONLY {DELIVERIES}, ONLY {BY_MONTH.table} IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute(f"LOCK TABLE {BY_MONTH.others} IN ACCESS EXCLUSIVE MODE")
        if exists(cursor, name):
            return False
        inside = f"started_at >= {begin} AND started_at < {end}"
        dividing.create(BY_MONTH, name, begin=begin, end=end, using=using, moving=inside)
    return True


def drop(month: Month) -> bool:
    """Drop a partition with its attempts, unless one is of a delivery that waits. Returns whether it did.

    Raises an OperationalError for which `locks.is_lock_timeout` is true if somebody keeps the table locked.
    """
    using = Attempt.objects.db
    table = connections[using].ops.quote_name(month.table)
    with brief_transaction(using), connections[using].cursor() as cursor:
        [(is_needed,)] = rows(
            cursor,
            f"SELECT EXISTS (SELECT 1 FROM {table} a JOIN {DELIVERIES} d ON d.id = a.delivery_id "  # noqa: S608 - made of names
            "WHERE d.state IN ('pending', 'sending'))",
        )
        if not is_needed:
            # See Note [Order of locks].
            cursor.execute(f"LOCK TABLE ONLY {DELIVERIES}, ONLY {BY_MONTH.table} IN ACCESS EXCLUSIVE MODE")
            cursor.execute(f"DROP TABLE {table}")
    return not is_needed
