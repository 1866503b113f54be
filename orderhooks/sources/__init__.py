"""Order sources: the model of the orders, the watched fields, the topics of changes, and the payload for receivers.

`signal_handlers` connects each source's models, `outbox` reads orders through it, and `catalogue` uses its schema and
example. Only this package, the admin and the API use the fields of the built-in order.
"""

from orderhooks.sources.built_in import BuiltInOrders
from orderhooks.sources.field_payload import FieldPayload, rows_of
from orderhooks.sources.keys import valid_keys
from orderhooks.sources.order_keys import UndatedError, count_orders, dated_since, is_dated, last_order_key, order_keys
from orderhooks.sources.order_source import OrderSource, by_key
from orderhooks.sources.personal_data import Erased, PersonalData, path_fault, personal_data_of, texts_of
from orderhooks.sources.reading import (
    StatementError,
    in_one_order,
    plain,
    read_columns,
    related_row,
    related_rows,
    rows,
)
from orderhooks.sources.registry import (
    UnknownSourceError,
    WatchedModel,
    built_in_orders_are_used,
    by_name,
    configured,
    deleted_models,
    names,
    order_source_of,
    saved_models,
    watched_models,
    watched_models_of,
    watched_order,
)
from orderhooks.sources.related import ROW_TOPICS, Lines, Related
from orderhooks.sources.values import TIMESTAMP, as_json, stored_values, watched_values

__all__ = [
    "ROW_TOPICS",
    "TIMESTAMP",
    "BuiltInOrders",
    "Erased",
    "FieldPayload",
    "Lines",
    "OrderSource",
    "PersonalData",
    "Related",
    "StatementError",
    "UndatedError",
    "UnknownSourceError",
    "WatchedModel",
    "as_json",
    "built_in_orders_are_used",
    "by_key",
    "by_name",
    "configured",
    "count_orders",
    "dated_since",
    "deleted_models",
    "in_one_order",
    "is_dated",
    "last_order_key",
    "names",
    "order_keys",
    "order_source_of",
    "path_fault",
    "personal_data_of",
    "plain",
    "read_columns",
    "related_row",
    "related_rows",
    "rows",
    "rows_of",
    "saved_models",
    "stored_values",
    "texts_of",
    "valid_keys",
    "watched_models",
    "watched_models_of",
    "watched_order",
    "watched_values",
]
