"""Conditions: which rows of a model are orders, where a table holds other rows too, such as carts.

A source declares one as a `Q`. It is evaluated by the database where orders are listed, and here for the values of one
row that were captured, which may differ from what the database holds now.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import models
from django.db.models import Q

from orderhooks.sources.values import stored_values

__all__ = ["fields_of", "holds", "misuses"]

# Whether the value of a column fits what the lookup is compared with, both as JSON. As Django does, NULL equals only
# None, and a None in a list counts for nothing.
LOOKUPS: Mapping[str, Callable[[Any, Any], bool]] = {
    "exact": lambda value, wanted: value == wanted,
    "in": lambda value, wanted: value is not None and value in wanted,
    "isnull": lambda value, wanted: (value is None) == wanted,
}
# Of XOR databases make NULL where a column is NULL.
CONNECTORS: Mapping[str, Callable[[Sequence[bool]], bool]] = {Q.AND: all, Q.OR: any}


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One `field__lookup=wanted` of a condition."""

    field: str
    lookup: str
    wanted: Any

    @classmethod
    def of(cls, pair: Any) -> "_Comparison":
        field, _separator, lookup = pair[0].partition("__")
        return cls(field, lookup or "exact", pair[1])


def fields_of(condition: Q, model: type[models.Model]) -> tuple[str, ...]:
    """The names of the fields that the condition compares. Raises FieldDoesNotExist."""
    fields = (model._meta.get_field(one.field) for one in _comparisons(condition))
    return tuple(dict.fromkeys(field.name for field in fields))


def holds(condition: Q, model: type[models.Model], values: Mapping[str, Any], *, using: str) -> bool:
    """Whether the condition holds for these values of its fields: JSON as it is captured, by name."""
    if not condition.children:
        return True
    parts = [
        holds(child, model, values, using=using)
        if isinstance(child, Q)
        else _fits(_Comparison.of(child), model, values, using=using)
        for child in condition.children
    ]
    return CONNECTORS[condition.connector](parts) != condition.negated


def misuses(condition: Any, model: type[models.Model]) -> Iterator[str]:
    """What of the condition can't be evaluated for one row, each as the end of a sentence."""
    if not isinstance(condition, Q):
        yield f"is {condition!r:.60}, not a Q"
        return
    if condition.connector not in CONNECTORS:
        yield f"combines conditions by {condition.connector}"
    for child in condition.children:
        if isinstance(child, Q):
            yield from misuses(child, model)
        elif not isinstance(child, tuple):
            yield f"has the expression {child!r:.60}"
        else:
            yield from _misuses_of(_Comparison.of(child), model)


def _misuses_of(one: _Comparison, model: type[models.Model]) -> Iterator[str]:
    try:
        field: Any = model._meta.get_field(one.field)
    except FieldDoesNotExist:
        yield f"names {one.field!r}, which {model._meta.label} does not have"
        return
    if field not in model._meta.concrete_fields or field.column is None:
        yield f"names {one.field!r}, which is not a column of {model._meta.label}"
    elif one.lookup not in LOOKUPS:
        yield f"has the lookup {one.lookup!r} of {one.field!r}"
    elif one.lookup == "isnull" and not isinstance(one.wanted, bool):
        yield f"compares {one.field + '__isnull'!r} with {one.wanted!r:.60}"
    elif one.lookup == "in" and not isinstance(one.wanted, list | tuple | set | frozenset):
        yield f"compares {one.field + '__in'!r} with {one.wanted!r:.60}, not with a list of values"
    else:
        try:
            for value in one.wanted if one.lookup == "in" else [one.wanted] if one.lookup == "exact" else ():
                _as_captured(field, value, using=None)
        except (TypeError, ValueError, ValidationError):
            yield f"compares {one.field!r} with {one.wanted!r:.60}, which it can't hold"


def _comparisons(condition: Q) -> Iterator[_Comparison]:
    for child in condition.children:
        if isinstance(child, Q):
            yield from _comparisons(child)
        else:
            yield _Comparison.of(child)


def _fits(one: _Comparison, model: type[models.Model], values: Mapping[str, Any], *, using: str) -> bool:
    field: Any = model._meta.get_field(one.field)
    wanted = one.wanted
    if one.lookup == "exact":
        wanted = _as_captured(field, wanted, using=using)
    elif one.lookup == "in":
        wanted = [_as_captured(field, value, using=using) for value in wanted]
    return LOOKUPS[one.lookup](values[field.name], wanted)


def _as_captured(field: Any, value: Any, *, using: str | None) -> Any:
    """The value as JSON, as a column that holds it is captured. Raises TypeError, ValueError or ValidationError."""
    value = getattr(value, field.target_field.attname) if isinstance(value, models.Model) else value
    if value is None:
        return None
    return stored_values(field.model, (field.name,), {field.attname: value}, using=using)[field.name]
