"""Statements: the SQL of the functions and triggers for one watched model.

A function inserts into the outbox by one statement, from the rows before and after the store's statement, which
PostgreSQL gives as tables (`old_rows`, `new_rows`; see CREATE TRIGGER, "transition tables").

It must never hurt the store. If a column has gone, the statement fails inside the function and is tried again in a
generic form, which takes the columns from the row as JSON. If that fails too, the change is counted as missed.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections

from orderhooks.models import CaptureFailure, Change, Subscription
from orderhooks.sources import WatchedModel
from orderhooks.sources.related import Link
from orderhooks.triggers import conditions
from orderhooks.triggers.columns import as_sql, column_type

__all__ = ["PREFIX", "Capture", "for_model", "function_of", "schema_of"]

PREFIX = "orderhooks_capture_"
SCHEMA = """
SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)
"""
# A function takes at most 100 arguments: names and values of 50 columns.
MOST_COLUMNS = 50


@dataclass(frozen=True, slots=True)
class Capture:
    """The function of a watched model, and its triggers by name."""

    name: str
    table: str
    body: str
    create: str
    triggers: dict[str, str]


def function_of(watched_model: WatchedModel) -> str:
    """The name of the function of a watched model."""
    readable = f"{watched_model.source.name} {watched_model.key}"
    digest = hashlib.sha256(readable.encode()).hexdigest()[:8]
    # PostgreSQL cuts names after 63 bytes, and turns them into lower case.
    plain = "".join(one if one.isascii() and one.isalnum() else "_" for one in readable.strip().lower())
    return f"{PREFIX}{plain[:32]}_{digest}"


def for_model(watched_model: WatchedModel, using: str, schema: str) -> Capture:
    """The function and the triggers of a watched model. `schema` holds the tables of orderhooks."""
    quote = connections[using].ops.quote_name
    name = function_of(watched_model)
    table = quote(watched_model.model._meta.db_table)
    body = _body(watched_model, using, schema)
    create = (
        f"CREATE OR REPLACE FUNCTION {quote(schema)}.{name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
        f"SET search_path = {quote(schema)}, pg_temp AS $orderhooks${body}$orderhooks$"
    )
    tables = {"insert": "NEW TABLE AS new_rows", "delete": "OLD TABLE AS old_rows"}
    tables["update"] = f"{tables['delete']} {tables['insert']}"
    triggers = {
        f"{name}_{event}": (
            f"CREATE TRIGGER {name}_{event} AFTER {event.upper()} ON {table} REFERENCING {tables[event]} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {quote(schema)}.{name}()"
        )
        for event in ("insert", "update", "delete")
    }
    return Capture(name, watched_model.model._meta.db_table, body, create, triggers)


def _body(watched_model: WatchedModel, using: str, schema: str) -> str:
    quote = connections[using].ops.quote_name
    exact, generic = (_Writer(watched_model, using, schema, generic=one).statements() for one in (False, True))
    failures = f"{quote(schema)}.{quote(CaptureFailure._meta.db_table)}"
    source = _text(watched_model.source.name)
    label = _text(f"{schema}:{watched_model.source.name}:{watched_model.key}")
    return f"""
BEGIN
    IF NOT EXISTS (SELECT 1 FROM {quote(schema)}.{quote(Subscription._meta.db_table)}) THEN
        RETURN NULL;
    END IF;
    BEGIN
{exact}
    EXCEPTION WHEN OTHERS THEN
        BEGIN
{generic}
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'orderhooks could not capture a change of %: %', TG_TABLE_NAME, SQLERRM;
            -- Writers must not wait for each other here. One that finds another at it leaves the count to that one.
            IF pg_try_advisory_xact_lock(hashtext({label})) THEN
                INSERT INTO {failures} AS known (source, fingerprint, order_pk, error, count, first_at, last_at)
                VALUES ({source}, encode(sha256(convert_to({label} || SQLSTATE, 'UTF8')), 'hex'), '',
                    'A trigger could not capture a change of ' || TG_TABLE_NAME || ': ' || SQLERRM
                    || '. Run `manage.py migrate`, which puts the triggers in place anew.',
                    1, clock_timestamp(), clock_timestamp())
                ON CONFLICT (fingerprint) DO UPDATE
                    SET count = known.count + 1, last_at = excluded.last_at, error = excluded.error;
            END IF;
        END;
    END;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'orderhooks could not capture a change of %: %', TG_TABLE_NAME, SQLERRM;
    RETURN NULL;
