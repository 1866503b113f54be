"""Parameters and headers: of one kind of operation each, and the filters of the lists."""

from collections.abc import Iterator
from typing import Any

import django_filters
from django.utils.encoding import force_str

from orderhooks.api.filters import DateTimeFilter
from orderhooks.api.openapi.describing import NO_NUL, Schema
from orderhooks.api.protocol import idempotency, pagination

__all__ = ["ANSWERED", "IDEMPOTENCY_KEY", "IF_MATCH", "IF_NONE_MATCH", "filters_of", "in_path", "in_query", "paging"]

DATE_TIME: Schema = {"type": "string", "format": "date-time"}
TEXT: Schema = {"type": "string", "minLength": 1, "pattern": NO_NUL}

# What the filters mean; elsewhere their names say it.
MEANINGS = {
    "since": "Made at that moment or later.",
    "until": "Made before that moment.",
    "subscription": "The id of a subscription.",
    "event": "The id of an event.",
    "order_number": "The number of the order that it is about.",
    "topic": "One topic; no pattern.",
    "answered": "The class of the last answer: 2 for 2xx, 0 for none at all.",
}


def in_query(name: str, schema: Schema, text: str = "", *, required: bool = False) -> Schema:
    """A query parameter."""
    return _parameter("query", name, schema, text, required=required)


def in_path(name: str, schema: Schema, text: str = "") -> Schema:
    """A part of the address."""
    return _parameter("path", name, schema, text, required=True)


def in_header(name: str, schema: Schema, text: str = "", *, required: bool = False) -> Schema:
    """A header of the request."""
    return _parameter("header", name, schema, text, required=required)


def _parameter(place: str, name: str, schema: Schema, text: str, *, required: bool) -> Schema:
    told = {"description": text} if text else {}
    needed = {"required": True} if required else {}
    return {"in": place, "name": name, "schema": schema, **told, **needed}


IDEMPOTENCY_KEY = in_header(
    idempotency.HEADER,
    {"type": "string", "pattern": idempotency.KEY_PATTERN, "examples": ["3f1c7a52-0a0e-4d0b-9b1c-0f3f0f6d9d55"]},
    "Of your own making, such as a UUID. A request that comes again under it within 24 hours is answered as the first"
    " time and does nothing more; another request under it is a 409.",
)
IF_MATCH = in_header(
    "If-Match", {"type": "string"}, "The `ETag` of the order as you know it: if it has changed since, that is a 412."
)
IF_NONE_MATCH = in_header(
    "If-None-Match", {"type": "string"}, "The `ETag` of the order as you have it: if it is still that, 304 and no body."
)

# Headers of answers.
ANSWERED: dict[str, Schema] = {
    "ETag": {"description": "Stands for the order as it is shown.", "required": True, "schema": {"type": "string"}},
    idempotency.REPLAYED_HEADER: {
        "description": "`true` if this was answered before, under the same key.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Retry-After": {
        "description": "Seconds until the next request may come.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {"description": "How to log in.", "schema": {"type": "string"}},
}


def paging(ordered_by: str) -> list[Schema]:
    """Of a list that is in the order of its rows' making, which it calls so."""
    order: Schema = {"type": "string", "enum": [f"-{ordered_by}", ordered_by], "default": f"-{ordered_by}"}
    return [
        in_query("cursor", {"type": "string", "minLength": 1, "pattern": NO_NUL}, "From the `next` of another page."),
        page_size(),
        in_query("ordering", order, "Newest first, or oldest first."),
    ]


def page_size() -> Schema:
    size = {"type": "integer", "minimum": 1, "maximum": pagination.MAX_PAGE_SIZE, "default": pagination.PAGE_SIZE}
    return in_query("page_size", size, "How many at most.")


def filters_of(filterset: type[django_filters.FilterSet]) -> Iterator[Schema]:
    """The parameters that a list is filtered by."""
    for name, kind in filterset.base_filters.items():
        yield in_query(name, _filter_schema(kind), MEANINGS.get(name, ""))


def _filter_schema(kind: django_filters.Filter) -> Schema:
    choices: Any = kind.extra.get("choices")
    if choices is not None:
        return {"type": "string", "enum": [force_str(value) for value, _label in choices]}
    return DATE_TIME if isinstance(kind, DateTimeFilter) else TEXT
