"""Events by ranges of their sequence, and deliveries by the same ranges: about a month in each.

Bounds in numbers, because the sequence is the events' primary key, and a delivery has its event's. The next ranges are
there before they begin; they get wider with the shop. What outgrows them all before the daily task runs is in the
partition of the others, and is pruned by rows.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connections, transaction

from orderhooks.db.locks import brief_transaction
from orderhooks.models import Delivery, Event
from orderhooks.models.events import EventQuerySet
from orderhooks.partitions import dividing
from orderhooks.partitions.by_month import BY_MONTH
from orderhooks.partitions.dividing import Division, exists, is_divided, parts, rows

__all__ = [
    "DELIVERIES",
    "EVENTS",
    "Range",
    "add_ranges",
    "are_ranged",
    "divide_by_range",
    "drop_deliveries",
    "drop_events",
    "first_young",
    "is_room_left",
    "old_ranges",
    "ranges",
]

EVENTS = Division(
    "orderhooks_event",
    by="sequence",
    key="sequence",
    unique={"public_id": "public_id"},
    indexes=[index.name for index in Event._meta.indexes],
)
DELIVERIES = Division(
    "orderhooks_delivery",
    by="event_id",
    key="id, event_id",
    unique={"public_id": "public_id"},
    whole="event_id, subscription_id",
    indexes=[index.name for index in Delivery._meta.indexes],
)
RANGES_AHEAD = 3
LEAST = 100_000
MONTH = timedelta(days=30)
BOUNDS = re.compile(r"FROM \((?:MINVALUE|'(\d+)')\) TO \('(\d+)'\)")
LAST = """
SELECT coalesce(pg_sequence_last_value(seqrelid::regclass), seqstart)
FROM pg_sequence WHERE seqrelid = pg_get_serial_sequence('orderhooks_event', 'sequence')::regclass
"""
FOREIGN_KEY = """
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype = 'f' AND conparentid = 0 AND conrelid = to_regclass(%s) AND confrelid = to_regclass(%s)
"""
WAITS = "SELECT 1 FROM {table} WHERE state = 'pending' UNION ALL SELECT 1 FROM {table} WHERE state = 'sending'"
IS_KEPT = "SELECT 1 FROM {table} WHERE state IN ('pending', 'sending') OR finished_at >= %s"
HAS_ATTEMPTS = "SELECT 1 FROM orderhooks_attempt a JOIN {table} d ON d.id = a.delivery_id"
HAS_EVENTS_TO_KEEP = "SELECT 1 FROM {table} WHERE routed_at IS NULL OR routed_at >= %s"


@dataclass(frozen=True, slots=True)
class Range:
    """A partition: its table, the first sequence in it, and the end, which is not in it."""

    table: str
    begins_at: int
    ends_at: int

    def events(self) -> EventQuerySet:
        return Event.objects.filter(pk__gte=self.begins_at, pk__lt=self.ends_at)


def are_ranged() -> bool:
    """Whether the tables of events and deliveries are divided."""
    return is_divided(EVENTS.table, Event.objects.db)


def ranges(division: Division) -> list[Range]:
    """The partitions of events or of deliveries, but for the one of the others, the oldest first."""
    numbers = [(table, BOUNDS.search(bounds)) for table, bounds in parts(division, Event.objects.db)]
    found = [Range(table, int(bounds[1] or 0), int(bounds[2])) for table, bounds in numbers if bounds]
    return sorted(found, key=lambda one: one.ends_at)


def old_ranges(division: Division, *, before: datetime) -> list[Range]:
    """Those that are full, and whose last event occurred before, the oldest first."""
    last = _last(Event.objects.db)
    full = [one for one in ranges(division) if one.ends_at <= last]
    return [one for one in full if (at := _newest(one)) is None or at < before]


def first_young(division: Division, *, before: datetime) -> int | None:
    """Where the first range begins whose last event did not occur before. None: there is none."""
    for one in ranges(division):
        if (at := _newest(one)) is not None and at >= before:
            return one.begins_at
    return None


def _newest(part: Range) -> datetime | None:
    """When the last event of a range occurred. None: it has no events."""
    return part.events().order_by("-pk").values_list("occurred_at", flat=True).first()


def divide_by_range(*, now: datetime) -> None:
    """Make the tables of events and deliveries partitioned ones. Nobody can use them until this has read them through.

    Raises the errors of `by_month.divide`, but for the IntegrityError.
    """
    using = Event.objects.db
    quote = connections[using].ops.quote_name
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        dividing.lock_briefly(cursor, EVENTS.table, DELIVERIES.table, BY_MONTH.table)
        # A delivery's id is unique, by its sequence; a divided table has no index to prove it, as this key needs.
        for name, _definition in rows(cursor, FOREIGN_KEY, [BY_MONTH.table, DELIVERIES.table]):
            cursor.execute(f"ALTER TABLE {BY_MONTH.table} DROP CONSTRAINT {quote(name)}")
        [(key, definition)] = rows(cursor, FOREIGN_KEY, [DELIVERIES.table, EVENTS.table])
        cursor.execute(f"ALTER TABLE {DELIVERIES.table} DROP CONSTRAINT {quote(key)}")
        width = _width(now)
        bound = f"{_last(using) // width * width + width}"
        for division in (EVENTS, DELIVERIES):
            dividing.divide(division, bound=bound, using=using)
        cursor.execute(f"ALTER TABLE {DELIVERIES.table} ADD CONSTRAINT {quote(key)} {definition}")
        add_ranges(now=now)


def is_room_left() -> bool:
    """Whether the next event is in a range, not among the others."""
    return _last(Event.objects.db) < max((one.ends_at for one in ranges(EVENTS)), default=0)


def add_ranges(*, now: datetime) -> list[str]:
    """Make the partitions of the next months, of events and of deliveries. Returns the tables of both.

    Raises an OperationalError for which `locks.is_lock_timeout` is true if somebody keeps a table locked.
    """
    using = Event.objects.db
    width, last = _width(now), _last(using)
    # Of either: what is old of the one may be gone.
    begins_at = max((one.ends_at for division in (EVENTS, DELIVERIES) for one in ranges(division)), default=0)
    if begins_at <= last:
        # What is among the others stays there, and what comes until this is done.
        begins_at = (last // LEAST + 2) * LEAST
    added: list[str] = []
    while begins_at <= last + (RANGES_AHEAD - 1) * width:
        added += _add(begins_at, begins_at + width, using)
        begins_at += width
    return added


def _add(begins_at: int, ends_at: int, using: str) -> list[str]:
    """The tables that it made; none if another process has meanwhile."""
    made = []
    with brief_transaction(using), connections[using].cursor() as cursor:
        for division in (EVENTS, DELIVERIES):
            # One process at a time. See Note [Order of locks].
            cursor.execute(f"LOCK TABLE ONLY {division.table} IN SHARE ROW EXCLUSIVE MODE")
            cursor.execute(f"LOCK TABLE {division.others} IN ACCESS EXCLUSIVE MODE")
        for division in (EVENTS, DELIVERIES):
            name = f"{division.table}_{begins_at}"
            if exists(cursor, name):
                return []
            dividing.create(division, name, begin=f"{begins_at}", end=f"{ends_at}", using=using)
            made.append(name)
    return made


def _last(using: str) -> int:
    with connections[using].cursor() as cursor:
        [(last,)] = rows(cursor, LAST)
    return int(last)


def _width(now: datetime) -> int:
    """About as many events as there are in a month, of those that are kept: 1, 2 or 5 with zeros. Those of less than a
    month are not taken for its pace: they may be a backfill, and a range that never gets full is never dropped.
    """
    oldest, newest = (Event.objects.only("occurred_at").order_by(by).first() for by in ("pk", "-pk"))
    monthly = float(LEAST)
    if oldest is not None and newest is not None:
        months = max((now - oldest.occurred_at) / MONTH, 1.0)
        monthly = max(monthly, (newest.pk - oldest.pk) / months)
    step: int = 10 ** int(math.log10(monthly))
    return next(times * step for times in (1, 2, 5, 10) if times * step >= monthly)


def drop_deliveries(part: Range, *, before: datetime) -> bool:
    """Drop a partition of deliveries, unless one waits or ended since, or has attempts left. Returns whether it did.

    Raises an OperationalError for which `locks.is_lock_timeout` is true if somebody keeps the table locked.
    """
    using = Delivery.objects.db
    table = connections[using].ops.quote_name(part.table)
    with connections[using].cursor() as cursor:
        if rows(cursor, f"{IS_KEPT.format(table=table)} LIMIT 1", [before]):
            return False
        if rows(cursor, f"{HAS_ATTEMPTS.format(table=table)} LIMIT 1"):
            return False
    with brief_transaction(using), connections[using].cursor() as cursor:
        # See Note [Order of locks].
        cursor.execute(f"LOCK TABLE ONLY {EVENTS.table}, ONLY {DELIVERIES.table}, {table} IN ACCESS EXCLUSIVE MODE")
        # Meanwhile somebody may have redelivered one.
        if rows(cursor, f"{WAITS.format(table=table)} LIMIT 1"):
            return False
        cursor.execute(f"DROP TABLE {table}")
    return True


def drop_events(part: Range, *, before: datetime, count: Callable[[], None]) -> bool:
    """Drop a partition of events that has no deliveries, unless one was routed since or never. Returns whether it did.

    `count`: called in the transaction, before they go.

    Raises an OperationalError for which `locks.is_lock_timeout` is true if somebody keeps the table locked.
    """
    using = Event.objects.db
    table = connections[using].ops.quote_name(part.table)
    if Delivery.objects.filter(event__gte=part.begins_at, event__lt=part.ends_at).exists():
        return False
    with connections[using].cursor() as cursor:
        if rows(cursor, f"{HAS_EVENTS_TO_KEEP.format(table=table)} LIMIT 1", [before]):
            return False
    with brief_transaction(using), connections[using].cursor() as cursor:
        # See Note [Order of locks].
        cursor.execute(f"LOCK TABLE ONLY {EVENTS.table}, ONLY {DELIVERIES.table}, {table} IN ACCESS EXCLUSIVE MODE")
        count()
        # It is refused if a delivery was made meanwhile.
        cursor.execute(f"ALTER TABLE {EVENTS.table} DETACH PARTITION {table}")
        cursor.execute(f"DROP TABLE {table}")
    return True
