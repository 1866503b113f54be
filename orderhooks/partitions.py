"""Partitions: the table of attempts divided by month, on PostgreSQL, so that old ones go as a table, with its space.

`manage.py orderhooks_partition` divides it; `retention` drops what is old and adds the months to come.

# Note [Attempts by month]
Attempts are most of what is stored, and no table refers to them. Deliveries and events stay in one table each: that an
event is delivered to a subscription once has to hold over all months, and a partitioned table has no such index.

The table that was there becomes the first partition, as it is; no row is copied. What a store has made on it, such as
a view, would go on with that part alone, so `divide` refuses to. A month has its partition before it begins. Attempts
of a month without one are in the partition of the others, until `add_months` makes one and moves them: a daily task
that does not run stops nothing.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connections, transaction

from orderhooks.db.locks import brief_transaction
from orderhooks.models import Attempt

__all__ = ["Month", "ObstacleError", "add_months", "are_used", "divide", "drop", "missing_months", "month_of", "months"]

TABLE = "orderhooks_attempt"
# The one unique constraint that Attempt has.
NUMBER = f"{TABLE}_number"
FIRST = f"{TABLE}_first"
OTHERS = f"{TABLE}_others"
MONTHS_AHEAD = 3
# Attempts that came while nothing made months get theirs for so long.
MONTHS_BACK = 12
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
# Of the whole table or sequence, and of single columns.
GRANTS = """
SELECT coalesce(quote_ident(r.rolname), 'PUBLIC'), privilege_type, is_grantable, quote_ident(name)
FROM (
    SELECT relowner AS owner, NULL::name AS name, (aclexplode(relacl)).*
    FROM pg_class WHERE oid = to_regclass(%(table)s)
    UNION ALL
    SELECT c.relowner, a.attname, (aclexplode(a.attacl)).*
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.oid = to_regclass(%(table)s) AND a.attnum > 0
) granted LEFT JOIN pg_roles r ON r.oid = grantee
WHERE grantee <> owner
"""
OPTIONS = "SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = to_regclass(%s)"
# What a store has made on the table, and what would stay with the first partition.
OBSTACLES = """
WITH the AS (SELECT to_regclass(%(table)s)::oid AS id)
SELECT DISTINCT 'the view ' || r.ev_class::regclass FROM the
JOIN pg_depend d ON d.refobjid = the.id AND d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_rewrite'::regclass
JOIN pg_rewrite r ON r.oid = d.objid WHERE r.ev_class <> the.id
UNION ALL SELECT 'the foreign key ' || quote_ident(conname) || ' of ' || conrelid::regclass
    FROM the JOIN pg_constraint ON confrelid = the.id AND contype = 'f'
UNION ALL SELECT 'the constraint ' || quote_ident(conname) FROM the JOIN pg_constraint ON conrelid = the.id
    WHERE contype IN ('u', 'x') AND conname <> %(number)s
UNION ALL SELECT 'the index ' || indexrelid::regclass FROM the JOIN pg_index ON indrelid = the.id
    WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND conrelid = the.id)
UNION ALL SELECT 'the trigger ' || quote_ident(tgname) FROM the JOIN pg_trigger ON tgrelid = the.id
    WHERE NOT tgisinternal
UNION ALL SELECT 'the policy ' || quote_ident(polname) FROM the JOIN pg_policy ON polrelid = the.id
UNION ALL SELECT 'row level security' FROM the JOIN pg_class ON oid = the.id WHERE relrowsecurity
UNION ALL SELECT 'the publication ' || quote_ident(pubname) FROM the
    JOIN pg_publication_rel ON prrelid = the.id JOIN pg_publication ON pg_publication.oid = prpubid
