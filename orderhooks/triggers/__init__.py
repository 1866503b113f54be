"""Triggers: PostgreSQL captures the changes of orders itself, those of any program, by any statement.

For order sources with `capture = "triggers"`. `installing` puts a function and three triggers in place for each watched
model, when `migrate` runs. `statements` writes their SQL. They write rows of `Change` in the transaction that changes
the order, with the columns' values as PostgreSQL's JSON; `columns` converts them when the changes are coalesced.
"""

from orderhooks.triggers.columns import KEY_TYPES, column_type, converted
from orderhooks.triggers.installing import (
    any_are_used,
    are_used,
    are_used_for,
    differences,
    differences_by_source,
    install,
    install_after_migrate,
    wanted,
)

__all__ = [
    "KEY_TYPES",
    "any_are_used",
    "are_used",
    "are_used_for",
    "column_type",
    "converted",
    "differences",
    "differences_by_source",
    "install",
    "install_after_migrate",
    "wanted",
]
