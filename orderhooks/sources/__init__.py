"""What an order is: which model, which fields are watched, which topic a change means, what receivers are told.

`signal_handlers` connects each source's models, `outbox` asks it to read orders, `catalogue` what they look like.
Outside this package, the admin and the API, nothing knows the fields of the built-in order.
"""

from orderhooks.sources.built_in import BuiltInOrders
from orderhooks.sources.describing import Lines, OrderSource, by_key
from orderhooks.sources.reading import StatementError, plain, read_columns, rows
from orderhooks.sources.roles import (
    Role,
    UnknownSourceError,
    by_name,
    configured,
    deleted_models,
    role_of,
    watched_models,
)
from orderhooks.sources.values import MOMENT, as_json, stored_values, watched_values

__all__ = [
    "MOMENT",
    "BuiltInOrders",
    "Lines",
    "OrderSource",
    "Role",
    "StatementError",
    "UnknownSourceError",
    "as_json",
    "by_key",
    "by_name",
    "configured",
    "deleted_models",
    "plain",
    "read_columns",
    "role_of",
    "rows",
    "stored_values",
    "watched_models",
    "watched_values",
]
