"""What the serializers' fields have in common: they take the JSON type that they show, and no other.

A code of `problems.REFUSED` says that a value is of the right form and refused all the same.
"""

import math
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.core.validators import EmailValidator
from django.db import models
from django.utils.dateparse import parse_datetime
from rest_framework import serializers

from orderhooks import payloads
from orderhooks.currencies import decimal_text

DEEPEST = payloads.MAX_PASSED_THROUGH_DEPTH
# What every database's integer holds; SQLite would take more and then differ.
LARGEST_WHOLE = 2**31 - 1
AMOUNT = r"^[0-9]{1,12}(\.[0-9]{1,4})?$"
# https://www.rfc-editor.org/rfc/rfc3339#section-5.6
MOMENT = re.compile(
    r"[0-9]{4}(-[0-9]{2}){2}[T ]([0-9]{2}:){2}[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})", re.IGNORECASE
)


class Text(serializers.CharField):
    """Text, without the white space round it."""

    default_error_messages = {"whitespace": "Give more than white space."}

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if isinstance(data, str) and data and not data.strip() and self.trim_whitespace and not self.allow_blank:
            self.fail("whitespace")
        return super().run_validation(data)

    def to_internal_value(self, data: Any) -> str:
        # DRF would take numbers.
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Email(Text):
    """An e-mail address."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.validators = [one for one in self.validators if not isinstance(one, EmailValidator)]
        self.validators.append(EmailValidator(code="email"))


class Whole(serializers.IntegerField):
    """A whole number: 3 or 3.0, as JSON Schema has it."""

    def __init__(self, **options: Any) -> None:
        # A model's field has the bound of its database.
        super().__init__(**{**options, "max_value": min(LARGEST_WHOLE, options.get("max_value") or LARGEST_WHOLE)})

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not (isinstance(data, int) or (isinstance(data, float) and data.is_integer())):
            self.fail("invalid")
        return int(data)


class Number(serializers.FloatField):
    """A number."""

    def to_internal_value(self, data: Any) -> float:
        try:
            number = float(data) if isinstance(data, int | float) and not isinstance(data, bool) else math.nan
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            self.fail("invalid")
        return number


class Flag(serializers.BooleanField):
    """True or false, and no word for it."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Money(serializers.DecimalField):
    """An amount of an order or of its line: text, shown with the decimal places of the order's currency."""

    default_error_messages = {"text": 'Give a valid number as text, such as "19.90".'}

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_digits": 16, "decimal_places": 4, "min_value": Decimal(0), **options})

    def to_internal_value(self, data: Any) -> Decimal:
        if not isinstance(data, str):
            self.fail("text")
        amount = super().to_internal_value(data)
        # DRF also takes "+5", "1e2" and "५".
        if amount >= 0 and not re.fullmatch(AMOUNT[1:-1], data):
            self.fail("text")
        return amount

    def get_attribute(self, instance: Any) -> Any:
        amount: Any = super().get_attribute(instance)
        return decimal_text(amount, getattr(instance, "order", instance).currency)

    def to_representation(self, value: Any) -> Any:
        return value


class Moment(serializers.DateTimeField):
    """ISO 8601 in UTC, whatever the project's settings."""

    default_error_messages = {"invalid": "Give a moment such as 2026-11-24T06:00:00Z."}

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"format": "iso-8601", "default_timezone": UTC, **options})

    def to_internal_value(self, value: Any) -> datetime:
        if not isinstance(value, str) or not MOMENT.fullmatch(value):
            self.fail("invalid")
        try:
            moment = parse_datetime(value.upper())
        except ValueError:
            moment = None
        if moment is None:
            self.fail("overflow")
        return self.enforce_timezone(moment)


class Choice(serializers.ChoiceField):
    """One of the choices; the error names them."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid_choice", input=data)
        return super().to_internal_value(data)

    def fail(self, key: str, **values: Any) -> Any:
        if key == "invalid_choice":
            allowed = ", ".join(str(choice) for choice in self.choices)
            raise serializers.ValidationError(f"{values['input']!r} is not one of: {allowed}.", code=key)
        return super().fail(key, **values)


class JsonObject(serializers.JSONField):
    """A JSON object that every database stores and every receiver parses."""

    default_error_messages = {
        "object": 'Send a JSON object such as {{"city": "Kyoto"}}.',
        "deep": "Nest no deeper than {deepest} levels.",
        "json": "Leave out NaN, infinite numbers, NUL characters and lone surrogates: no receiver could read them.",
    }

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("object")
        if _depth(data) > DEEPEST:
            self.fail("deep", deepest=DEEPEST)
        try:
            payloads.check(data)
        except (TypeError, ValueError):
            self.fail("json")
        return data


def _depth(data: Any) -> int:
    """Level by level, since recursion is what deep nesting breaks."""
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


# For `serializer_field_mapping`.
OF_MODELS: dict[Any, Any] = {
    **serializers.ModelSerializer.serializer_field_mapping,
    models.BooleanField: Flag,
    models.CharField: Text,
    models.DateTimeField: Moment,
    models.DecimalField: Money,
    models.EmailField: Email,
    models.JSONField: JsonObject,
    models.PositiveIntegerField: Whole,
    models.PositiveSmallIntegerField: Whole,
    models.TextField: Text,
}
