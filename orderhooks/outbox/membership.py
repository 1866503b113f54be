"""Membership: whether a row was an order before a transaction, and is one after it, where a source's `only` says so.

`coalescing` asks for the changes as receivers see them. `capturing`, `tracking` and `deletions` ask which rows need no
change in the outbox.

# Note [Rows that are no orders]
A table may hold carts as well. A row that becomes an order is new to receivers, with all that it has. One that becomes
a cart again is deleted for them. What else happens to carts makes no event. While a row is a cart, its own changes are
not captured: its save has locked it, so it stays one. Changes of related rows are captured all the same: another
transaction may turn their cart into an order at the same time. Coalescing drops them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orderhooks import sources
from orderhooks.models import Change
from orderhooks.outbox.lifetimes import has_ended, rows_of
from orderhooks.outbox.reading import OrderRead
from orderhooks.sources import OrderSource, WatchedModel
from orderhooks.sources.keys import text_of

__all__ = ["as_seen", "is_order_by", "without_changes"]

# Rows for each statement.
AT_ONCE = 1000


def is_order_by(source: OrderSource, values: Mapping[str, Any], *, using: str) -> bool:
    """Whether a row is an order by its captured values. It is taken for one if they do not say."""
    names = source.only_fields
    return not all(name in values for name in names) or source.is_order_with(values, using=using)


def without_changes(source: OrderSource, order_pks: Iterable[str], *, using: str) -> set[str]:
    """Those of the keys of which the outbox holds no change.

    A change of a row that is no order is captured all the same if the outbox holds another one of it: the row may have
    been an order before that, and can be shown as it was then only if all later changes are known.
    """
    left = list(dict.fromkeys(order_pks))
    found: set[str] = set()
    for start in range(0, len(left), AT_ONCE):
        captured = Change.objects.using(using).filter(source=source.name, order_pk__in=left[start : start + AT_ONCE])
        found.update(captured.order_by().values_list("order_pk", flat=True))
    return {order_pk for order_pk in left if order_pk not in found}


def as_seen(captured: Sequence[Change], order: OrderRead, *, using: str) -> Sequence[Change]:
    """What a transaction did to an order, as receivers see it. None of it, if the row was no order and is none.

    `captured` holds the changes of the transaction, and `order` is as it was committed. If the row became an order, the
    changes are those of a new order with all its rows. If it is no order any more, they end with its deletion.
    """
    source = order.source
    if source is None:
        return captured
    was, is_now = _was_and_is(source, captured, order, using=using)
    if not was:
        return _of_new_order(source, captured, order, using=using) if is_now else ()
    return captured if is_now or has_ended(captured) else [*captured, _change(source, captured, Change.Kind.DELETED)]


def _was_and_is(source: OrderSource, captured: Sequence[Change], order: OrderRead, *, using: str) -> tuple[bool, bool]:
    own = [change for change in captured if not change.related]
    after: dict[str, Any] = {}
    for change in own:
        after |= change.before.get("order", {}) if change.kind == Change.Kind.DELETED else change.after
    is_deleted = has_ended(own)
    if order.instance is not None and not is_deleted:
        after = sources.watched_values(order.instance, source.only_fields)
    before = dict(after)
    for change in reversed(own):
        if change.kind != Change.Kind.DELETED:
            before |= change.before
    is_created = any(change.kind == Change.Kind.CREATED for change in own)
    was = not is_created and is_order_by(source, before, using=using)
    return was, not is_deleted and is_order_by(source, after, using=using)


def _of_new_order(source: OrderSource, captured: Sequence[Change], order: OrderRead, *, using: str) -> Sequence[Change]:
    if any(change.kind == Change.Kind.CREATED for change in captured):
        return captured
    created = _change(source, captured, Change.Kind.CREATED)
    created.before = WatchedModel(source).defaults()
    if order.instance is None:
        return [created, *captured]
    created.after = sources.watched_values(order.instance, tuple(created.before))
    explicit = (change for change in captured if change.kind == Change.Kind.EXPLICIT)
    rows: list[Change] = []
    # Of the rows of a new order, only those with topics are shown.
    for related in (one for one in source.all_related if one.topics):
        watched_model = WatchedModel(source, related)
        names = tuple(name for name in watched_model.watched if name != watched_model.link_field)
        for row in rows_of(related, order.instance, using=using):
            added = _change(source, captured, Change.Kind.UPDATED)
            added.related, added.subject = related.key, text_of(row, watched_model.model)
            added.after = sources.watched_values(row, names)
            rows.append(added)
    return [created, *rows, *explicit]


def _change(source: OrderSource, captured: Sequence[Change], kind: Change.Kind) -> Change:
    return Change(source=source.name, order_pk=captured[0].order_pk, kind=kind)
