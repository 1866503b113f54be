"""Columns: how a trigger writes a column's value into JSON, and how Django's value is made of it again."""

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connections, models
from django.utils import dateparse

from orderhooks.sources import ranges, stored_values

__all__ = ["KEY_TYPES", "as_sql", "column_type", "converted"]


@dataclass(frozen=True, slots=True)
class ColumnType:
    """The SQL of a column's value as JSON, with a place for the column, and what makes the database's value of it."""

    sql: str
    convert: Callable[[Any], Any]


def _bytes(value: str) -> bytes:
    # The second is how PostgreSQL itself writes them into JSON: see `statements.generic`.
    return bytes.fromhex(value[2:]) if value.startswith("\\x") else base64.b64decode(value)


def _decimal(value: Any) -> Decimal:
    return Decimal(str(value))


RANGE = ColumnType("{}::text", ranges.from_text)
# By the beginning of the column's type. JSON has no exact decimals, so they are text there.
TYPES: Mapping[str, ColumnType] = {
    **dict.fromkeys(("int4range", "int8range", "numrange", "daterange", "tstzrange"), RANGE),
    "numeric": ColumnType("{}::text", _decimal),
    "bytea": ColumnType("encode({}, 'base64')", _bytes),
    "timestamp": ColumnType("{}", dateparse.parse_datetime),
    "time": ColumnType("{}", dateparse.parse_time),
    "date": ColumnType("{}", dateparse.parse_date),
    "interval": ColumnType("{}::text", dateparse.parse_duration),
    "uuid": ColumnType("{}", UUID),
    "json": ColumnType("{}", json.dumps),
}
OTHER = ColumnType("{}", lambda value: value)
# The types whose elements JSON has too.
AS_IN_JSON = ("json", "boolean")
# What the type of an array ends with, once for each of its dimensions: `[]`, or `[3]`.
DIMENSION = re.compile(r"\[[0-9]*\]")
# The types of keys whose text is the same in SQL as in Python.
KEY_TYPES = ("smallint", "integer", "bigint", "uuid", "varchar", "text", "character")


def column_type(field: Any, using: str) -> str:
    """The type of the field's column, such as `numeric(8, 2)`."""
    return str(field.db_type(connections[using]) or "")


def as_sql(field: Any, column: str, using: str) -> str:
    """The SQL of the value of `column` as a trigger writes it into JSON."""
    kind = column_type(field, using)
    if DIMENSION.search(kind) is None:
        return _type(kind).sql.format(column)
    # Elements of arrays are written as text, because JSON has no exact decimals.
    return column if kind.startswith(AS_IN_JSON) else f"{column}::text[]"


def converted(model: type[models.Model], names: Iterable[str], raw: Mapping[str, Any], *, using: str) -> dict[str, Any]:
    """The named fields of a row that a trigger wrote, as the signals would have captured them: JSON values by name.

    `raw` holds the values by the columns' attnames. Fields that it lacks are left out: their columns have gone.
    """
    fields: list[Any] = [model._meta.get_field(name) for name in names]
    values = {field.attname: _value(field, raw[field.attname], using) for field in fields if field.attname in raw}
    found = [field.name for field in fields if field.attname in raw]
    return stored_values(model, found, values, using=using)


def _value(field: Any, raw: Any, using: str) -> Any:
    if raw is None:
        return None
    connection = connections[using]
    kind = column_type(field, using)
    value = _elements(raw, len(DIMENSION.findall(kind)), _type(kind).convert)
    column = models.expressions.Col("", field)
    for convert_value in (*connection.ops.get_db_converters(column), *field.get_db_converters(connection)):
        value = convert_value(value, column, connection)
    return value


def _elements(raw: Any, dimensions: int, convert: Callable[[Any], Any]) -> Any:
    """The value that the database has, or an array of this number of dimensions."""
    if raw is None:
        return None
    return [_elements(one, dimensions - 1, convert) for one in raw] if dimensions else convert(raw)


def _type(kind: str) -> ColumnType:
    return next((found for begin, found in TYPES.items() if kind.startswith(begin)), OTHER)
