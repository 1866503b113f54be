"""Rewinding: an order as an earlier transaction committed it, from what it is now and what was captured since.

`coalescing` needs it where other transactions changed the order before it was read. Works only on instances in memory:
the store's `payload` gets an order with the watched fields and related rows of that time.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from orderhooks import sources
from orderhooks.models import Change
from orderhooks.outbox.fetching import hold_together
from orderhooks.sources import OrderSource, Related, ranges
from orderhooks.sources.keys import text_of, values_of

__all__ = ["UnrestorableError", "capture_order", "captured_values", "hold_rows", "rewind"]


class UnrestorableError(ValueError):
    """A value that can't be restored from the JSON that it was captured as."""


def hold_rows(source: OrderSource, order: Any, *, using: str) -> None:
    """Read an order's related rows once and keep them on it, so that `payload` sees them as `rewind` changes them."""
    hold_together(source, [order], using=using)
    for related in source.all_related:
        if related.pointer:
            sources.related_row(order, related.pointer)  # also one that the store's manager does not show


def rewind(source: OrderSource, order: Any, later: Sequence[Change], *, using: str) -> Any:
    """The order as it was before the `later` changes, which are given oldest first. None if it did not exist then.

    `order` is the order as it was read, with its related rows held, or None if it was deleted. It is altered. A change
    that it does not show yet does no harm. Raises UnrestorableError.
    """
    rows = _held_by_key(source, order)
    by_key = {related.key: related for related in source.all_related}
    for change in reversed(later):
        if change.related:
            if change.related in rows:
                _undo_row(by_key[change.related], rows[change.related], change, using=using)
        elif change.kind == Change.Kind.CREATED:
            order, rows = None, {key: {} for key in rows}
        elif change.kind == Change.Kind.DELETED:
            order, rows = _restore_order(source, change.before, using=using)
        elif order is not None:
            for name, value in change.before.items():
                _set(order, name, value)
    if order is not None:
        for key, held in rows.items():
            _give_back(by_key[key], order, held)
    return order


def _held_by_key(source: OrderSource, order: Any) -> dict[str, dict[str, Any]]:
    """The related rows that an order holds, by the key of `changes` and their primary key as text."""
    return {
        related.key: {text_of(row, type(row)): row for row in _held(related, order)}
        for related in source.all_related
        if related.pointer or related.relation
    }


def _give_back(related: Related, order: Any, rows: dict[str, Any]) -> None:
    if related.pointer:
        field = order._meta.get_field(related.pointer)
        for row in rows.values():
            if all(getattr(order, own.attname) == getattr(row, to.attname) for own, to in field.related_fields):
                setattr(order, related.pointer, row)
    elif relation := related.relation:
        was_read = _held(related, order)
        # As read, unless a row has come back.
        stays = {id(row) for row in was_read}.issuperset(map(id, rows.values()))
        _give(order, relation, list(rows.values()) if stays else _in_order(list(rows.values())))


def capture_order(source: OrderSource, order: Any) -> dict[str, Any]:
    """All that is loaded of an order and of the related rows that it holds, to restore it after its deletion."""
    return {
        "order": captured_values(order),
        "related": {
            key: [{"pk": pk, "values": captured_values(row)} for pk, row in rows.items()]
            for key, rows in _held_by_key(source, order).items()
        },
    }


def captured_values(instance: models.Model) -> dict[str, Any]:
    """All fields of an instance that are loaded, as JSON."""
    values: dict[str, Any] = {}
    for field in instance._meta.concrete_fields:
        # A value that the store's field can't convert is left out.
        with contextlib.suppress(Exception):
            if field.attname in instance.__dict__:
                values |= sources.watched_values(instance, (field.name,))
    return values


