"""The net change of one transaction to one order, from its captured changes. Pure; `coalescing` makes events of it."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orderhooks import payloads
from orderhooks.models import Change
from orderhooks.net_values import RowChange, net_fields, net_rows, pair_of_rows
from orderhooks.sources import OrderSource, Related, keys


@dataclass(frozen=True, slots=True)
class NetChange:
    """What a transaction changed of an order in the end: the topics to publish, and `[old, new]` of each field."""

    topics: tuple[str, ...]
    changes: dict[str, list[Any]]


def net_change(captured: Sequence[Change], source: OrderSource | None) -> NetChange:
    """Compare the first `before` with the last `after` of one transaction, for the order and for each related row.

    `captured` holds the transaction's changes of one order, oldest first. Without a `source` (it was removed from the
    settings), no field stands for a topic.
    """
    # `publish(changes=…)` reports what an `update()` wrote: it counts like a change that a save made.
    own = [change for change in captured if not change.related]
    published = [change.subject for change in captured if change.kind == Change.Kind.EXPLICIT]
    created = any(change.kind == Change.Kind.CREATED for change in own)
    deleted = any(change.kind == Change.Kind.DELETED for change in own)
    if created and deleted:
        return NetChange((), {})  # it was never there: see Note [Orders made again] in `lifetimes`
    if deleted:
        return NetChange((*_once(published), "order.deleted"), {})
    changes = net_fields((change.before, change.after) for change in own)
    rows = _net_rows(captured, source)
    if source:
        # A new order has no old values. But an order that is created as paid is paid, and has a payment.
        pointers = {related.pointer for related in source.all_related} - {*source.watched, *source.transitions}
        changes = {field: pair for field, pair in changes.items() if field not in pointers}
        if created:
            changes = {field: pair for field, pair in changes.items() if field in source.transitions}
            rows = {
                related.key: rows[related.key]
                for related in source.all_related
                if related.topics and related.key in rows
            }
    elif created:
        rows = {}
    topics = ["order.created"] if created else []
    if not created and (changes or rows or any(change.error for change in captured)):
        topics.append("order.updated")
    for field, by_value in (source.transitions if source else {}).items():
        # A list or an object can't be a key of `transitions`, so it stands for no topic.
        if field in changes and isinstance(changes[field][1], Hashable) and changes[field][1] in by_value:
            topics.append(by_value[changes[field][1]])
    for related in source.all_related if source else ():
        topics += _topics_of_rows(related, rows.get(related.key, ()))
    shown = {key: pair_of_rows(pairs) for key, pairs in rows.items()}
    return NetChange(_once([*topics, *published]), {**changes, **shown})


def payload_changes(old: Mapping[str, Any], new: Mapping[str, Any], source: OrderSource) -> dict[str, list[Any]]:
    """`[old, new]` of each key of an order's payload that differs. Of lists of rows with an `id`, the rows that differ.

    What the source leaves out of digests may differ.
    """
    of_rows = {related.key for related in source.all_related}
    changes = {}
    for key in dict.fromkeys((*old, *new)):
        if key not in source.not_in_digest and not _is_same(old.get(key), new.get(key)):
            pair = [old.get(key), new.get(key)]
            changes[key] = _differing_rows(pair) if key in of_rows else pair
    return changes


def _differing_rows(pair: Sequence[Any]) -> list[Any]:
    """Each side as a list: what is not a list, such as an address, is its only row."""
    old, new = ([] if side is None else side if isinstance(side, list | tuple) else [side] for side in pair)
    return [
        [row for row in side if not any(_is_same(row, one) for one in other)]
        for side, other in ((old, new), (new, old))
    ]


def _is_same(one: Any, other: Any) -> bool:
    return one == other or payloads.canonical(one) == payloads.canonical(other)


def _net_rows(captured: Sequence[Change], source: OrderSource | None) -> dict[str, list[RowChange]]:
    """The related rows that changed, by their key in `changes`."""
    found: dict[str, list[RowChange]] = {}
    steps = (((change.related, change.subject), change.before, change.after) for change in captured if change.related)
    for (key, subject), row in net_rows(steps).items():
        identity = {"id": _id(source, key, subject)}
        old, new = ({**identity, **side} if side else {} for side in (row.old, row.new))
        found.setdefault(key, []).append(RowChange(old, new))
    return found


def _id(source: OrderSource | None, key: str, subject: str) -> Any:
    """The primary key of a related row as JSON: a number if the column holds numbers, otherwise text."""
    related = next((one for one in source.all_related if one.key == key), None) if source else None
    return keys.as_json(related.get_model(), subject) if related else subject


def _topics_of_rows(related: Related, rows: Iterable[RowChange]) -> list[str]:
    kinds = {"created" if not row.old else "updated" if row.new else "deleted" for row in rows}
    return [topic for kind, topic in related.topics.items() if kind in kinds]


def _once(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