ORDER BY 1
"""
CONSTRAINTS = """
SELECT conname, contype::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = to_regclass(%s)
"""
SEQUENCE = "SELECT pg_get_serial_sequence(%s, 'id')"
LIKE = "INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING COMMENTS"


class ObstacleError(ValueError):
    """What a store has made on the table would not be on the divided one. The message names it."""


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
    first = max((month.ends_at for month in found if month.table == FIRST), default=month_of(now))
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
    quote = connections[using].ops.quote_name
    ends_at = month_of(month_of(now) + MONTH)
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
        if obstacles := [text for (text,) in _rows(cursor, OBSTACLES, {"table": TABLE, "number": NUMBER})]:
            raise ObstacleError(", ".join(obstacles))
        [(schema, owner)] = _rows(cursor, SCHEMA_AND_OWNER, [TABLE])
        table, first, others = (f"{quote(schema)}.{name}" for name in (TABLE, FIRST, OTHERS))
        [(sequence,)] = _rows(cursor, SEQUENCE, [TABLE])
        [(next_id,)] = _rows(cursor, "SELECT nextval(%s)", [sequence])
        rights, rights_on_sequence = _rights(cursor, TABLE), _rights(cursor, sequence)
        constraints = _rows(cursor, CONSTRAINTS, [TABLE])
        [(options,)] = _rows(cursor, OPTIONS, [TABLE])
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
            f"ALTER TABLE {table} ATTACH PARTITION {first} FOR VALUES FROM (MINVALUE) TO ('{ends_at:%Y-%m-%d}+00')",
            f"CREATE TABLE {others} PARTITION OF {table} "
            f"(CONSTRAINT {OTHERS}_number UNIQUE (delivery_id, number)) DEFAULT",
            f"ALTER TABLE {others} OWNER TO {quote(owner)}",
            *([f"ALTER TABLE {others} SET ({options})"] if options else ()),
            *(statement for onto in (table, others) for statement in _granting(onto, rights)),
        ):
            cursor.execute(statement)
        [(sequence,)] = _rows(cursor, SEQUENCE, [TABLE])
        for statement in _granting(f"SEQUENCE {sequence}", rights_on_sequence):
            cursor.execute(statement)
        add_months(now=now)


def _rows(cursor: Any, query: str, parameters: Any) -> list[Any]:
    cursor.execute(query, parameters)
    return list(cursor.fetchall())


def _rights(cursor: Any, name: str) -> list[Any]:
    """Who may do what with a table or a sequence, beside its owner."""
    return _rows(cursor, GRANTS, {"table": name})


def _granting(onto: str, rights: Sequence[Any]) -> Iterator[str]:
    for role, privilege, is_grantable, column in rights:
        option = " WITH GRANT OPTION" if is_grantable else ""
        yield f"GRANT {privilege}{f' ({column})' if column else ''} ON {onto} TO {role}{option}"


def _of_first(first: str, constraints: Sequence[tuple[str, str, str]], quote: Any) -> Iterator[str]:
    """Names that are the whole table's, or no one's, from now on; and the key that all partitions have."""
    for name, kind, _definition in constraints:
        if kind == "p":
            yield f"ALTER TABLE {first} DROP CONSTRAINT {quote(name)}"
            yield f"ALTER TABLE {first} ADD CONSTRAINT {FIRST}_pkey PRIMARY KEY (id, started_at)"
        elif kind == "u":
            yield f"ALTER TABLE {first} RENAME CONSTRAINT {quote(name)} TO {FIRST}_number"


def add_months(*, now: datetime) -> list[str]:
    """Make the partitions that are missing: of this month, of the next ones, and of past ones whose attempts have none.
    Returns their tables.

    Raises an OperationalError for which `locks.is_lock_timeout` is true if somebody keeps the table locked.
    """
    using = Attempt.objects.db
    found = months()
    begins_at = max([_earliest(now, using), *(month.ends_at for month in found if month.table == FIRST)])
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
        [(earliest,)] = _rows(
            cursor,
            f"SELECT min(started_at) FROM {OTHERS} WHERE started_at >= %s",  # noqa: S608 - a name of ours
            [oldest],
        )
    return min(month_of(now), month_of(earliest or now))


def _name_of(begins_at: datetime) -> str:
    return f"{TABLE}_{begins_at:%Y_%m}"


def _add(begins_at: datetime, ends_at: datetime, using: str) -> bool:
    """Whether it made the month; False if another process has meanwhile."""
    quote = connections[using].ops.quote_name
    name = _name_of(begins_at)
    begin, end = (f"'{at:%Y-%m-%d}+00'" for at in (begins_at, ends_at))
    inside = f"started_at >= {begin} AND started_at < {end}"
    with brief_transaction(using), connections[using].cursor() as cursor:
        # Workers would put attempts of this month there again, so they wait before PostgreSQL chooses where a row goes.
        # And one process at a time.
        cursor.execute(f"LOCK TABLE ONLY {TABLE} IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute(f"LOCK TABLE {OTHERS} IN ACCESS EXCLUSIVE MODE")
        if _rows(cursor, KIND, [name]):
            return False
        [(schema, owner)] = _rows(cursor, SCHEMA_AND_OWNER, [TABLE])
        [(options,)] = _rows(cursor, OPTIONS, [OTHERS])
        table, month, others = (f"{quote(schema)}.{one}" for one in (TABLE, name, OTHERS))
        for statement in (
            f"CREATE TABLE {month} (LIKE {table} {LIKE})",
            f"ALTER TABLE {month} OWNER TO {quote(owner)}",
            *([f"ALTER TABLE {month} SET ({options})"] if options else ()),
            *_granting(month, _rights(cursor, TABLE)),
            f"WITH moved AS (DELETE FROM {others} WHERE {inside} RETURNING *) "  # noqa: S608 - made of names
            f"INSERT INTO {month} SELECT * FROM moved",
            f"ALTER TABLE {month} ADD CONSTRAINT {name}_number UNIQUE (delivery_id, number)",
            f"ALTER TABLE {table} ATTACH PARTITION {month} FOR VALUES FROM ({begin}) TO ({end})",
        ):
            cursor.execute(statement)
    return True


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
