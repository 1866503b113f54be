"""The JSON Schemas of serializer fields. In requests they have the limits that the fields check."""

from decimal import Decimal
from typing import Any

from django.core.validators import EmailValidator
from django.db.models import Field
from rest_framework import serializers
from rest_framework.fields import empty

from orderhooks import operational, topics
from orderhooks.api import fields
from orderhooks.api.login_fields import AuthenticationField, ClientCertificateField, login_schema
from orderhooks.api.openapi.descriptions import Schema
from orderhooks.api.openapi.parameters import NO_NUL
from orderhooks.api.subscription_fields import SealedHeadersField
from orderhooks.currencies import CODES, validate_currency
from orderhooks.models.configuration import validate_topics

__all__ = ["is_nullable", "of_field"]


def of_field(field: serializers.Field[Any, Any, Any, Any], *, is_request: bool) -> Schema:
    """The schema of a field that is not a serializer itself. Raises TypeError for a field that is not known here."""
    schema = _by_class(field, is_request=is_request)
    if is_request and field.default not in (empty, None):
        schema["default"] = field.default
    return schema


def is_nullable(field: Any) -> bool:
    """Whether the field may be null. DRF's `allow_null` ignores the model's field if the serializer's is read-only."""
    model = getattr(getattr(field.parent, "Meta", None), "model", None)
    known = {one.name: one for one in model._meta.get_fields() if isinstance(one, Field)} if model else {}
    return bool(field.allow_null or getattr(known.get(field.source), "null", False))


def _by_class(field: serializers.Field[Any, Any, Any, Any], *, is_request: bool) -> Schema:
    match field:
        case serializers.ChoiceField():
            return {"type": "string", "enum": list(field.choices)}
        case fields.StrictDateTimeField():
            return {"type": "string", "format": "date-time"}
        case fields.MoneyField():
            return _money(is_request=is_request)
        case fields.JsonObjectField():
            return {"type": "object"}
        case AuthenticationField() | ClientCertificateField():
            return login_schema(field, is_request=is_request)
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
    raise TypeError(f"There is no schema for {type(field).__name__}. Add one, or name it in `field_schemas`.")


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
    # An order that was not created by the API may have more digits.
    if is_request:
        return {"type": "string", "pattern": fields.AMOUNT, "examples": ["19.90"]}
    return {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$", "description": "In the order's currency."}


def _headers(field: SealedHeadersField, *, is_request: bool) -> Schema:
    value = _text(field.child, is_request=True) if is_request else {"type": "string", "const": "(hidden)"}
    return {"type": "object", "additionalProperties": value}


def _list(field: serializers.ListField, *, is_request: bool) -> Schema:
    child: Any = field.child
    items: Any = _by_class(child, is_request=is_request)
    if not is_request:
        return {"type": "array", "items": items}
    if validate_topics in field.validators:
        items = {"type": "string", "enum": _patterns()}
    max_items = {"maxItems": field.max_length} if field.max_length is not None else {}
    return {"type": "array", "items": items, **max_items, **({} if field.allow_empty else {"minItems": 1})}


def _patterns() -> list[str]:
    """All valid patterns: `*`, families such as `order.*`, the topics of the catalogue, and the operational ones."""
    names = [*topics.catalogue(), *operational.TOPICS]
    steps = [name.split(".") for name in names]
    families = [".".join([*one[:depth], "*"]) for one in steps for depth in range(1, len(one))]
    return ["*", *dict.fromkeys(families), *names]


def _bounds(field: Any) -> dict[str, float | int]:
    bounds = {"minimum": field.min_value, "maximum": field.max_value}
    # Fields of models have their bounds in validators.
    for validator in field.validators:
        for name, key, chosen in (("MinValueValidator", "minimum", max), ("MaxValueValidator", "maximum", min)):
            if type(validator).__name__ == name:
                limit = validator.limit_value
                bounds[key] = limit if bounds[key] is None else chosen(bounds[key], limit)
    return {key: _number(value) for key, value in bounds.items() if value is not None}


def _number(value: Any) -> float | int:
    return int(value) if isinstance(value, float | Decimal) and value == int(value) else value
