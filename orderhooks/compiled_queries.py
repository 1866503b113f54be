"""Queries that run for each order: compiled once, and read without what a QuerySet prepares for each run.

Django takes several times as long to compile such a query as the database to run it.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db import connections, models
from django.db.models.sql import InsertQuery

__all__ = ["CompiledInsert", "CompiledQuery", "columns_of", "instances"]

M = TypeVar("M", bound=models.Model)
# Keys are looked up by this many at most, in a list whose length is a power of two: one statement for each length.
MOST_KEYS = 512
# The attribute of a connection that holds, for each model and text, how its rows become instances.
PLANS = "_orderhooks_plans"


class CompiledQuery(Generic[M]):
    """A query that has the same SQL each time, but for the keys that `of` looks for.

    `make` returns it as a QuerySet, without a value from outside in its conditions. `key` names the field that `of`
    looks in, which holds whole numbers.
    """

    def __init__(self, make: Callable[[], "models.QuerySet[M]"], *, key: str = "pk") -> None:
        self.make = make
        self.key = key
        self._compiled: dict[tuple[str, object], tuple[type[M], str, tuple[Any, ...]]] = {}

    def all(self, *, using: str) -> list[M]:
        """Its rows."""
        model, text, parameters = self._compile("all", using, lambda rows: rows.query)
        return instances(model, text, parameters, using=using)

    def values(self, *, using: str) -> list[Any]:
        """What its rows hold in their first column, as the database gives it. No instances are made, of which
        `post_init` would tell.
        """
        _model, text, parameters = self._compile("all", using, lambda rows: rows.query)
        with connections[using].cursor() as cursor:
            cursor.execute(text, parameters)
            return [row[0] for row in cursor.fetchall()]

    def exists(self, *, using: str) -> bool:
        """Whether it has any row."""
        _model, text, parameters = self._compile("exists", using, lambda rows: rows.query.exists())
        with connections[using].cursor() as cursor:
            cursor.execute(text, parameters)
            return cursor.fetchone() is not None

    def of(self, keys: Collection[int], *, using: str) -> list[M]:
        """Its rows with these keys."""
        ordered = sorted(keys)
        return [
            row
            for start in range(0, len(ordered), MOST_KEYS)
            for row in self._of(ordered[start : start + MOST_KEYS], using=using)
        ]

    def _of(self, keys: Sequence[int], *, using: str) -> list[M]:
        length = 1 << (len(keys) - 1).bit_length()
        numbers = range(length)
        model, text, parameters = self._compile(
            length, using, lambda rows: rows.filter(**{f"{self.key}__in": numbers}).query
        )
        if parameters != tuple(numbers):
            raise TypeError(f"The query of {model._meta.label} has parameters beside the keys.")
        # The last one again and again finds nothing more.
        return instances(model, text, [*keys, *[keys[-1]] * (length - len(keys))], using=using)

    def _compile(
        self, kind: object, using: str, query_of: Callable[["models.QuerySet[M]"], Any]
    ) -> tuple[type[M], str, tuple[Any, ...]]:
        known = self._compiled.get((using, kind))
        if known is None:
            rows = self.make().using(using)
            text, parameters = query_of(rows).get_compiler(using).as_sql()
            known = self._compiled[using, kind] = (rows.model, text, tuple(parameters))
        return known


class CompiledInsert(Generic[M]):
    """An INSERT of one row of a model that nobody's signal handlers listen to. Django's `save` takes half as
    long again.

    `expressions` are what the database computes for fields, whatever the rows hold.
    """

    def __init__(self, model: type[M], **expressions: models.Expression) -> None:
        self.model = model
        self.expressions = expressions
        self._compiled: dict[str, str] = {}
        meta = model._meta
        self._fields: list[Any] = [one for one in meta.concrete_fields if one is not meta.pk]

    def write(self, row: M, *, using: str) -> None:
        """Insert the row, and give it its primary key."""
        connection = connections[using]
        text = self._compiled.get(using) or self._compile(using)
        values = [
            field.get_db_prep_save(getattr(row, field.attname), connection)
            for field in self._fields
            if field.name not in self.expressions
        ]
        with connection.cursor() as cursor:
            cursor.execute(text, values)
            row.pk = cursor.fetchone()[0] if _returns_keys(connection) else cursor.lastrowid
        row._state.adding, row._state.db = False, using

    def _compile(self, using: str) -> str:
        query = InsertQuery(self.model)
        query.insert_values(self._fields, [self.model(**self.expressions)], raw=False)
        compiler: Any = query.get_compiler(using)
        if _returns_keys(connections[using]):
            compiler.returning_fields = [self.model._meta.pk]
        [(text, parameters)] = compiler.as_sql()
        if len(parameters) != len(self._fields) - len(self.expressions):
            raise TypeError(f"The expressions of {self.model._meta.label} have parameters.")
        self._compiled[using] = text
        return str(text)


def _returns_keys(connection: Any) -> bool:
    return bool(connection.features.can_return_columns_from_insert)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How rows become instances: the place of each field, in the model's order, and of each column that is no field;
    and what converts the values, each with the column that it converts."""

    names: list[str]
    places: list[int]
    annotations: list[tuple[str, int]]
    converters: list[tuple[int, Callable[..., Any], Any]]


def columns_of(model: type[models.Model], table: str) -> str:
    """The columns of a model as SQL, for a table of that name. `*` would follow a migration while a worker runs."""
    return ", ".join(f"{table}.{field.column}" for field in model._meta.concrete_fields)


def instances(model: type[M], text: str, parameters: Any, *, using: str) -> list[M]:
    """What `model.objects.raw(text, parameters)` yields. Its columns, which the text has to name, are looked at once.

    A field that the text does not read is deferred; a column that is no field becomes an attribute.
    """
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute(text, parameters)
        rows = cursor.fetchall()
        if not rows:
            return []
        # Kept by the connection, as some converters belong to it: other threads have others.
        plans: dict[tuple[type[models.Model], str], _Plan] = vars(connection).setdefault(PLANS, {})
        plan = plans.get((model, text))
        if plan is None:
            plan = plans[model, text] = _plan(model, [column[0] for column in cursor.description], connection)
    found = []
    for row in rows:
        if plan.converters:
            row = list(row)
            # By position, as Django passes them: a field may name them as it likes.
            for place, convert, column in plan.converters:
                row[place] = convert(row[place], column, connection)
        instance = model.from_db(using, plan.names, [row[place] for place in plan.places])
        for name, place in plan.annotations:
            setattr(instance, name, row[place])
        found.append(instance)
    return found


def _plan(model: type[models.Model], columns: list[str], connection: Any) -> _Plan:
    places = {column: place for place, column in enumerate(columns)}
    fields: list[Any] = [field for field in model._meta.concrete_fields if field.column in places]
    own = {field.column for field in fields}
    columns_of_fields = [(places[field.column], field.get_col(field.model._meta.db_table)) for field in fields]
    return _Plan(
        [field.attname for field in fields],
        [places[field.column] for field in fields],
        [(column, place) for column, place in places.items() if column not in own],
        [
            (place, convert, column)
            for place, column in columns_of_fields
            for convert in (*connection.ops.get_db_converters(column), *column.get_db_converters(connection))
        ],
    )