END
"""


class _Writer:
    """Writes the statements of one watched model. `generic` takes its columns from the rows as JSON."""

    def __init__(self, watched_model: WatchedModel, using: str, schema: str, *, generic: bool) -> None:
        self.watched_model = watched_model
        self.model = watched_model.model
        self.using = using
        self.schema = schema
        self.generic = generic
        self.quote = connections[using].ops.quote_name

    def statements(self) -> str:
        insert, update, delete = self._of_rows() if self.watched_model.related else self._of_orders()
        return "\n".join(
            [
                "        IF TG_OP = 'UPDATE' THEN",
                *(f"            {statement};" for statement in update),
                "        ELSIF TG_OP = 'INSERT' THEN",
                *(f"            {statement};" for statement in insert),
                "            NULL;",
                "        ELSE",
                *(f"            {statement};" for statement in delete),
                "            NULL;",
                "        END IF;",
            ]
        )

    def _of_orders(self) -> tuple[list[str], list[str], list[str]]:
        source, fields = self.watched_model.source, self._fields(self.watched_model.watched)
        created = self._fields(source.transitions)
        everything = list(self.model._meta.concrete_fields)
        key_of = {row: self._key(self.model, row) for row in ("o", "n")}
        rows = f"new_rows n WHERE {self._may_be_order(key_of['n'], 'n')}"
        insert = self._insert(Change.Kind.CREATED, key_of["n"], "''", "'{}'", self._json(created, "n"), rows)
        update = self._insert(
            Change.Kind.UPDATED,
            key_of["n"],
            "''",
            self._json(fields, "o"),
            self._json(fields, "n"),
            f"{self._both()} WHERE {self._differ(fields)} AND {self._may_be_order(key_of['n'], 'o', 'n')}",
        )
        rows = f"old_rows o WHERE {self._may_be_order(key_of['o'], 'o')}"
        before = f"jsonb_build_object('order', {self._json(everything, 'o')})"
        delete = self._insert(Change.Kind.DELETED, key_of["o"], "''", before, "'{}'", rows)
        return [insert], [update, *self._pointers()], [delete]

    def _may_be_order(self, order_pk: str, *rows: str) -> str:
        """Whether a row was or is an order, or has a change in the outbox. See Note [Rows that are no orders]."""
        source = self.watched_model.source
        if source.only is None or self.generic:
            return "true"
        changes = f"{self.quote(self.schema)}.{self.quote(Change._meta.db_table)}"
        known = f"SELECT 1 FROM {changes} c WHERE c.source = {_text(source.name)} AND c.order_pk = {order_pk}"
        orders = " OR ".join(conditions.is_order(source, row, self.using) for row in rows)
        return f"({orders} OR EXISTS ({known}))"

    def _pointers(self) -> Iterable[str]:
        """The rows to which an updated order no longer points, and to which it points now."""
        for related in self.watched_model.source.all_related:
            if not related.pointer:
                continue
            rows = WatchedModel(self.watched_model.source, related)
            fields = [rows.model._meta.get_field(name) for name in rows.watched]
            pairs = Link.of(related, self.model).steps[0].related_fields
            moved = " OR ".join(
                f"{self._column(own, 'o')} IS DISTINCT FROM {self._column(own, 'n')}" for own, _to in pairs
            )
            for row in ("o", "n"):
                joined = " AND ".join(
                    f"a.{self.quote(to.column)} = {row}.{self.quote(own.column)}" for own, to in pairs
                )
                values = _Writer(rows, self.using, self.schema, generic=self.generic)._json(fields, "a")
                yield self._insert(
                    Change.Kind.UPDATED,
                    self._key(self.model, "n"),
                    self._key(rows.model, "a"),
                    values if row == "o" else "'{}'",
                    values if row == "n" else "'{}'",
                    f"{self._both()} JOIN {_table(rows.model, self.using)} a ON {joined} WHERE {moved}",
                    related=related.key,
                )

    def _of_rows(self) -> tuple[list[str], list[str], list[str]]:
        fields = self._fields(name for name in self.watched_model.watched if name != self.watched_model.link_field)
        link = Link.of(self.watched_model.related, self.watched_model.source.get_model())
        if link.from_order:
            pairs = link.steps[0].related_fields
            order = _table(link.order, self.using)

            def joined(row: str) -> str:
                on = " AND ".join(f"d.{self.quote(own.column)} = {row}.{self.quote(to.column)}" for own, to in pairs)
                return f"JOIN {order} d ON {on}"

            key = self._key(link.order, "d")
            update = self._row(
                key,
                "n",
                self._json(fields, "o"),
                self._json(fields, "n"),
                f"{self._both()} {joined('n')} WHERE {self._differ(fields)}",
            )
            return [], [update], [self._row(key, "o", self._json(fields, "o"), "'{}'", f"old_rows o {joined('o')}")]
        (old_key, old_joins), (new_key, new_joins) = (self._path(link, row) for row in ("o", "n"))
        own_columns = [own for own, _target in link.steps[0].related_fields]
        insert = self._row(
            new_key, "n", "'{}'", self._json(fields, "n"), f"new_rows n {new_joins} WHERE {new_key} IS NOT NULL"
        )
        delete = self._row(
            old_key, "o", self._json(fields, "o"), "'{}'", f"old_rows o {old_joins} WHERE {old_key} IS NOT NULL"
        )
        # Of two orders, if the row has moved.
        keys = f"(SELECT DISTINCT k FROM (VALUES ({old_key}), ({new_key})) v(k) WHERE k IS NOT NULL) keys"
        update = self._row(
            "keys.k",
            "n",
            f"CASE WHEN keys.k = {old_key} THEN {self._json(fields, 'o')} ELSE '{{}}' END",
            f"CASE WHEN keys.k = {new_key} THEN {self._json(fields, 'n')} ELSE '{{}}' END",
            f"{self._both()} {old_joins} {new_joins} CROSS JOIN LATERAL {keys} "
            f"WHERE {self._differ([*fields, *own_columns])}",
        )
        return [insert], [update], [delete]

    def _row(self, order_pk: str, row: str, before: str, after: str, rows: str) -> str:
        key = self._key(self.model, row)
        return self._insert(Change.Kind.UPDATED, order_pk, key, before, after, rows, related=self.watched_model.key)

    def _path(self, link: Link, row: str) -> tuple[str, str]:
        """The SQL of the key of a row's order, and the joins that it needs."""
        joins: list[str] = []
        alias, steps = row, list(link.steps)
        for place, step in enumerate(steps):
            pairs = step.related_fields
            key = list(link.order._meta.pk_fields)
            is_last = place == len(steps) - 1
            if is_last and {target for _own, target in pairs} == set(key):
                columns = {target: f"{alias}.{self.quote(own.column)}::text" for own, target in pairs}
                return self._joined([columns[field] for field in key]), " ".join(joins)
            table = _table(link.order if is_last else step.related_model, self.using)
            following = f"{row}{place}"
            on = " AND ".join(
                f"{following}.{self.quote(target.column)} = {alias}.{self.quote(own.column)}" for own, target in pairs
            )
            joins.append(f"LEFT JOIN {table} {following} ON {on}")
            alias = following
        return self._key(link.order, alias), " ".join(joins)

    def _insert(
        self, kind: str, order_pk: str, subject: str, before: str, after: str, rows: str, *, related: str = ""
    ) -> str:
        values = {
            # The same for all changes of a transaction.
            "transaction_id": "lpad(to_hex(pg_current_xact_id()::text::bigint), 32, '0')::uuid",
            "source": _text(self.watched_model.source.name),
            "order_pk": order_pk,
            "kind": _text(kind),
            "related": _text(related),
            "subject": subject,
            "before": before,
            "after": after,
            "order_number": "''",
            "store": "''",
            "error": "''",
            "coalesce_attempts": "0",
            "created_at": "clock_timestamp()",
            "is_raw": "true",
        }
        table = f"{self.quote(self.schema)}.{self.quote(Change._meta.db_table)}"
        return f"INSERT INTO {table} ({', '.join(values)}) SELECT {', '.join(values.values())} FROM {rows}"

    def _fields(self, names: Iterable[str]) -> list[Any]:
        return [self.model._meta.get_field(name) for name in names]

    def _both(self) -> str:
        names = [self.quote(one.column) for one in self._key_fields(self.model)]
        on = " AND ".join(f"o.{name} = n.{name}" for name in names)
        return f"old_rows o JOIN new_rows n ON {on}"

    def _differ(self, fields: Sequence[Any]) -> str:
        pairs = dict.fromkeys((self._column(field, "o"), self._column(field, "n")) for field in fields)
        return "(" + " OR ".join(f"{old} IS DISTINCT FROM {new}" for old, new in pairs) + ")"

    def _column(self, field: Any, row: str) -> str:
        if self.generic:
            return f"(to_jsonb({row})->{_text(field.column)})"
        column = f"{row}.{self.quote(field.column)}"
        # The type json has no equality.
        return f"{column}::text" if column_type(field, self.using) == "json" else column

    def _json(self, fields: Sequence[Any], row: str) -> str:
        """The SQL of an object with the fields' values, by attname."""
        if self.generic:
            names = "(VALUES " + ", ".join(f"({_text(one.column)}, {_text(one.attname)})" for one in fields) + ")"
            if not fields:
                return "'{}'::jsonb"
            return (
                f"COALESCE((SELECT jsonb_object_agg(c.name, to_jsonb({row})->c.col) FROM {names} c(col, name) "
                f"WHERE to_jsonb({row}) ? c.col), '{{}}')"
            )
        parts = []
        for start in range(0, max(len(fields), 1), MOST_COLUMNS):
            pairs = ", ".join(
                f"{_text(one.attname)}, {as_sql(one, f'{row}.{self.quote(one.column)}', self.using)}"
                for one in fields[start : start + MOST_COLUMNS]
            )
            parts.append(f"jsonb_build_object({pairs})")
        return " || ".join(parts)

    def _key(self, model: Any, row: str) -> str:
        return self._joined([f"{row}.{self.quote(one.column)}::text" for one in self._key_fields(model)])

    @staticmethod
    def _key_fields(model: Any) -> list[Any]:
        return list(model._meta.pk_fields)

    @staticmethod
    def _joined(texts: Sequence[str]) -> str:
        """One key as text; several as a JSON list of texts."""
        return texts[0] if len(texts) == 1 else f"json_build_array({', '.join(texts)})::text"


def _table(model: Any, using: str) -> str:
    """The table with its schema: that of the store's tables may be another than that of ours."""
    quote = connections[using].ops.quote_name
    table = quote(model._meta.db_table)
    schema = schema_of(table, using)
    return table if schema is None else f"{quote(schema)}.{table}"


def schema_of(table: str, using: str) -> str | None:
    """The schema in which this session finds a table, by its quoted name. None if there is no such table."""
    with connections[using].cursor() as cursor:
        cursor.execute(SCHEMA, [table])
        row = cursor.fetchone()
    return None if row is None else str(row[0])


def _text(value: str) -> str:
    """The text as an SQL literal."""
    return "'" + str(value).replace("'", "''") + "'"
