"""The different texts of a column, found by its index one after the other: not by reading all rows."""

from typing import Any

from django.db import connections, models

__all__ = ["distinct_texts"]


def distinct_texts(model: type[models.Model], name: str, *, at_most: int, using: str) -> list[str]:
    """The first `at_most` texts of the field that are not blank, sorted as the database sorts them. One query.

    An index has to begin with the field; it may be a PartialIndex without the blank ones.
    """
    connection = connections[using]
    quote = connection.ops.quote_name
    field: Any = model._meta.get_field(name)
    table, column = quote(model._meta.db_table), quote(field.column)
    # The condition of a partial index is written out as it was when the index was made: SQLite compares the texts.
    following = (
        f"(SELECT {column} FROM {table} WHERE {column} > {{}} AND NOT ({column} = '') ORDER BY {column} LIMIT 1)"
    )
    sql = (
        f"WITH RECURSIVE found(text, number) AS (SELECT {following.format(_BLANK)}, 1 UNION ALL"
        f" SELECT {following.format('found.text')}, number + 1 FROM found WHERE text IS NOT NULL AND number < %s)"
        " SELECT text FROM found WHERE text IS NOT NULL ORDER BY number"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [at_most])
        return [text for (text,) in cursor.fetchall()]


_BLANK = "''"
