"""Reading: queries that each save asks, written once: that takes Django longer than the database takes to answer."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from django.db import models


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL whose last place is for what is looked for, and the values of the places before it."""

    text: str
    values: tuple[Any, ...]


_statements: dict[tuple[type[models.Model], Hashable], Statement] = {}


def rows(
    model: type[models.Model],
    *key: Hashable,
    using: str,
    make: Callable[["models.QuerySet[Any]"], "models.QuerySet[Any]"],
    last: Any,
) -> "models.query.RawQuerySet":
    """The rows of the query that `make` makes of all rows, whose last place is for `last`, as the database takes it.

    `key` tells such queries of a model apart: `make` must always come to the same SQL for it.
    """
    manager = model._base_manager
    known = model, (using, *key)
    statement = _statements.get(known)
    if statement is None:
        text, values = make(manager.using(using).all()).query.get_compiler(using).as_sql()
        statement = Statement(text, tuple(values[:-1]))
        # A manager of the store's own may mean something else the next time.
        if type(manager) is models.Manager:
            _statements[known] = statement
    return manager.using(using).raw(statement.text, [*statement.values, last])
