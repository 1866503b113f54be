"""Fields' values as JSON, so that two compare equal when the database would store the same."""

import json
import math
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from django.db import models

# The JSON Schema of a moment, as `moment_text` writes it.
MOMENT = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$",
    "description": "UTC.",
}


def watched_values(instance: models.Model, names: tuple[str, ...]) -> dict[str, Any]:
    """The named fields of a model instance as JSON values that compare equal when the database would store the same."""
    values = {}
    for name in names:
        field = instance._meta.get_field(name)
        values[name] = as_json(_as_stored(field, getattr(instance, field.attname)))  # type: ignore[union-attr,arg-type]
    return values


def _as_stored(field: "models.Field[Any, Any]", value: Any) -> Any:
    value = field.to_python(value)
    if isinstance(field, models.DecimalField) and isinstance(value, Decimal):
        return value.quantize(Decimal(1).scaleb(-field.decimal_places))
    if isinstance(field, models.JSONField) and value is not None:
        return json.loads(json.dumps(value, cls=field.encoder), cls=field.decoder)  # tuples become lists
    return value


def as_json(value: Any) -> Any:
    """Moments in UTC with `Z`, decimals and whatever else JSON lacks as text; the rest as it is."""
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case None | bool() | int() | float() | str() | dict() | list():
            return value
        case datetime():
            return moment_text(value)
        case date() | time():
            return value.isoformat()
        case _:
            return str(value)


def moment_text(moment: datetime) -> str:
    """ISO 8601 in UTC: `2026-11-23T10:00:00.000000Z`. A moment without a zone is taken for UTC already."""
    return (moment.replace(tzinfo=None) - (moment.utcoffset() or datetime.resolution * 0)).isoformat(
        timespec="microseconds"
    ) + "Z"