def _undo_row(related: Related, rows: dict[str, Any], change: Change, *, using: str) -> None:
    if not change.before:
        rows.pop(change.subject, None)  # it was added
        return
    row: Any = rows.get(change.subject)
    if row is None:
        model = related.get_model()
        # It may be in another order now, or hidden by the manager; otherwise it was deleted.
        row = next(iter(sources.plain(model, using).filter(pk__in=values_of(model, [change.subject]))), None)
        row = row or _restore(model, {**(change.snapshot or {}), **change.before}, pk=change.subject, using=using)
        rows[change.subject] = row
    for name, value in change.before.items():
        if name in related.watched:
            _set(row, name, value)


def _restore_order(
    source: OrderSource, before: Mapping[str, Any], *, using: str
) -> tuple[Any, dict[str, dict[str, Any]]]:
    rows: dict[str, dict[str, Any]] = _held_by_key(source, None)
    if "order" not in before:
        return None, rows
    order = _restore(source.get_model(), before["order"], using=using)
    for related in source.all_related:
        model = related.get_model()
        for row in before["related"].get(related.key, ()):
            rows[related.key][row["pk"]] = _restore(model, row["values"], pk=row["pk"], using=using)
    return order, rows


def _restore(model: type[models.Model], values: Mapping[str, Any], *, pk: str = "", using: str) -> Any:
    """An instance as the ORM makes it from a row. Fields without a known value are deferred."""
    names, made = [], []
    for field in model._meta.concrete_fields:
        value = values.get(field.name, pk if field.primary_key and pk else None)
        if value is None and field.name not in values:
            continue
        with contextlib.suppress(Exception):
            made.append(next(_made_of(field, value)))
            names.append(field.attname)
    return model.from_db(using, names, made)


def _set(instance: models.Model, name: str, value: Any) -> None:
    field: Any = instance._meta.get_field(name)
    # A field of a restored row that is not loaded can't be read: its row may be gone.
    if field.attname in instance.__dict__ and sources.watched_values(instance, (name,))[name] == value:
        return
    problem = None
    try:
        for made in _made_of(field, value):
            setattr(instance, field.attname, made)
            if sources.watched_values(instance, (name,))[name] == value:
                return
    except Exception as error:
        problem = error
    raise UnrestorableError(
        f"Another transaction changed the order before it was read, and the field {name!r} can't be set back: its "
        "to_python() does not understand the JSON of its own values. Publish the event again to send the order as it "
        "is now."
    ) from problem


def _made_of(field: Any, value: Any) -> Iterator[Any]:
    """The values that the field may hold for a JSON value, the likeliest first."""
    made = ranges.from_json(field, value) if ranges.is_range(field) else field.to_python(value)
    if isinstance(made, datetime) and made.tzinfo and not settings.USE_TZ:
        yield made.replace(tzinfo=None)
        yield timezone.make_naive(made, timezone.get_default_timezone())
    else:
        yield made


def _held(related: Related, order: Any) -> list[Any]:
    if order is None:
        return []
    if related.pointer:
        row = order._state.fields_cache.get(related.pointer)
        return [] if row is None else [row]
    return list(getattr(order, "_prefetched_objects_cache", {}).get(related.relation, ()))


def _give(order: Any, relation: str, rows: list[Any]) -> None:
    """Keep the rows as `prefetch_related` does, so that `order.<relation>.all()` makes no query."""
    held = order.__dict__.setdefault("_prefetched_objects_cache", {})
    held.pop(relation, None)
    manager = getattr(order, relation)
    queryset = manager.get_queryset()
    for row in rows:
        setattr(row, manager.field.name, order)
    queryset._result_cache, queryset._prefetch_done = rows, True
    held[relation] = queryset


def _in_order(rows: list[Any]) -> list[Any]:
    """By `Meta.ordering`, as far as it names fields; without it in the order in which most shops add rows."""
    sorted_rows = rows
    try:
        for name in reversed(rows[0]._meta.ordering or ("pk",)):
            sorted_rows = sorted(sorted_rows, key=attrgetter(name.lstrip("-")), reverse=name.startswith("-"))
    except (AttributeError, TypeError):
        return rows
    return sorted_rows
