"""Reading: compile the queries of each save once, because compiling takes Django longer than the query itself.

# Note [The store's models are anyone's]
The store's managers may hide rows or join tables, `Meta.ordering` may add parameters, and a model's `__init__` may
require values. So our queries start from a plain QuerySet without an order, and columns are read as they are stored and
converted by their fields, without creating an instance.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connections, models
from django.db.models.expressions import Expression
from django.db.models.fields.related_descriptors import ForwardManyToOneDescriptor

from orderhooks.compiled_queries import instances


class StatementError(RuntimeError):
    """The compiled query can't be used again: it is not certain which of its parameters change from run to run."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Compiled SQL with its parameters. A `Place` stands for a value that each run inserts."""

    text: str
    parameters: tuple[Any, ...]
    # The expressions of the columns that are read. Their converters turn the database's values into the fields' values.
    columns: tuple[Any, ...] = ()

    def bound(self, values: list[Any]) -> list[Any]:
        """The parameters for a run with these values."""
        return [values[one.number] if isinstance(one, Place) else one for one in self.parameters]


class Place(Expression):
    """Stands in a query for a value that each run inserts."""

    def __init__(self, number: int, field: "models.Field[Any, Any]") -> None:
        super().__init__(output_field=field)
        self.number = number

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        return "%s", (self,)


_statements: dict[tuple[Hashable, ...], Statement] = {}


def plain(model: type[models.Model], using: str) -> "models.QuerySet[Any]":
    """All rows, unordered, without the model's managers. See Note [The store's models are anyone's]."""
    return models.QuerySet(model, using=using).order_by()


def related_row(instance: models.Model, name: str) -> Any:
    """The one row that an instance reaches by this attribute, or None: by a foreign key, or a one-to-one relation from
    either side. Kept on the instance, as Django does.

    Read from the instance's own database. Django would ask the routers, and a replica may have an older row, or none.
    """
    descriptor: Any = getattr(type(instance), name)
    if descriptor.is_cached(instance):
        return getattr(instance, name, None)
    if isinstance(descriptor, ForwardManyToOneDescriptor):
        relation: Any = descriptor.field
        is_empty = None in relation.get_local_related_value(instance)
        chosen = relation.get_reverse_related_filter(instance)
    else:
        relation, is_empty = descriptor.related, False
        chosen = models.Q(**relation.field.get_forward_related_filter(instance))
    row = None if is_empty else plain(relation.related_model, str(instance._state.db)).filter(chosen).first()
    relation.set_cached_value(instance, row)
    return row


def related_rows(instance: models.Model, name: str) -> "models.QuerySet[Any]":
    """All rows that an instance reaches by this attribute: as it holds them, otherwise from its own database."""
    rows: models.QuerySet[Any] = getattr(instance, name).all()
    return rows.using(instance._state.db) if rows._result_cache is None else rows


def in_one_order(rows: "models.QuerySet[Any]") -> "models.QuerySet[Any]":
    """The same rows, with the key as the last criterion if they are ordered: rows that are alike otherwise come as the
    database likes, of many orders not as of one.
    """
    query = rows.query
    ordering = query.order_by or (query.get_meta().ordering if query.default_ordering else ())
    if not ordering or query.extra_order_by or query.combinator or "?" in ordering:
        return rows
    return rows.order_by(*ordering, "pk")


def rows(
    model: type[models.Model],
    *key: Hashable,
    using: str,
    make: Callable[["models.QuerySet[Any]"], "models.QuerySet[Any]"],
    last: Any,
) -> list[Any]:
    """Run `make(all rows)` as raw SQL. The SQL is compiled once per `key`; its last parameter is replaced by `last`.

    `last` has the form that the database stores. For one `key`, `make` must always give the same SQL.

    Raises:
        StatementError: the last parameter of the SQL is not `last`.
    """
    known = ("rows", model, using, *key)
    statement = _statements.get(known)
    if statement is None:
        text, values = make(plain(model, using)).query.get_compiler(using).as_sql()
        if not values or type(values[-1]) is not type(last) or values[-1] != last:
            raise StatementError(
                f"A query of {model._meta.label} does not end with the value that it looks for, because its key field "
                "has its own SQL. Override fetch() in the source, or give the model a plain key."
            )
        statement = _statements[known] = Statement(text, tuple(values[:-1]))
    return instances(model, statement.text, [*statement.parameters, last], using=using)


def read_columns(
    model: type[models.Model],
    names: tuple[str, ...],
    where: Mapping[str, Any],
    *key: Hashable,
    using: str,
    make: Callable[["models.QuerySet[Any]"], "models.QuerySet[Any]"] = lambda rows: rows,
) -> dict[str, Any] | None:
    """The named columns of the row that has the values of `where`, or None if there is no such row.

    `names` are attnames, or annotations of `make`. The SQL is compiled once per `key`. For one `key`, `make` must
    always give the same SQL.

    Raises:
        StatementError: the values of `where` do not reach the SQL as they are.
    """
    connection = connections[using]
    fields: list[Any] = [model._meta.get_field(name) for name in where]
    known = ("columns", model, using, names, tuple(where), *key)
    statement = _statements.get(known)
    if statement is None:
        statement = _statements[known] = _compile(model, names, fields, using, make)
    values = [field.get_db_prep_value(value, connection) for field, value in zip(fields, where.values(), strict=True)]
    with connection.cursor() as cursor:
        cursor.execute(statement.text, statement.bound(values))
        row = cursor.fetchone()
    if row is None:
        return None
    return {
        name: _converted(value, column, connection)
        for name, value, column in zip(names, row, statement.columns, strict=True)
    }


def _compile(
    model: type[models.Model],
    names: tuple[str, ...],
    fields: list[Any],
    using: str,
    make: Callable[["models.QuerySet[Any]"], "models.QuerySet[Any]"],
) -> Statement:
    looked_for = {field.attname: Place(number, field) for number, field in enumerate(fields)}
    compiler = make(plain(model, using)).filter(**looked_for).values_list(*names).query.get_compiler(using)
    text, parameters = compiler.as_sql()
    places = [one.number for one in parameters if isinstance(one, Place)]
    columns = tuple(column for column, _sql, _alias in compiler.select)
    if sorted(places) != list(range(len(fields))) or len(columns) != len(names):
        raise StatementError(
            f"{model._meta.label} can't be read by {', '.join(looked_for)}: the query changes their values. "
            "Give the model a plain key."
        )
    return Statement(text, tuple(parameters), columns)


def _converted(value: Any, column: Any, connection: Any) -> Any:
    for convert in (*connection.ops.get_db_converters(column), *column.get_db_converters(connection)):
        value = convert(value, column, connection)
    return value
