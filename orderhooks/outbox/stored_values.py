"""Stored values: what the database holds of an order or a related row right before a save, and right after it.

`capturing` compares the two.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections, models
from django.db.models import Exists

from orderhooks import sources
from orderhooks.models import Subscription
from orderhooks.outbox.guarding import survivable
from orderhooks.sources import WatchedModel
from orderhooks.sources.keys import as_text

__all__ = [
    "StoredValues",
    "columns_to_read",
    "may_have_row",
    "read_after",
    "read_before",
    "read_pointed_at",
    "stored_row",
    "touched_fields",
]


@dataclass(frozen=True, slots=True)
class StoredValues:
    """Watched values as they are stored, by field name, and the columns that identify the order, by attname."""

    values: dict[str, Any]
    columns: dict[str, Any]


def touched_fields(
    watched_model: WatchedModel, model: type[models.Model], update_fields: Iterable[str] | None
) -> tuple[str, ...]:
    """The watched fields that a save or update of `model` with these fields may change. None stands for all fields."""
    watched = watched_model.watched
    if watched_model.is_part(model):
        own = {field.name for field in model._meta.concrete_fields}
        watched = tuple(name for name in watched if name in own)
    if update_fields is None:
        return watched
    fields = frozenset(update_fields)
    if not fields:
        return ()

    def is_touched(name: str) -> bool:
        field: Any = watched_model.model._meta.get_field(name)
        return name in fields or field.attname in fields

    # A generated column may change with any other column.
    generated = tuple(
        name for name in watched if isinstance(watched_model.model._meta.get_field(name), models.GeneratedField)
    )
    touched = tuple(name for name in watched if is_touched(name))
    return (*touched, *(name for name in generated if name not in touched))


def may_have_row(watched_model: WatchedModel, instance: models.Model) -> bool:
    """Whether the database may hold a row of the instance already. An instance that made its own key is new."""
    of = type(instance) if watched_model.is_part(type(instance)) else watched_model.model
    key: list[Any] = list(of._meta.pk_fields)
    if any(value is None or hasattr(value, "resolve_expression") for value in watched_model.where(instance).values()):
        return False
    return not (instance._state.adding and all(field.has_default() or field.has_db_default() for field in key))


WANTED = "_orderhooks_wanted"


def read_before(
    watched_model: WatchedModel, instance: models.Model, watched: Sequence[str], *, using: str
) -> StoredValues | None:
    """The stored values of the watched fields. None if there is no row, or no subscription: one query finds out both.

    The row is locked where the database can lock rows.
    """
    connection = connections[using]
    lock = connection.in_atomic_block

    def make(rows: "models.QuerySet[Any]") -> "models.QuerySet[Any]":
        rows = rows.annotate(**{WANTED: Exists(Subscription.objects.all())})
        if lock:
            # Otherwise two saves of one order could read the same `before` and capture the same change twice. The
            # UPDATE of the save takes the same lock anyway, right after this.
            rows = rows.select_for_update(no_key=connection.features.has_select_for_no_key_update)
        return rows

    columns = (*columns_to_read(watched_model, watched), WANTED)
    with survivable(using, "before", watched_model.model, columns):
        row = sources.read_columns(
            watched_model.model,
            columns,
            watched_model.where(instance),
            "before",
            lock,
            using=using,
            make=make,
        )
        return stored_row(watched_model, watched, row, using=using) if row is not None and row[WANTED] else None


def read_after(
    watched_model: WatchedModel, instance: models.Model, watched: Sequence[str], *, using: str
) -> StoredValues:
    """The watched fields as the save left them. Reads from the database only what the instance does not hold.

    The instance does not hold what an expression (`F(…) + 1`), a database default or a generated column has set. Raises
    LookupError if the row is gone.
    """
    columns = columns_to_read(watched_model, watched)
    held = instance.__dict__
    if watched_model.is_part(type(instance)) or any(
        name not in held or hasattr(held[name], "resolve_expression") or _is_generated(watched_model, name)
        for name in columns
    ):
        with survivable(using, "after", watched_model.model, columns):
            row = sources.read_columns(
                watched_model.model, columns, watched_model.where(instance), "after", using=using
            )
            if row is None:
                raise LookupError("The row was deleted before it could be read.")
            return stored_row(watched_model, watched, row, using=using)
    return stored_row(watched_model, watched, {name: getattr(instance, name) for name in columns}, using=using)


def read_pointed_at(
    watched_model: WatchedModel, pointers: Iterable[Any], *, using: str
) -> dict[Any, tuple[str, dict[str, Any]]]:
    """The key, as text, and the watched values of each related row to which an order points, by the pointer's value.

    The values of the pointers are JSON.
    """
    model, (target,) = watched_model.model, watched_model.identifying_columns
    key = [field.attname for field in model._meta.pk_fields]
    names = tuple(dict.fromkeys((*columns_to_read(watched_model, watched_model.watched), *key)))
    found = {}
    for row in sources.plain(model, using).filter(**{f"{target}__in": list(pointers)}).values(*names):
        pointer = sources.stored_values(model, (target,), row, using=using)[target]
        values = sources.stored_values(model, watched_model.watched, row, using=using)
        found[pointer] = as_text(model, [row[name] for name in key]), values
    return found


def columns_to_read(watched_model: WatchedModel, watched: Sequence[str]) -> tuple[str, ...]:
    """The attnames of the columns to read: those of the watched fields, and those that identify the order."""
    return _columns_of(watched_model, tuple(watched))


@functools.cache
def _columns_of(watched_model: WatchedModel, watched: tuple[str, ...]) -> tuple[str, ...]:
    fields: list[Any] = [watched_model.model._meta.get_field(name) for name in watched]
    names = [field.attname for field in fields if field.column is not None]
    return tuple(dict.fromkeys((*names, *watched_model.identifying_columns)))


def _is_generated(watched_model: WatchedModel, column: str) -> bool:
    return isinstance(watched_model.model._meta.get_field(column), models.GeneratedField)


def stored_row(watched_model: WatchedModel, watched: Sequence[str], row: dict[str, Any], *, using: str) -> StoredValues:
    names = [name for name in watched if name != watched_model.link_field]
    values = sources.stored_values(watched_model.model, names, row, using=using)
    return StoredValues(values, {name: row[name] for name in watched_model.identifying_columns})
