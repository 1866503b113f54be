"""What the serializers' fields have in common: money, moments, choices and JSON as receivers see them too."""

from datetime import UTC
from decimal import Decimal
from typing import Any

from rest_framework import serializers

from orderhooks import payloads
from orderhooks.currencies import decimal_text

DEEPEST = 50


class Money(serializers.DecimalField):
    """An amount of an order or of its line; shown as text with the decimal places of the order's currency."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_digits": 16, "decimal_places": 4, "min_value": Decimal(0), **options})

    def get_attribute(self, instance: Any) -> Any:
        amount: Any = super().get_attribute(instance)
        return decimal_text(amount, getattr(instance, "order", instance).currency)

    def to_representation(self, value: Any) -> Any:
        return value


class Moment(serializers.DateTimeField):
    """ISO 8601 in UTC, whatever the project's settings."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"format": "iso-8601", "default_timezone": UTC, **options})


class Choice(serializers.ChoiceField):
    """One of the choices; the error names them."""

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
