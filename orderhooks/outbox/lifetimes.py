"""Lifetimes: whether a transaction has deleted an order in the end, and what it changed if it made the order again.

`composing` takes the changes of a transaction through it before it compares them.

# Note [Orders made again]
A transaction may delete an order and save it again under the same key. For receivers such an order was there before and
is there after it, so the transaction has updated it. An order that was not there before is created by the last save of
it. One that is gone in the end is deleted, or, if it was not there before, was never there.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orderhooks import sources
from orderhooks.models import Change
from orderhooks.outbox.reading import OrderRead
from orderhooks.outbox.stored_values import read_pointed_at
from orderhooks.sources import OrderSource, Related, WatchedModel
from orderhooks.sources.keys import text_of

__all__ = ["as_one_lifetime", "has_ended", "is_made_again", "rows_of"]

ENDS = (Change.Kind.CREATED, Change.Kind.DELETED)


def has_ended(captured: Sequence[Change]) -> bool:
    """Whether these changes, oldest first, end with the deletion of the order."""
    kinds = [change.kind for change in captured if change.kind in ENDS]
    return bool(kinds) and kinds[-1] == Change.Kind.DELETED


def is_made_again(captured: Sequence[Change]) -> bool:
    """Whether the order was created and deleted in one transaction, in whatever order."""
    return {*ENDS} <= {change.kind for change in captured}


def as_one_lifetime(captured: Sequence[Change], order: OrderRead, *, using: str) -> Sequence[Change]:
    """The changes of a transaction without what it did in between. See Note [Orders made again].

    `captured` holds a creation and a deletion, and `order` is as it was committed.
    """
    ends = [place for place, change in enumerate(captured) if change.kind in ENDS]
    start, end = ends[0], ends[-1]
    if captured[start].kind == Change.Kind.CREATED:
        last = max(place for place in ends if captured[place].kind == Change.Kind.DELETED)
        return captured if last == end else [*_explicit(captured[:last]), *captured[last + 1 :]]
    if captured[end].kind == Change.Kind.DELETED:
        return [*captured[: start + 1], *_explicit(captured[start + 1 :])]
    return [*captured[:start], *_as_update(captured[start], captured[start + 1 :], order, using=using)]


def rows_of(related: Related, order: Any, *, using: str) -> Iterable[Any]:
    """The related rows of an order as they are now."""
    if related.pointer:
        row = sources.related_row(order, related.pointer)
        return [] if row is None else [row]
    if relation := related.relation:
        return sources.related_rows(order, relation)
    return sources.plain(related.get_model(), using).filter(**{related.path: order})


def _explicit(captured: Sequence[Change]) -> list[Change]:
    return [change for change in captured if change.kind == Change.Kind.EXPLICIT]


def _as_update(deletion: Change, later: Sequence[Change], order: OrderRead, *, using: str) -> list[Change]:
    """What has changed between the deletion of an order and its last creation. `later`: the changes after it."""
    source, own = order.source, [change for change in later if not change.related]
    explicit, of_rows = _explicit(later), [change for change in later if change.related]
    if "order" not in deletion.before:
        # A block of `track` saw the deletion, which does not say what the order was like.
        update = _change(deletion, Change.Kind.EXPLICIT, "order.updated")
        return [update, *of_rows, *explicit]
    before: Mapping[str, Any] = deletion.before["order"]
    update = _change(deletion, Change.Kind.UPDATED)
    update.error = next((change.error for change in own if change.error), "")
    if source is None or order.instance is None:
        update.after = {name: value for change in own for name, value in change.after.items() if name in before}
        update.error = update.error or order.error
    else:
        names = tuple(name for name in WatchedModel(source).watched if name in before)
        update.after = sources.watched_values(order.instance, names)
        of_rows = _of_rows(source, deletion, of_rows, order.instance, using=using)
    update.before = {name: before[name] for name in update.after}
    return [update, *of_rows, *explicit]


def _of_rows(
    source: OrderSource, deletion: Change, later: Sequence[Change], instance: Any, *, using: str
) -> list[Change]:
    """The changes of related rows: of those that went with the order, and of those that it has now.

    A trigger captures each row that belongs to the order, but no row to which the order points.
    """
    held = deletion.before.get("related", {})
    compared = {one.key for one in source.all_related if one.key in held or one.pointer}
    changes = [change for change in later if change.related not in compared]
    for related in (one for one in source.all_related if one.key in compared):
        watched_model = WatchedModel(source, related)
        names = tuple(name for name in watched_model.watched if name != watched_model.link_field)
        old = {row["pk"]: row["values"] for row in held.get(related.key, ())}
        if related.pointer and related.key not in held:
            old = dict(
                read_pointed_at(watched_model, [deletion.before["order"][related.pointer]], using=using).values()
            )
        new = {text_of(row, watched_model.model): row for row in rows_of(related, instance, using=using)}
        for subject in dict.fromkeys((*old, *new)):
            change = _change(deletion, Change.Kind.UPDATED, subject)
            change.related = related.key
            change.before = {name: value for name, value in old.get(subject, {}).items() if name in names}
            change.after = sources.watched_values(new[subject], names) if subject in new else {}
            changes.append(change)
    return changes


def _change(deletion: Change, kind: Change.Kind, subject: str = "") -> Change:
    return Change(source=deletion.source, order_pk=deletion.order_pk, kind=kind, subject=subject)
