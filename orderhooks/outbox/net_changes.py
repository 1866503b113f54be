"""The net change of one transaction to one order, from its captured changes. Pure; `coalescing` makes events of it."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from orderhooks.models import Change
from orderhooks.sources import OrderSource

# The key of line changes in an event's `changes`.
LINES = "lines"


@dataclass(frozen=True, slots=True)
class NetChange:
    """What a transaction changed of an order in the end: the topics to publish, and `[old, new]` of each field."""

    topics: tuple[str, ...]
    changes: dict[str, list[Any]]


def net_change(captured: Sequence[Change], source: OrderSource | None) -> NetChange:
    """Compare the first `before` with the last `after` of one transaction, for the order and for each line.

    `captured` holds the transaction's changes of one order, oldest first. Without a `source` (it was removed from the
    settings), no field stands for a topic.
    """
    # `publish(changes=…)` reports what an `update()` wrote: it counts like a change that a save made.
    own = [change for change in captured if change.subject == "" or change.kind == Change.Kind.EXPLICIT]
    published = [change.subject for change in captured if change.kind == Change.Kind.EXPLICIT]
    created = any(change.kind == Change.Kind.CREATED for change in own)
    deleted = any(change.kind == Change.Kind.DELETED for change in own)
    if created and deleted:
        return NetChange((), {})
    if deleted:
        return NetChange((*_once(published), "order.deleted"), {})
    changes = _net_fields(own)
    if created and source:
        # A new order has no old values. But an order that is created as paid is paid.
        changes = {field: pair for field, pair in changes.items() if field in source.transitions}
    lines = [] if created else _net_lines(captured)
    topics = ["order.created"] if created else []
    if (changes and not created) or lines or any(change.error for change in own if not created):
        topics.append("order.updated")
    for field, by_value in (source.transitions if source else {}).items():
        # A list or an object can't be a key of `transitions`, so it stands for no topic.
        if field in changes and isinstance(changes[field][1], Hashable) and changes[field][1] in by_value:
            topics.append(by_value[changes[field][1]])
    if lines:
        changes[LINES] = lines
    return NetChange(_once([*topics, *published]), changes)


def _net_fields(changes: Sequence[Change]) -> dict[str, list[Any]]:
    first: dict[str, Any] = {}
    last: dict[str, Any] = {}
    for change in changes:
        for field, value in change.before.items():
            first.setdefault(field, value)
        last.update(change.after)
    return {field: [first[field], last[field]] for field in first if field in last and first[field] != last[field]}


def _net_lines(captured: Sequence[Change]) -> list[list[dict[str, Any]]]:
    """`[[old lines], [new lines]]` of the lines that changed. An added line is only in the second list."""
    of_line: dict[str, list[Change]] = {}
    for change in captured:
        if change.subject and change.kind != Change.Kind.EXPLICIT:
            of_line.setdefault(change.subject, []).append(change)
    pairs = [(changes[0].before, changes[-1].after) for changes in of_line.values()]
    changed = [(before, after) for before, after in pairs if before != after]
    if not changed:
        return []
    return [[before for before, _after in changed if before], [after for _before, after in changed if after]]


def _once(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
