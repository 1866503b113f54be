"""Parameters and headers of operations, and the filters of lists."""

from collections.abc import Iterator
from typing import Any

import django_filters
from django.utils.encoding import force_str

from orderhooks.api.filters import DateTimeFilter
from orderhooks.api.openapi.descriptions import Schema
from orderhooks.api.protocol import idempotency, pagination
from orderhooks.api.protocol.query_parameters import LARGEST_SEQUENCE

__all__ = [
    "DATE_TIME",
    "IDEMPOTENCY_KEY",
    "IF_MATCH",
    "IF_NONE_MATCH",
    "RESPONSE_HEADERS",
    "TEXT",
    "after",
    "filters_of",
    "in_header",
    "in_path",
    "in_query",
    "page_size",
    "paging",
]

# No database stores NUL characters.
NO_NUL = "^[^\\u0000]*$"
DATE_TIME: Schema = {"type": "string", "format": "date-time"}
TEXT: Schema = {"type": "string", "minLength": 1, "pattern": NO_NUL}

# Descriptions of filters whose names do not explain themselves.
FILTERS = {
    "since": "Created at this time or later.",
    "until": "Created before this time.",
    "subscription": "The id of a subscription.",
    "event": "The id of an event.",
    "order_number": "The number of the order.",
    "topic": "A topic. Patterns are not allowed.",
    "api_version": "The version of the body that a subscription is pinned to.",
    "is_behind": "Whether there is a newer version of the body.",
    "answered": "The class of the last response: 2 for 2xx, 0 for no response.",
}


def in_query(name: str, schema: Schema, description: str = "", *, required: bool = False) -> Schema:
    """A query parameter."""
    return _parameter("query", name, schema, description, required=required)


def in_path(name: str, schema: Schema, description: str = "") -> Schema:
    """A part of the URL's path."""
    return _parameter("path", name, schema, description, required=True)


def in_header(name: str, schema: Schema, description: str = "", *, required: bool = False) -> Schema:
    """A header of the request."""
    return _parameter("header", name, schema, description, required=required)


def _parameter(place: str, name: str, schema: Schema, description: str, *, required: bool) -> Schema:
    described = {"description": description} if description else {}
    needed = {"required": True} if required else {}
    return {"in": place, "name": name, "schema": schema, **described, **needed}


IDEMPOTENCY_KEY = in_header(
    idempotency.HEADER,
    {"type": "string", "pattern": idempotency.KEY_PATTERN, "examples": ["3f1c7a52-0a0e-4d0b-9b1c-0f3f0f6d9d55"]},
    "A key that you choose, such as a UUID. The same request with the same key within 24 hours gets the first response"
    " again and has no other effect. Another request with this key is a 409.",
)
IF_MATCH = in_header(
    "If-Match",
    {"type": "string"},
    "The `ETag` of the order that you have read. If it has changed since, this is a 412.",
)
IF_NONE_MATCH = in_header(
    "If-None-Match", {"type": "string"}, "The `ETag` of the order that you have. If it has not changed, this is a 304."
)

RESPONSE_HEADERS: dict[str, Schema] = {
    "ETag": {"description": "Identifies this version of the order.", "required": True, "schema": {"type": "string"}},
    idempotency.REPLAYED_HEADER: {
        "description": "`true` if this is the stored response to an earlier request with the same key.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Retry-After": {
        "description": "Seconds until the next request is allowed.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {"description": "How to authenticate.", "schema": {"type": "string"}},
}


def paging(ordered_by: str) -> list[Schema]:
    """The parameters of a paginated list. `ordered_by` is the name in `?ordering=`."""
    order: Schema = {"type": "string", "enum": [f"-{ordered_by}", ordered_by], "default": f"-{ordered_by}"}
    return [
        in_query("cursor", TEXT, "From `next` of another page."),
        page_size(),
        in_query("ordering", order, "Newest first, or oldest first."),
    ]


def page_size() -> Schema:
    """The parameter `?page_size=`."""
    size = {"type": "integer", "minimum": 1, "maximum": pagination.MAX_PAGE_SIZE, "default": pagination.PAGE_SIZE}
    return in_query("page_size", size, "The maximum number of results.")


def after(description: str) -> Schema:
    """The parameter `?after=`: a sequence."""
    return in_query("after", {"type": "integer", "minimum": 0, "maximum": LARGEST_SEQUENCE}, description)


def filters_of(filterset: type[django_filters.FilterSet]) -> Iterator[Schema]:
    """The parameters of a list's filters."""
    for name, kind in filterset.base_filters.items():
        yield in_query(name, _filter_schema(kind), FILTERS.get(name, ""))


def _filter_schema(kind: django_filters.Filter) -> Schema:
    choices: Any = kind.extra.get("choices")
    if choices is not None:
        return {"type": "string", "enum": [force_str(value) for value, _label in choices]}
    return DATE_TIME if isinstance(kind, DateTimeFilter) else TEXT
