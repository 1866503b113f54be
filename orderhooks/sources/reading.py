"""Reading: queries that each save asks, compiled once: that takes Django longer than the database takes to answer.

# Note [The store's models are anyone's]
Managers of the store hide rows or join tables, `Meta.ordering` brings parameters of its own, an instance's `__init__`
may insist on values. So a query of ours starts from a plain QuerySet without an order, and columns are read as they
are stored, by the fields' own converters, without making an instance.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connections, models
from django.db.models.expressions import Expression


class StatementError(RuntimeError):
    """A query of which nobody can say where the value belongs that changes from one run to the next."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Compiled SQL with its parameters: a `Place` stands where a value comes in at each run."""

    text: str
    parameters: tuple[Any, ...]
    # The expression of each column that is read, whose converters turn what the database gives into the field's value.
    columns: tuple[Any, ...] = ()

    def bound(self, values: list[Any]) -> list[Any]:
        """The parameters of one run."""
        return [values[one.number] if isinstance(one, Place) else one for one in self.parameters]


class Place(Expression):
    """Stands in a query for the value that comes in at each run."""

    def __init__(self, number: int, field: "models.Field[Any, Any]") -> None:
        super().__init__(output_field=field)
        self.number = number

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        return "%s", [self]


_statements: dict[tuple[Hashable, ...], Statement] = {}


def plain(model: type[models.Model], using: str) -> "models.QuerySet[Any]":
    """All rows, unordered, whatever the model's managers say. See Note [The store's models are anyone's]."""
    return models.QuerySet(model, using=using).order_by()


def rows(
    model: type[models.Model],
    *key: Hashable,
    using: str,
    make: Callable[["models.QuerySet[Any]"], "models.QuerySet[Any]"],
    last: Any,
) -> "models.query.RawQuerySet":
    """Run `make(all rows)`, whose last parameter is `last`, in the form that the database takes, as raw SQL.

    The SQL is compiled once per `key`, for which `make` must always come to the same SQL. Raises StatementError where
    the last parameter is not `last`.
    """
    known = ("rows", model, using, *key)
    statement = _statements.get(known)
    if statement is None:
        text, values = make(plain(model, using)).query.get_compiler(using).as_sql()
        if not values or type(values[-1]) is not type(last) or values[-1] != last:
            raise StatementError(
                f"A query of {model._meta.label} does not end with the value that is looked for. Its key field has SQL of "
                "its own; have the source override fetch(), or give the model a plain key."
            )
        statement = _statements[known] = Statement(text, tuple(values[:-1]))
    return models.QuerySet(model, using=using).raw(statement.text, [*statement.parameters, last])


def read_columns(
    model: type[models.Model],
    names: tuple[str, ...],
    where: Mapping[str, Any],
    *key: Hashable,
    using: str,
    make: Callable[["models.QuerySet[Any]"], "models.QuerySet[Any]"] = lambda rows: rows,
) -> dict[str, Any] | None:
    """The named columns (attnames, or annotations that `make` adds) of the row with these values; None if there is none.

    The SQL is compiled once per `key`, for which `make` must always come to the same SQL. Raises StatementError.
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
            f"{model._meta.label} can't be read by {', '.join(looked_for)}: the query does not take these as they are. "
            "Give the model a plain key."
        )
    return Statement(text, tuple(parameters), columns)


def _converted(value: Any, column: Any, connection: Any) -> Any:
    for convert in (*connection.ops.get_db_converters(column), *column.get_db_converters(connection)):
        value = convert(value, column, connection)
    return value
