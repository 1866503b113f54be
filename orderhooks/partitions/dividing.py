"""Dividing a table: it becomes the first partition of one that has its name, its rights and its indexes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections

__all__ = [
    "Division",
    "ObstacleError",
    "create",
    "divide",
    "exists",
    "is_divided",
    "lock_briefly",
    "parts",
    "rows",
]

# For the lock on a table that others write to.
LOCK_SECONDS = 10
KIND = "SELECT relkind::text FROM pg_class WHERE oid = to_regclass(%s)"
PARTS = """
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid)
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(%s)
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
    WHERE contype IN ('u', 'x') AND pg_get_constraintdef(oid) <> ALL (%(unique)s::text[])
UNION ALL SELECT 'the index ' || indexrelid::regclass FROM the JOIN pg_index ON indrelid = the.id
    JOIN pg_class c ON c.oid = indexrelid
    WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND conrelid = the.id)
    AND (indisunique OR relname <> ALL (%(indexes)s::text[])
        AND pg_get_indexdef(indexrelid) NOT LIKE '%% (public_id varchar_pattern_ops)')
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
# Those that no constraint has. The last column is what comes after the name of the table.
INDEXES = """
SELECT relname, substring(pg_get_indexdef(indexrelid) FROM ' USING .*$')
FROM pg_index JOIN pg_class c ON c.oid = indexrelid
WHERE indrelid = to_regclass(%s) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""
SEQUENCE = "SELECT pg_get_serial_sequence(%s, %s)"
LIKE = "INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING STORAGE INCLUDING COMMENTS"


class ObstacleError(ValueError):
    """What a store has made on `table` would not be on the divided one. The message names it."""

    def __init__(self, table: str, obstacles: Iterable[str]) -> None:
        super().__init__(", ".join(obstacles))
        self.table = table


@dataclass(frozen=True, slots=True)
class Division:
    """How a table is divided.

    `by`: the column. `key`: the columns of the primary key; the first is the one that counts. `unique`: by the end of
    its name, the columns that are unique together inside of each partition; a unique constraint of the whole table has
    to have the column `by` in it. `whole`: the columns of one that has. `indexes`: the names of its other indexes.
    """

    table: str
    by: str
    key: str
    unique: Mapping[str, str]
    whole: str = ""
    indexes: Sequence[str] = ()

    @property
    def first(self) -> str:
        return f"{self.table}_first"

    @property
    def others(self) -> str:
        return f"{self.table}_others"


@dataclass(frozen=True, slots=True)
class Table:
    """A table's schema and owner, quoted. Called with a name: that name in the schema."""

    schema: str
    owner: str

    def __call__(self, name: str) -> str:
        return f"{self.schema}.{name}"


def rows(cursor: Any, query: str, parameters: Any = None) -> list[Any]:
    cursor.execute(query, parameters)
    return list(cursor.fetchall())


def exists(cursor: Any, table: str) -> bool:
    return bool(rows(cursor, KIND, [table]))


