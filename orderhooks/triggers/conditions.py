"""Conditions: the SQL that says whether a row is an order, where a source's `only` says so."""

from typing import Any

from django.core.exceptions import EmptyResultSet, FullResultSet
from django.db import connections

from orderhooks.sources import OrderSource

__all__ = ["is_order"]


def is_order(source: OrderSource, row: str, using: str) -> str:
    """The SQL that is true if `row`, an alias of a row of the model, is an order."""
    model = source.get_model()
    query = source.orders(using=using).query
    compiler: Any = query.get_compiler(using)
    try:
        text, values = compiler.compile(query.where.relabeled_clone({model._meta.db_table: row}))
    except EmptyResultSet:
        return "false"
    except FullResultSet:
        return "true"
    operations: Any = connections[using].ops
    return f"({operations.compose_sql(text, values)})"
