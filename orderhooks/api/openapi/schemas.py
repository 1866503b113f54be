"""The JSON Schema of each field of the serializers; in requests with how long and how large it may be."""

from decimal import Decimal
from typing import Any

from django.core.validators import EmailValidator
from django.db.models import Field
from rest_framework import serializers
from rest_framework.fields import empty

from orderhooks import reporting, topics
from orderhooks.api import deliveries, events, fields
from orderhooks.api.openapi.describing import NO_NUL, Schema
from orderhooks.api.subscription_fields import SealedHeadersField
from orderhooks.currencies import CODES, validate_currency
from orderhooks.models.configuration import validate_topics
from orderhooks.reporting.endpoint_health import Health

__all__ = ["HIDDEN", "TOLD", "is_nullable", "of_field"]

OBJECT: Schema = {"type": "object"}
TEXTS: Schema = {"type": "array", "items": {"type": "string"}}

# What the Python type of a field does not tell.
TOLD: dict[tuple[str, str], Schema] = {
    ("Attempt", "request_headers"): OBJECT,
    ("Attempt", "response_headers"): OBJECT,
    ("Event", "payload"): {"type": ["object", "null"], "description": "`data` of the body that receivers get."},
    ("Event", "changes"): {**OBJECT, "description": "[old, new] of each field that the transaction changed."},
    ("Missed", "reason"): {"type": "string", "enum": list(reporting.Reason.values)},
    ("Replay", "topics"): {**TEXTS, "description": "Patterns; empty: all that the subscription wants."},
    ("SubscriptionOutcome", "delivery"): {
        "type": ["string", "null"],
        "description": "The delivery's id; null if there is none.",
    },
    ("SubscriptionOutcome", "next_attempt_at"): {"type": ["string", "null"], "format": "date-time"},
    ("Subscription", "health"): {"type": "string", "enum": list(Health.values)},
}
TOLD |= {("Missed", name): TOLD["Event", name] for name in ("payload", "changes")}

# Shown to those who may see payloads alone, so that an answer may be without them.
HIDDEN = frozenset(
    (owner, name)
    for owners, names in ((("Event", "Missed"), events.CONFIDENTIAL), (("Attempt",), deliveries.CONFIDENTIAL))
    for owner in owners
    for name in names
)


def of_field(field: serializers.Field[Any, Any, Any, Any], *, is_request: bool) -> Schema | None:
    """The schema of a field that holds no other serializer; None if its class says nothing."""
    schema = _plain(field, is_request=is_request)
    if schema is None:
        return None
    if is_request and field.default not in (empty, None):
        schema["default"] = field.default
    return schema


def is_nullable(field: Any) -> bool:
    # DRF does not ask the model's field if it can't be written.
    model = getattr(getattr(field.parent, "Meta", None), "model", None)
    known = {one.name: one for one in model._meta.get_fields() if isinstance(one, Field)} if model else {}
    return bool(field.allow_null or getattr(known.get(field.source), "null", False))


def _plain(field: serializers.Field[Any, Any, Any, Any], *, is_request: bool) -> Schema | None:
    match field:
        case serializers.ChoiceField():
            return {"type": "string", "enum": list(field.choices)}
        case fields.StrictDateTimeField():
            return {"type": "string", "format": "date-time"}
        case fields.MoneyField():
            return _money(is_request=is_request)
        case fields.JsonObjectField():
            return dict(OBJECT)
        case SealedHeadersField():
            return _headers(field, is_request=is_request)
        case serializers.ListField():
            return _list(field, is_request=is_request)
        case serializers.CharField():
            return _text(field, is_request=is_request)
        case serializers.IntegerField():
            return {"type": "integer", **(_bounds(field) if is_request else {})}
        case serializers.FloatField():
            return {"type": "number", **(_bounds(field) if is_request else {})}
        case serializers.BooleanField():
            return {"type": "boolean"}
    return None


def _text(field: serializers.CharField, *, is_request: bool) -> Schema:
    schema: Schema = {"type": "string"}
    if validate_currency in field.validators:
        return {**schema, "enum": sorted(CODES)} if is_request else schema
    if not is_request:
        return schema
    if any(isinstance(one, EmailValidator) for one in field.validators):
        schema["description"] = "An e-mail address."
    if not field.allow_blank:
        schema["minLength"] = 1
    if field.max_length is not None:
        schema["maxLength"] = field.max_length
    return {**schema, "pattern": NO_NUL}


def _money(*, is_request: bool) -> Schema:
    # An order that was not made by the API may hold more digits.
    if is_request:
        return {"type": "string", "pattern": fields.AMOUNT, "examples": ["19.90"]}
    return {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$", "description": "In the order's currency."}


def _headers(field: SealedHeadersField, *, is_request: bool) -> Schema:
    value = _text(field.child, is_request=True) if is_request else {"type": "string", "const": "(hidden)"}
    return {"type": "object", "additionalProperties": value}


def _list(field: serializers.ListField, *, is_request: bool) -> Schema:
    child: Any = field.child
    items: Any = _plain(child, is_request=is_request)
    if not is_request:
        return {"type": "array", "items": items}
    if validate_topics in field.validators:
        items = {"type": "string", "enum": patterns()}
    longest = {"maxItems": field.max_length} if field.max_length is not None else {}
    return {"type": "array", "items": items, **longest, **({} if field.allow_empty else {"minItems": 1})}


def patterns() -> list[str]:
    """All that a subscription's topics may be: `*`, families, and the topics of the catalogue."""
    names = list(topics.catalogue())
    steps = [name.split(".") for name in names]
    families = [".".join([*one[:depth], "*"]) for one in steps for depth in range(1, len(one))]
    return ["*", *dict.fromkeys(families), *names]


def _bounds(field: Any) -> dict[str, float | int]:
    bounds = {"minimum": field.min_value, "maximum": field.max_value}
    # Of a model's field the bound stands in a validator.
    for validator in field.validators:
        for name, key, chosen in (("MinValueValidator", "minimum", max), ("MaxValueValidator", "maximum", min)):
            if type(validator).__name__ == name:
                limit = validator.limit_value
                bounds[key] = limit if bounds[key] is None else chosen(bounds[key], limit)
    return {key: _number(value) for key, value in bounds.items() if value is not None}


def _number(value: Any) -> float | int:
    return int(value) if isinstance(value, float | Decimal) and value == int(value) else value
