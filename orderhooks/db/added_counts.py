"""Counts that many processes add to: one statement inserts rows, or adds to those that are there."""

from collections.abc import Collection, Sequence
from typing import Any

from django.db import connections, models

__all__ = ["add_counts"]


def add_counts(
    model: type[models.Model], names: Sequence[str], rows: Sequence[Sequence[Any]], *, added: Collection[str]
) -> None:
    """Write the rows, each with a value for each of the fields `names`.

    If a row has the same values as one that is stored in all fields but those of `added`, these are added to it. A
    unique constraint has to be on exactly the other fields. The caller sorts the rows, so that two processes do not
    wait for each other in a circle.
    """
    connection = connections[model._default_manager.db]
    fields: list[Any] = [model._meta.get_field(name) for name in names]
    values = [
        field.get_db_prep_save(value, connection=connection)
        for row in rows
        for field, value in zip(fields, row, strict=True)
    ]
    table = model._meta.db_table
    columns = [field.column for field in fields]
    sums = [field.column for field in fields if field.name in added]
    if connection.vendor == "mysql":
        more = ", ".join(f"{column} = {column} + VALUES({column})" for column in sums)
        conflict = f"ON DUPLICATE KEY UPDATE {more}"
    else:
        more = ", ".join(f"{column} = {table}.{column} + excluded.{column}" for column in sums)
        same = ", ".join(column for column in columns if column not in sums)
        conflict = f"ON CONFLICT ({same}) DO UPDATE SET {more}"
    places = ", ".join([f"({', '.join(['%s'] * len(columns))})"] * len(rows))
    with connection.cursor() as cursor:
        # The names are those of our own fields.
        cursor.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES {places} {conflict}", values)  # noqa: S608
