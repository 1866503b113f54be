"""Field values as JSON: two are equal if the database would store the same."""

import base64
import json
import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from enum import Enum
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.utils import timezone
from django.utils.duration import duration_iso_string

from orderhooks.sources import ranges

# The JSON Schema of a time as `timestamp_text` writes it.
TIMESTAMP = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$",
    "description": "UTC.",
}


def watched_values(instance: models.Model, names: tuple[str, ...]) -> dict[str, Any]:
    """The named fields of a model instance as JSON values. Two are equal if the database would store the same."""
    fields: list[Any] = [instance._meta.get_field(name) for name in names]
    values = {field.attname: getattr(instance, field.attname) for field in fields}
    return stored_values(type(instance), names, values, using=instance._state.db)


def stored_values(
    model: type[models.Model], names: Iterable[str], values: Mapping[str, Any], *, using: str | None = None
) -> dict[str, Any]:
    """The named fields as JSON values, by name.

    `values`: the columns' values, by attname. `using`: the database in which they are stored.
    """
    # For SQLite Django rounds, half to even. The other databases round themselves, half up.
    rounding = None if connections[using or DEFAULT_DB_ALIAS].vendor == "sqlite" else ROUND_HALF_UP
    fields: list[Any] = [model._meta.get_field(name) for name in names]
    stored = {field: _as_stored(field, values[field.attname], rounding) for field in fields}
    # JSON needs no conversion, which would exceed Python's recursion limit on deeply nested values.
    return {field.name: value if _holds_json(field) else as_json(value) for field, value in stored.items()}


def with_partners(model: type[models.Model], names: tuple[str, ...]) -> tuple[str, ...]:
    """These fields, and those that refer to one of them, such as the currency of an amount (django-money)."""
    partners = [
        field.name
        for field in model._meta.concrete_fields
        if any(isinstance(of, models.Field) and of is not field and of.name in names for of in vars(field).values())
    ]
    return tuple(dict.fromkeys((*names, *partners)))


def _holds_json(field: Any) -> bool:
    return isinstance(field, models.JSONField) and field.decoder is None


def _as_stored(field: Any, value: Any, rounding: str | None) -> Any:
    if isinstance(field, models.GeneratedField):
        field = field.output_field
    if isinstance(field, models.DateTimeField):
        return _aware_datetime(field, value)
    if ranges.is_range(field):
        return ranges.as_json(field, value, lambda end: _as_stored(field.base_field, end, rounding))
    if isinstance(value, list | tuple) and (of_one := getattr(field, "base_field", None)) is not None:
        # An element may be NULL, whatever its field says.
        return [None if one is None else _as_stored(of_one, one, rounding) for one in value]
    value = field.to_python(value)
    if isinstance(field, models.DecimalField) and isinstance(value, Decimal):
        if field.decimal_places is None:
            return value.normalize()
        return value.quantize(Decimal(1).scaleb(-field.decimal_places), rounding=rounding)
    if isinstance(field, models.JSONField) and value is not None:
        return json.loads(json.dumps(value, cls=field.encoder), cls=field.decoder)  # tuples become lists
    return value


def _aware_datetime(field: Any, value: Any) -> Any:
    """The value as Django stores it: a naive one is in the project's TIME_ZONE."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)  # to_python() would warn
    value = field.to_python(value)
    if isinstance(value, datetime) and timezone.is_naive(value):
        return timezone.make_aware(value, timezone.get_default_timezone())
    return value


def as_json(value: Any) -> Any:
    """The value as JSON: datetimes in UTC with `Z`, durations in ISO 8601, bytes in base64, members of an
    enumeration as their values, all other types as text."""
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case None | bool() | int() | float():
            return value
        case str():
            return _storable(value)
        case dict():
            return {_storable(str(key)): as_json(one) for key, one in value.items()}
        case list() | tuple():
            return [as_json(one) for one in value]
        case set() | frozenset():
            return sorted((as_json(one) for one in value), key=str)
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(bytes(value)).decode()
        case datetime():
            return timestamp_text(value)
        case date() | time():
            return value.isoformat()
        case timedelta():
            return duration_iso_string(value)  # as Django's JSON encoder writes it
        case Decimal():
            return f"{value:f}"  # str() would write 0E-8
        case Enum():
            return as_json(value.value)
        case _:
            return str(value)


def _storable(text: str) -> str:
    """The text as any database stores it in JSON: PostgreSQL refuses NUL and lone surrogates."""
    if "\x00" in text:
        text = text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return text if text.isascii() else text.encode(errors="replace").decode()


def is_showable(at: datetime) -> bool:
    """Whether every time zone can show the time: not in the first or the last year that Python has."""
    return datetime.min.year < at.year < datetime.max.year


def timestamp_text(at: datetime) -> str:
    """ISO 8601 in UTC: `2026-11-23T10:00:00.000000Z`. A naive datetime is taken for UTC."""
    return (at.replace(tzinfo=None) - (at.utcoffset() or datetime.resolution * 0)).isoformat(
        timespec="microseconds"
    ) + "Z"
