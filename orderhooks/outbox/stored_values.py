"""Stored values: what the database holds of an order or a line right before a save, and right after it.

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

__all__ = ["StoredValues", "may_have_row", "read_after", "read_before", "touched_fields"]


@dataclass(frozen=True, slots=True)
class StoredValues:
    """Watched values as the database stores them, by field name, and the key, as text, of their order.

    The key is None for a line that belongs to no order.
    """

    values: dict[str, Any]
    order_pk: str | None


def touched_fields(
    watched_model: WatchedModel, instance: models.Model, update_fields: Iterable[str] | None
) -> tuple[str, ...]:
    """The watched fields that a save with these `update_fields` may change. None stands for all fields."""
    watched = watched_model.watched
    if watched_model.is_part(instance):
        own = {field.name for field in instance._meta.concrete_fields}
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
    of = watched_model.model if isinstance(instance, watched_model.model) else type(instance)
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

    columns = (*_columns(watched_model, watched), WANTED)
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
        return _stored(watched_model, watched, row, using=using) if row is not None and row[WANTED] else None


def read_after(
    watched_model: WatchedModel, instance: models.Model, watched: Sequence[str], *, using: str
) -> StoredValues:
    """The watched fields as the save left them. Reads from the database only what the instance does not hold.

    The instance does not hold what an expression (`F(…) + 1`), a database default or a generated column has set. Raises
    LookupError if the row is gone.
    """
    columns = _columns(watched_model, watched)
    held = instance.__dict__
    if watched_model.is_part(instance) or any(
        name not in held or hasattr(held[name], "resolve_expression") or _is_generated(watched_model, name)
        for name in columns
    ):
        with survivable(using, "after", watched_model.model, columns):
            row = sources.read_columns(
                watched_model.model, columns, watched_model.where(instance), "after", using=using
            )
            if row is None:
                raise LookupError("The row was deleted before it could be read.")
            return _stored(watched_model, watched, row, using=using)
    row = {name: getattr(instance, name) for name in columns}
    if not watched_model.lines:
        return _stored(watched_model, watched, row, using=using)
    with survivable(using, "order", watched_model):
        return _stored(watched_model, watched, row, using=using)


def _columns(watched_model: WatchedModel, watched: Sequence[str]) -> tuple[str, ...]:
    """The attnames of the columns to read: those of the watched fields, and those that identify the order."""
    return _columns_of(watched_model, tuple(watched))


@functools.cache
def _columns_of(watched_model: WatchedModel, watched: tuple[str, ...]) -> tuple[str, ...]:
    fields: list[Any] = [watched_model.model._meta.get_field(name) for name in watched]
    key: list[Any] = [] if watched_model.lines else list(watched_model.model._meta.pk_fields)
    names = [field.attname for field in (*fields, *key) if field.column is not None]
    return tuple(dict.fromkeys((*names, *watched_model.link_columns)))


def _is_generated(watched_model: WatchedModel, column: str) -> bool:
    return isinstance(watched_model.model._meta.get_field(column), models.GeneratedField)


def _stored(watched_model: WatchedModel, watched: Sequence[str], row: dict[str, Any], *, using: str) -> StoredValues:
    link = watched_model.lines.order_field if watched_model.lines else ""
    values = sources.stored_values(watched_model.model, [name for name in watched if name != link], row, using=using)
    return StoredValues(values, watched_model.order_pk_in(row, using=using))
