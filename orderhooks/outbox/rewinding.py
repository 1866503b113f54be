"""Rewinding: an order as an earlier transaction committed it, from what it is now and what was captured since.

`coalescing` needs it where other transactions changed the order before it was read. Works only on instances in memory:
the store's `payload` gets an order with the watched fields and lines of that time.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from orderhooks import sources
from orderhooks.models import Change
from orderhooks.sources import Lines, OrderSource
from orderhooks.sources.keys import text_of, values_of

__all__ = ["UnrestorableError", "capture_order", "captured_values", "hold_lines", "relation_of", "rewind"]


class UnrestorableError(ValueError):
    """A value that can't be restored from the JSON that it was captured as."""


def hold_lines(source: OrderSource, order: Any, *, using: str) -> None:
    """Read an order's lines once and keep them on it, so that `payload` sees them as `rewind` changes them."""
    relation = relation_of(source.lines)
    if relation is None:
        return
    rows = getattr(order, relation).get_queryset().using(using)
    _give(order, relation, list(rows))


def rewind(source: OrderSource, order: Any, later: Sequence[Change], *, using: str) -> Any:
    """The order as it was before the `later` changes, which are given oldest first. None if it did not exist then.

    `order` is the order as it was read, with its lines held, or None if it was deleted. It is altered. A change that it
    does not show yet does no harm. Raises UnrestorableError.
    """
    lines = {text_of(line, type(line)): line for line in _held(source, order)}
    for change in reversed(later):
        of_line = change.subject != "" and change.kind != Change.Kind.EXPLICIT
        if of_line:
            _undo_line(source, lines, change, using=using)
        elif change.kind == Change.Kind.CREATED:
            order, lines = None, {}
        elif change.kind == Change.Kind.DELETED:
            order, lines = _restore_order(source, change.before, using=using)
        elif order is not None:
            for name, value in change.before.items():
                _set(order, name, value)
    relation = relation_of(source.lines)
    if order is not None and relation is not None:
        _give(order, relation, _in_order(list(lines.values())))
    return order


def capture_order(source: OrderSource, order: Any) -> dict[str, Any]:
    """All that is loaded of an order and of the lines that it holds, to restore it after its deletion."""
    return {
        "order": captured_values(order),
        "lines": [{"pk": text_of(line, type(line)), "values": captured_values(line)} for line in _held(source, order)],
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


def _undo_line(source: OrderSource, lines: dict[str, Any], change: Change, *, using: str) -> None:
    if not change.before:
        lines.pop(change.subject, None)  # it was added
        return
    line: Any = lines.get(change.subject)
    if line is None and source.lines is not None:
        model = source.lines.get_model()
        # It may be in another order now, or hidden by the manager; otherwise it was deleted.
        line = next(iter(sources.plain(model, using).filter(pk__in=values_of(model, [change.subject]))), None)
        line = line or _restore(model, {**(change.snapshot or {}), **change.before}, pk=change.subject, using=using)
        lines[change.subject] = line
    watched = source.lines.watched if source.lines else ()
    for name, value in change.before.items():
        if name in watched:
            _set(line, name, value)


def _restore_order(source: OrderSource, before: Mapping[str, Any], *, using: str) -> tuple[Any, dict[str, Any]]:
    if "order" not in before:
        return None, {}
    order = _restore(source.get_model(), before["order"], using=using)
    lines = {}
    if source.lines is not None:
        for line in before["lines"]:
            model = source.lines.get_model()
            lines[line["pk"]] = _restore(model, line["values"], pk=line["pk"], using=using)
    return order, lines


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
    if sources.watched_values(instance, (name,))[name] == value:
        return
    field: Any = instance._meta.get_field(name)
    for made in _made_of(field, value):
        setattr(instance, field.attname, made)
        if sources.watched_values(instance, (name,))[name] == value:
            return
    raise UnrestorableError(
        f"Another transaction changed the order before it was read, and the field {name!r} can't be set back: its "
        "to_python() does not understand the JSON of its own values. Publish the event again to send the order as it "
        "is now."
    )


def _made_of(field: Any, value: Any) -> Iterator[Any]:
    """The values that the field may hold for a JSON value, the likeliest first."""
    made = field.to_python(value)
    if isinstance(made, datetime) and made.tzinfo and not settings.USE_TZ:
        yield made.replace(tzinfo=None)
        yield timezone.make_naive(made, timezone.get_default_timezone())
    else:
        yield made


def relation_of(lines: Lines | None) -> str | None:
    """The name by which an order reaches its lines; None if it has none."""
    if lines is None:
        return None
    relation: Any = lines.get_model()._meta.get_field(lines.order_field).remote_field
    return None if relation is None or relation.hidden or not relation.multiple else relation.get_accessor_name()


def _held(source: OrderSource, order: Any) -> list[Any]:
    relation = relation_of(source.lines)
    if order is None or relation is None:
        return []
    return list(getattr(order, "_prefetched_objects_cache", {}).get(relation, ()))


def _give(order: Any, relation: str, lines: list[Any]) -> None:
    """Keep the lines as `prefetch_related` does, so that `order.<relation>.all()` makes no query."""
    held = order.__dict__.setdefault("_prefetched_objects_cache", {})
    held.pop(relation, None)
    manager = getattr(order, relation)
    rows = manager.get_queryset()
    for line in lines:
        setattr(line, manager.field.name, order)
    rows._result_cache, rows._prefetch_done = lines, True
    held[relation] = rows


def _in_order(lines: list[Any]) -> list[Any]:
    # Restored lines come after the others, and most shops show lines in the order in which they were added.
    try:
        return sorted(lines, key=lambda line: line.pk)
    except TypeError:
        return lines