def is_divided(table: str, using: str) -> bool:
    """Whether a table is a partitioned one."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        return False
    with connection.cursor() as cursor:
        return rows(cursor, KIND, [table]) == [("p",)]


def parts(division: Division, using: str) -> list[tuple[str, str]]:
    """The partitions: the name of each table, and its bounds as PostgreSQL writes them."""
    with connections[using].cursor() as cursor:
        return rows(cursor, PARTS, [division.table])


def lock_briefly(cursor: Any, *tables: str) -> None:
    """Lock tables for this transaction against all use, or raise an error for which `locks.is_lock_timeout` is true."""
    cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
    cursor.execute("SET LOCAL statement_timeout = 0")
    cursor.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")


def divide(division: Division, *, bound: str, using: str) -> None:
    """Make a table, which is locked, a partitioned one, with it as the first partition, until `bound`.

    Raises:
        ObstacleError: a view, an index or the like of the store's own is on the table.
    """
    quote = connections[using].ops.quote_name
    with connections[using].cursor() as cursor:
        own = {
            "table": division.table,
            "unique": [f"UNIQUE ({columns})" for columns in (*division.unique.values(), division.whole)],
            "indexes": [*division.indexes],
        }
        if obstacles := [text for (text,) in rows(cursor, OBSTACLES, own)]:
            raise ObstacleError(division.table, obstacles)
        named = _named(cursor, division.table, quote)
        table, first, others = (named(name) for name in (division.table, division.first, division.others))
        identity = division.key.partition(",")[0]
        [(sequence,)] = rows(cursor, SEQUENCE, [division.table, identity])
        [(next_value,)] = rows(cursor, "SELECT nextval(%s)", [sequence])
        rights, rights_on_sequence = _rights(cursor, division.table), _rights(cursor, sequence)
        constraints = rows(cursor, CONSTRAINTS, [division.table])
        indexes = rows(cursor, INDEXES, [division.table])
        [(options,)] = rows(cursor, OPTIONS, [division.table])
        for statement in (
            f"ALTER TABLE {table} RENAME TO {division.first}",
            f"ALTER TABLE {first} ALTER COLUMN {identity} DROP IDENTITY IF EXISTS",
            *_of_first(division, first, constraints, quote),
            *(f"ALTER INDEX {named(quote(name))} RENAME TO {quote(f'{name}_first')}" for name, _tail in indexes),
            f"CREATE TABLE {table} (LIKE {first} {LIKE}, PRIMARY KEY ({division.key})) "
            f"PARTITION BY RANGE ({division.by})",
            f"ALTER TABLE {table} OWNER TO {named.owner}",
            f"ALTER TABLE {table} ALTER COLUMN {identity} "
            f"ADD GENERATED BY DEFAULT AS IDENTITY (START WITH {next_value})",
            *(
                f"ALTER TABLE {table} ADD CONSTRAINT {quote(name)} {definition}"
                for name, kind, definition in constraints
                if kind == "f" or definition == f"UNIQUE ({division.whole})"
            ),
            *(f"CREATE INDEX {quote(name)} ON {table}{tail}" for name, tail in indexes),
            f"ALTER TABLE {table} ATTACH PARTITION {first} FOR VALUES FROM (MINVALUE) TO ({bound})",
            f"CREATE TABLE {others} PARTITION OF {table} ({', '.join(_unique(division, division.others))}) DEFAULT",
            f"ALTER TABLE {others} OWNER TO {named.owner}",
            *([f"ALTER TABLE {others} SET ({options})"] if options else ()),
            *(statement for onto in (table, others) for statement in _granting(onto, rights)),
        ):
            cursor.execute(statement)
        [(sequence,)] = rows(cursor, SEQUENCE, [division.table, identity])
        for statement in _granting(f"SEQUENCE {sequence}", rights_on_sequence):
            cursor.execute(statement)


def create(division: Division, name: str, *, begin: str, end: str, using: str, moving: str = "") -> None:
    """Make a partition of what is from `begin` until before `end`, in a transaction.

    `moving`: of the partition of the others, the rows of this time, as a condition; they are moved.
    """
    quote = connections[using].ops.quote_name
    with connections[using].cursor() as cursor:
        named = _named(cursor, division.table, quote)
        [(options,)] = rows(cursor, OPTIONS, [division.others])
        table, part, others = (named(one) for one in (division.table, name, division.others))
        for statement in (
            f"CREATE TABLE {part} (LIKE {table} {LIKE})",
            f"ALTER TABLE {part} OWNER TO {named.owner}",
            *([f"ALTER TABLE {part} SET ({options})"] if options else ()),
            *_granting(part, _rights(cursor, division.table)),
            *(
                [
                    f"WITH moved AS (DELETE FROM {others} WHERE {moving} RETURNING *) "  # noqa: S608 - made of names
                    f"INSERT INTO {part} SELECT * FROM moved"
                ]
                if moving
                else ()
            ),
            *(f"ALTER TABLE {part} ADD {constraint}" for constraint in _unique(division, name)),
            f"ALTER TABLE {table} ATTACH PARTITION {part} FOR VALUES FROM ({begin}) TO ({end})",
        ):
            cursor.execute(statement)


def _named(cursor: Any, table: str, quote: Any) -> Table:
    [(schema, owner)] = rows(cursor, SCHEMA_AND_OWNER, [table])
    return Table(quote(schema), quote(owner))


def _unique(division: Division, name: str) -> Iterator[str]:
    for suffix, columns in division.unique.items():
        yield f"CONSTRAINT {name}_{suffix} UNIQUE ({columns})"


def _rights(cursor: Any, name: str) -> list[Any]:
    """Who may do what with a table or a sequence, beside its owner."""
    return rows(cursor, GRANTS, {"table": name})


def _granting(onto: str, rights: Sequence[Any]) -> Iterator[str]:
    for role, privilege, is_grantable, column in rights:
        option = " WITH GRANT OPTION" if is_grantable else ""
        yield f"GRANT {privilege}{f' ({column})' if column else ''} ON {onto} TO {role}{option}"


def _of_first(division: Division, first: str, constraints: Iterable[tuple[str, str, str]], quote: Any) -> Iterator[str]:
    """Names that are the whole table's, or no one's, from now on; and the key that all partitions have."""
    suffixes = {f"UNIQUE ({columns})": suffix for suffix, columns in division.unique.items()}
    for name, kind, definition in constraints:
        if kind == "p":
            yield f"ALTER TABLE {first} DROP CONSTRAINT {quote(name)}"
            yield f"ALTER TABLE {first} ADD CONSTRAINT {division.first}_pkey PRIMARY KEY ({division.key})"
        elif kind == "u":
            suffix = suffixes.get(definition, "whole")
            yield f"ALTER TABLE {first} RENAME CONSTRAINT {quote(name)} TO {division.first}_{suffix}"
