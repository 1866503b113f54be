"""Field types: the JSON Schema and an example of the JSON that a model's field becomes. For `field_payload`."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.db import models
from django.utils.choices import CallableChoiceIterator

from orderhooks.sources import keys, ranges
from orderhooks.sources.values import TIMESTAMP, as_json

__all__ = ["example_of", "key_example", "key_schema", "nullable", "schema_of"]

TEXT = {"type": "string"}
DECIMAL = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "description": "A decimal number."}
DURATION = {
    "type": "string",
    "pattern": r"^-?P[0-9]+DT[0-9]{2}H[0-9]{2}M[0-9]{2}(\.[0-9]{6})?S$",
    "description": "ISO 8601.",
}
TIME = {"type": "string", "pattern": r"^[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?$"}
# By the first class that a field is an instance of: the schema, and the example.
BY_TYPE: tuple[tuple[type[models.Field], Mapping[str, Any], Any], ...] = (
    (models.BooleanField, {"type": "boolean"}, False),
    (models.PositiveBigIntegerField, {"type": "integer", "minimum": 0}, 1),
    (models.PositiveIntegerField, {"type": "integer", "minimum": 0}, 1),
    (models.PositiveSmallIntegerField, {"type": "integer", "minimum": 0}, 1),
    (models.IntegerField, {"type": "integer"}, 1),
    (models.FloatField, {"type": "number"}, 1.5),
    (models.DecimalField, DECIMAL, Decimal("19.90")),
    (models.DateTimeField, TIMESTAMP, "2026-11-23T09:58:30.000000Z"),
    (models.DateField, {"type": "string", "format": "date"}, "2026-11-23"),
    (models.TimeField, TIME, "09:58:30"),
    (models.DurationField, DURATION, "P1DT00H00M00S"),
    (models.UUIDField, {"type": "string", "format": "uuid"}, "0192f3a1-7c58-4d0e-9b64-3f1c8a2e5d70"),
    (models.BinaryField, {"type": "string", "contentEncoding": "base64"}, "dGVh"),
    (models.JSONField, {}, {}),
    (models.CharField, TEXT, ""),
    (models.TextField, TEXT, ""),
    (models.FileField, TEXT, ""),
    (models.GenericIPAddressField, TEXT, "192.0.2.1"),
)
# Examples of text, by a word in the field's name.
BY_NAME = (
    ("mail", "ada@example.com"),
    ("phone", "+44 20 7946 0000"),
    ("currency", "EUR"),
    ("sku", "TEA-1"),
    ("city", "London"),
    ("country", "GB"),
    ("street", "12 St James's Square"),
    ("address", "12 St James's Square"),
    ("postcode", "SW1Y 4JH"),
    ("zip", "SW1Y 4JH"),
    ("url", "https://example.com"),
    ("name", "Ada Byron"),
    ("number", "1001"),
    ("reference", "R-1001"),
    ("code", "1001"),
)
# Text of other names.
ANY_TEXT = "text"


def schema_of(field: Any) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a field's values. It allows anything for a type that is not known."""
    schema = _schema(_stored_as(field))
    if (choices := _choices(field)) and schema:
        schema["enum"] = choices
    return nullable(schema) if field.null else schema


def example_of(field: Any) -> Any:
    """An example of the field's values that fits `schema_of`: a plain default, a choice, or a value of its type."""
    choices, default = _choices(field), _default(field)
    if choices:
        # The value among the choices: a default may be a member of an enumeration.
        return choices[choices.index(default)] if default in choices else choices[0]
    stored = _stored_as(field)
    if isinstance(stored, models.CharField | models.TextField):
        return str(default or _text(field.name))[: stored.max_length]
    return _example(stored)


def key_schema(model: type[models.Model]) -> dict[str, Any]:
    """The JSON Schema of the `id` that an instance of the model has: see `keys.as_json`."""
    return {"type": "integer" if isinstance(key_example(model), int) else "string", "description": "The primary key."}


def key_example(model: type[models.Model]) -> Any:
    """An example of that `id`."""
    texts = [str(_example(_stored_as(field)) or _text(field.name)) for field in keys.key_fields(model)]
    return keys.as_json(model, keys.as_text(model, texts))


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, with null allowed."""
    if "enum" in schema:
        schema = {**schema, "enum": [*schema["enum"], None]}
    return {**schema, "type": [schema["type"], "null"]} if "type" in schema else schema


def _stored_as(field: Any) -> Any:
    """The field whose values it holds: of a generated field its output, of a foreign key the key that it points to."""
    if isinstance(field, models.GeneratedField):
        return _stored_as(field.output_field)
    return _stored_as(field.target_field) if isinstance(field, models.ForeignKey) else field


def _schema(field: Any) -> dict[str, Any]:
    if hasattr(field, "from_db_value") and not type(field).__module__.startswith("django."):
        return {}  # another package's field, whose values may be of any type
    if _is_array(field):
        return {"type": "array", "items": schema_of(field.base_field)}
    if ranges.is_range(field):
        end: dict[str, Any] = nullable(_schema(field.base_field))
        bounds = {"enum": ["[)", "[]", "()", "(]"]}
        return {
            "type": "object",
            "properties": {"lower": end, "upper": end, "bounds": bounds, "empty": {"const": True}},
        }
    for of_type, schema, _example in BY_TYPE:
        if isinstance(field, of_type):
            has_length = schema is TEXT and field.max_length
            return {**schema, "maxLength": field.max_length} if has_length else dict(schema)
    return {}


def _example(field: Any) -> Any:
    if _is_array(field):
        return [example_of(field.base_field)]
    if ranges.is_range(field):
        return {"lower": _example(field.base_field), "upper": None, "bounds": "[)"}
    example = next((one for of_type, _schema, one in BY_TYPE if isinstance(field, of_type)), ANY_TEXT)
    if not isinstance(example, Decimal):
        return example
    # In the columns of a rate, such as 4 digits of which 4 are decimal places, there is no place for 19.
    whole = field.max_digits is None or field.max_digits - field.decimal_places >= 2
    example = example if whole else Decimal(0)
    return as_json(example.quantize(Decimal(1).scaleb(-(field.decimal_places or 0))))


def _is_array(field: Any) -> bool:
    # By name: importing it needs psycopg. Ranges have a `base_field` too.
    return any(one.__name__ == "ArrayField" for one in type(field).__mro__)


def _choices(field: Any) -> list[Any]:
    """The values that a field may have, as JSON. Empty if it has no choices, or if a function makes them."""
    if not field.choices or isinstance(field.choices, CallableChoiceIterator):
        return []
    values = [as_json(value) for value, _label in field.flatchoices]
    # What forms do not offer may be stored anyway.
    others = [_default(field), *([""] if field.blank and isinstance(field, models.CharField) else [])]
    return [value for value in dict.fromkeys([*values, *others]) if value is not None]


def _default(field: Any) -> Any:
    """A field's default as JSON. None if it has none, or if a function or the database makes it."""
    default = field.default if isinstance(field.default, str | int | float | Decimal) else None
    return as_json(field.to_python(default)) if default is not None else None


def _text(name: str) -> str:
    return next((example for word, example in BY_NAME if word in name), ANY_TEXT)
