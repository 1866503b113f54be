"""Keys: primary keys as text, as our tables store them, and back. A composite key is a JSON list of texts."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models


def key_fields(model: type[models.Model]) -> "list[models.Field[Any, Any]]":
    """The fields of the primary key: one, or several of a composite key."""
    return list(model._meta.pk_fields)


def as_text(model: type[models.Model], values: Sequence[Any]) -> str:
    """The primary key with these values of its fields, as text."""
    texts = [_text(field, value) for field, value in zip(key_fields(model), values, strict=True)]
    return texts[0] if len(texts) == 1 else json.dumps(texts, ensure_ascii=False)


def from_text(model: type[models.Model], text: str) -> Mapping[str, Any]:
    """The values of the key's fields, by attname, for a filter.

    Raises:
        ValueError, TypeError, ValidationError: the text can't be a key of the model.
    """
    fields = key_fields(model)
    texts = [text] if len(fields) == 1 else json.loads(text)
    if not isinstance(texts, list) or len(texts) != len(fields):
        raise ValueError(f"{text!r} is not a key of {model._meta.label}: it has {len(fields)} fields.")
    return {field.attname: field.to_python(one) for field, one in zip(fields, texts, strict=True)}


def values_of(model: type[models.Model], texts: Iterable[str]) -> list[Any]:
    """The keys in the form that `pk__in` takes. Raises what `from_text` raises."""
    found = [tuple(from_text(model, text).values()) for text in texts]
    return found if len(key_fields(model)) > 1 else [value for (value,) in found]


def valid_keys(model: type[models.Model], texts: Iterable[str]) -> list[Any]:
    """The same without the texts that can't be keys of the model, or of a number that its column does not hold."""
    found = []
    for text in texts:
        with suppress(ValueError, TypeError, ValidationError):
            values = from_text(model, text)
            for field in key_fields(model):
                field.run_validators(values[field.attname])
            found += values_of(model, [text])
    return found


def as_json(model: type[models.Model], text: str) -> Any:
    """A primary key as JSON: a number if the column holds whole numbers, otherwise the text."""
    fields = key_fields(model)
    return int(text) if len(fields) == 1 and isinstance(_target(fields[0]), models.IntegerField) else text


def _target(field: Any) -> Any:
    """The field that a primary key holds the values of: another one if it is a foreign key."""
    return _target(field.target_field) if isinstance(field, models.ForeignKey) else field


def text_of(instance: models.Model, model: type[models.Model]) -> str:
    """The primary key, as text, of an instance of `model` or of a child of it."""
    return as_text(model, [getattr(instance, field.attname) for field in key_fields(model)])


def _text(field: "models.Field[Any, Any]", value: Any) -> str:
    return str(field.to_python(value))
