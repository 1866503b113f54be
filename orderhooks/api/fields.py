"""Serializer fields that accept only the JSON type that they show: DRF's own also take 5 for "5", or "yes" for true.

An error whose code is in `problems.UNPROCESSABLE_CODES` becomes a 422, any other a 400.
"""

import math
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.core.validators import EmailValidator, URLValidator
from django.db import models
from django.utils.dateparse import parse_datetime
from rest_framework import serializers

from orderhooks import payloads
from orderhooks.currencies import decimal_text
from orderhooks.sources.values import is_showable

MAX_DEPTH = payloads.MAX_PASSED_THROUGH_DEPTH
# The largest integer of every database. SQLite would store larger ones and then differ from the others.
MAX_INTEGER = 2**31 - 1
MAX_ROW_ID = 2**63 - 1
AMOUNT = r"^[0-9]{1,11}(\.[0-9]{1,4})?$"
# https://www.rfc-editor.org/rfc/rfc3339#section-5.6
RFC3339 = re.compile(
    r"[0-9]{4}(-[0-9]{2}){2}[T ]([0-9]{2}:){2}[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})", re.IGNORECASE
)


class StrictCharField(serializers.CharField):
    """A JSON string, stripped of surrounding white space."""

    default_error_messages = {"whitespace": "This field may not be only white space."}

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if isinstance(data, str) and data and not data.strip() and self.trim_whitespace and not self.allow_blank:
            self.fail("whitespace")
        return super().run_validation(data)

    def to_internal_value(self, data: Any) -> str:
        # DRF would accept numbers.
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class BoundedListField(serializers.ListField):
    """A JSON array. One that is too long is refused before its items are looked at: each would get an error."""

    def to_internal_value(self, data: Any) -> list[Any]:
        if isinstance(data, list) and self.max_length is not None and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        items: list[Any] = super().to_internal_value(data)
        return items


class StrictEmailField(StrictCharField):
    """An e-mail address."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.validators = [one for one in self.validators if not isinstance(one, EmailValidator)]
        self.validators.append(EmailValidator(code="email"))


class StrictUrlField(StrictCharField):
    """The address of a page, for people to open."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.validators.append(URLValidator(schemes=["http", "https"], code="url"))


class StrictIntegerField(serializers.IntegerField):
    """A JSON integer: 3 or 3.0, as in JSON Schema."""

    def __init__(self, **options: Any) -> None:
        # A field of a model brings the bound of its own database.
        super().__init__(**{**options, "max_value": min(MAX_INTEGER, options.get("max_value") or MAX_INTEGER)})

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not (isinstance(data, int) or (isinstance(data, float) and data.is_integer())):
            self.fail("invalid")
        return int(data)


class RowIdField(StrictIntegerField):
    """The id of a row that belongs to an order."""

    def __init__(self, **options: Any) -> None:
        serializers.IntegerField.__init__(self, **{"min_value": 1, "max_value": MAX_ROW_ID, **options})


class StrictFloatField(serializers.FloatField):
    """A finite JSON number."""

    def to_internal_value(self, data: Any) -> float:
        try:
            number = float(data) if isinstance(data, int | float) and not isinstance(data, bool) else math.nan
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            self.fail("invalid")
        return number


class StrictBooleanField(serializers.BooleanField):
    """JSON true or false; no text or number that DRF would accept for it."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class MoneyField(serializers.DecimalField):
    """An amount of an order or a line, as text such as "19.90", with at most 12 digits before the point and 4 after it.

    It is shown with the decimal places of the order's currency.
    """

    default_error_messages = {"text": 'Send a valid number as text, such as "19.90".'}

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_digits": 16, "decimal_places": 4, "min_value": Decimal(0), **options})

    def to_internal_value(self, data: Any) -> Decimal:
        if not isinstance(data, str):
            self.fail("text")
        amount = super().to_internal_value(data)
        # DRF would also accept "+5", "1e2" and "५".
        if amount >= 0 and not re.fullmatch(AMOUNT[1:-1], data):
            self.fail("text")
        return amount

    def get_attribute(self, instance: Any) -> Any:
        amount: Any = super().get_attribute(instance)
        return decimal_text(amount, getattr(instance, "order", instance).currency)

    def to_representation(self, value: Any) -> Any:
        return value


class StrictDateTimeField(serializers.DateTimeField):
    """A date and time with a zone (RFC 3339), shown in UTC whatever the project's settings."""

    default_error_messages = {"invalid": "This is not a valid date and time. Send one such as 2026-11-24T06:00:00Z."}

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"format": "iso-8601", "default_timezone": UTC, **options})

    def to_internal_value(self, value: Any) -> datetime:
        if not isinstance(value, str) or not RFC3339.fullmatch(value):
            self.fail("invalid")
        try:
            parsed = parse_datetime(value.upper())
        except ValueError:
            parsed = None
        if parsed is None:
            self.fail("overflow")
        return self.enforce_timezone(parsed)


class StoredDateTimeField(StrictDateTimeField):
    """A date and time that can be shown in any time zone: not on the first or the last day that Python has."""

    def to_internal_value(self, value: Any) -> datetime:
        parsed = super().to_internal_value(value)
        if not is_showable(parsed):
            self.fail("overflow")
        return parsed


class StrictChoiceField(serializers.ChoiceField):
    """One of the choices. The error lists them."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid_choice", input=data)
        return super().to_internal_value(data)

    def fail(self, key: str, **values: Any) -> Any:
        if key == "invalid_choice":
            allowed = ", ".join(str(choice) for choice in self.choices)
            raise serializers.ValidationError(f"{values['input']!r} is not one of: {allowed}.", code=key)
        return super().fail(key, **values)


class JsonObjectField(serializers.JSONField):
    """A JSON object that every database can store and every receiver can parse."""

    default_error_messages = {
        "object": 'Send a JSON object such as {{"city": "Kyoto"}}.',
        "deep": "Nest at most {max_depth} levels.",
        "json": "Remove NaN, infinite numbers, numbers of more than 308 digits, NUL characters and lone surrogates: no"
        " receiver could read them.",
    }

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("object")
        if _depth(data) > MAX_DEPTH:
            self.fail("deep", max_depth=MAX_DEPTH)
        try:
            payloads.check(data)
        except (TypeError, ValueError):
            self.fail("json")
        return data


def _depth(data: Any) -> int:
    """How many levels are nested. Counted without recursion, which deep nesting would break."""
    level, depth = [data], 0
    while level:
        depth += 1
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return depth


# Value of `serializer_field_mapping` in the API's model serializers.
MODEL_FIELD_MAPPING: dict[Any, Any] = {
    **serializers.ModelSerializer.serializer_field_mapping,
    models.BooleanField: StrictBooleanField,
    models.CharField: StrictCharField,
    models.DateTimeField: StoredDateTimeField,
    models.DecimalField: MoneyField,
    models.EmailField: StrictEmailField,
    models.FloatField: StrictFloatField,
    models.JSONField: JsonObjectField,
    models.PositiveIntegerField: StrictIntegerField,
    models.PositiveSmallIntegerField: StrictIntegerField,
    models.TextField: StrictCharField,
}
