"""Partitions: the table of attempts divided by month, on PostgreSQL, so that old ones go as a table, with its space.

`manage.py orderhooks_partition` divides it; `retention` drops what is old and adds the months to come.

# Note [Attempts by month]
Attempts are most of what is stored, and no table refers to them. Deliveries and events stay in one table each: that an
event is delivered to a subscription once has to hold over all months, and a partitioned table has no such index.

The table that was there becomes the first partition, as it is; no row is copied. A month has its partition before it
begins. Attempts of a month without one are in the partition of the others, until `add_months` makes one and moves them:
a daily task that does not run stops nothing.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connections, transaction

from orderhooks.db.locks import brief_transaction
from orderhooks.models import Attempt

__all__ = ["Month", "add_months", "are_used", "divide", "drop", "month_of", "months"]

TABLE = "orderhooks_attempt"
FIRST = f"{TABLE}_first"
OTHERS = f"{TABLE}_others"
MONTHS_AHEAD = 3
# For the lock on a table that workers write to.
LOCK_SECONDS = 10
MONTH = timedelta(days=31)
KIND = "SELECT relkind::text FROM pg_class WHERE oid = to_regclass(%s)"
PARTITIONS = """
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid)
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(%s) ORDER BY c.relname
"""
SCHEMA_AND_OWNER = """
SELECT n.nspname, pg_get_userbyid(c.relowner) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass(%s)
"""
GRANTS = """
SELECT coalesce(r.rolname, ''), a.privilege_type, a.is_grantable
FROM pg_class c CROSS JOIN aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE c.oid = to_regclass(%s) AND a.grantee <> c.relowner
"""
CONSTRAINTS = """
SELECT conname, contype::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = to_regclass(%s)
"""
NEXT_ID = "SELECT nextval(pg_get_serial_sequence(%s, 'id'))"
LIKE = "INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING COMMENTS"


@dataclass(frozen=True, slots=True)
class Month:
    """A partition: its table, and the end of its time, which is not in it."""

    table: str
    ends_at: datetime


def are_used() -> bool:
    """Whether the table of attempts is divided."""
    connection = connections[Attempt.objects.db]
    if connection.vendor != "postgresql":
        return False
    with connection.cursor() as cursor:
        cursor.execute(KIND, [TABLE])
        return bool(cursor.fetchall() == [("p",)])


def months() -> list[Month]:
    """The partitions that end, the oldest first."""
    found = []
    with connections[Attempt.objects.db].cursor() as cursor:
        cursor.execute(PARTITIONS, [TABLE])
        for table, bound in cursor.fetchall():
            if end := re.search(r"TO \('(.+?)'\)", bound):
                ends_at = datetime.fromisoformat(end[1])
                found.append(Month(table, ends_at if ends_at.tzinfo else ends_at.replace(tzinfo=UTC)))
    return sorted(found, key=lambda month: month.ends_at)


def month_of(at: datetime) -> datetime:
    """When the month of a time begins, in UTC."""
    return at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def divide(*, now: datetime) -> None:
    """Make the table of attempts a partitioned one. Nobody can use it until this has read it through.

    Raises:
        OperationalError: somebody keeps it locked; `locks.is_lock_timeout` is true.
        IntegrityError: an attempt is of a later month.
    """
    using = Attempt.objects.db
    quote = connections[using].ops.quote_name
    ends_at = month_of(month_of(now) + MONTH)
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        cursor.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
        cursor.execute(SCHEMA_AND_OWNER, [TABLE])
        [(schema, owner)] = cursor.fetchall()
        table, first = f"{quote(schema)}.{TABLE}", f"{quote(schema)}.{FIRST}"
        cursor.execute(GRANTS, [TABLE])
        grants = cursor.fetchall()
        cursor.execute(CONSTRAINTS, [TABLE])
        constraints = cursor.fetchall()
        cursor.execute(NEXT_ID, [TABLE])
        [next_id] = cursor.fetchone()
        for statement in (
            f"ALTER TABLE {table} RENAME TO {FIRST}",
            f"ALTER TABLE {first} ALTER COLUMN id DROP IDENTITY IF EXISTS",
            *_of_first(first, constraints, quote),
            f"CREATE TABLE {table} (LIKE {first} {LIKE}, PRIMARY KEY (id, started_at)) PARTITION BY RANGE (started_at)",
            f"ALTER TABLE {table} OWNER TO {quote(owner)}",
            f"ALTER TABLE {table} ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (START WITH {next_id})",
            *(
                f"ALTER TABLE {table} ADD CONSTRAINT {quote(name)} {definition}"
                for name, kind, definition in constraints
                if kind == "f"
            ),
            *_granting(table, grants, quote),
            f"ALTER TABLE {table} ATTACH PARTITION {first} FOR VALUES FROM (MINVALUE) TO ('{ends_at:%Y-%m-%d}+00')",
            f"CREATE TABLE {quote(schema)}.{OTHERS} PARTITION OF {table} "
            f"(CONSTRAINT {OTHERS}_number UNIQUE (delivery_id, number)) DEFAULT",
        ):
            cursor.execute(statement)
        add_months(now=now)


def _of_first(first: str, constraints: Sequence[tuple[str, str, str]], quote: Any) -> Iterator[str]:
    """Names that are the whole table's, or no one's, from now on; and the key that all partitions have."""
    for name, kind, _definition in constraints:
        if kind == "p":
            yield f"ALTER TABLE {first} DROP CONSTRAINT {quote(name)}"
            yield f"ALTER TABLE {first} ADD CONSTRAINT {FIRST}_pkey PRIMARY KEY (id, started_at)"
        elif kind == "u":
            yield f"ALTER TABLE {first} RENAME CONSTRAINT {quote(name)} TO {FIRST}_number"


def _granting(table: str, grants: Sequence[tuple[str, str, bool]], quote: Any) -> Iterator[str]:
    for role, privilege, is_grantable in grants:
        option = " WITH GRANT OPTION" if is_grantable else ""
        yield f"GRANT {privilege} ON {table} TO {quote(role) if role else 'PUBLIC'}{option}"


def add_months(*, now: datetime) -> list[str]:
    """Make the partitions of this month and the next ones that are missing. Returns their tables.

    Raises an OperationalError for which `locks.is_lock_timeout` is true if somebody keeps the table locked.
    """
    using = Attempt.objects.db
    quote = connections[using].ops.quote_name
    found = months()
    begins_at = max([month_of(now), *(month.ends_at for month in found if month.table == FIRST)])
    there = {month.ends_at for month in found}
    added = []
    while begins_at <= month_of(now) + MONTHS_AHEAD * MONTH:
        ends_at = month_of(begins_at + MONTH)
        if ends_at not in there:
            added.append(_add(begins_at, ends_at, using, quote))
        begins_at = ends_at
    return added


def _add(begins_at: datetime, ends_at: datetime, using: str, quote: Any) -> str:
    name = f"{TABLE}_{begins_at:%Y_%m}"
    begin, end = (f"'{at:%Y-%m-%d}+00'" for at in (begins_at, ends_at))
    inside = f"started_at >= {begin} AND started_at < {end}"
    with brief_transaction(using), connections[using].cursor() as cursor:
        cursor.execute(SCHEMA_AND_OWNER, [TABLE])
        [(schema, owner)] = cursor.fetchall()
        table, month, others = (f"{quote(schema)}.{one}" for one in (TABLE, name, OTHERS))
        for statement in (
            f"CREATE TABLE {month} (LIKE {table} {LIKE})",
            f"ALTER TABLE {month} OWNER TO {quote(owner)}",
            f"WITH moved AS (DELETE FROM {others} WHERE {inside} RETURNING *) "  # noqa: S608 - made of names
            f"INSERT INTO {month} SELECT * FROM moved",
            f"ALTER TABLE {month} ADD CONSTRAINT {name}_number UNIQUE (delivery_id, number)",
            f"ALTER TABLE {table} ATTACH PARTITION {month} FOR VALUES FROM ({begin}) TO ({end})",
        ):
            cursor.execute(statement)
    return name


def drop(month: Month) -> bool:
    """Drop a partition with its attempts, unless one is of a delivery that waits. Returns whether it did.

    Raises an OperationalError for which `locks.is_lock_timeout` is true if somebody keeps the table locked.
    """
    using = Attempt.objects.db
    table = connections[using].ops.quote_name(month.table)
    with brief_transaction(using), connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT EXISTS (SELECT 1 FROM {table} a JOIN orderhooks_delivery d ON d.id = a.delivery_id "  # noqa: S608 - made of names
            "WHERE d.state IN ('pending', 'sending'))"
        )
        [is_needed] = cursor.fetchone()
        if not is_needed:
            cursor.execute(f"DROP TABLE {table}")
    return not is_needed
