"""Netting: what the changes of one transaction come to, all told. Pure; `folding` makes events of it."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from orderhooks.models import Change
from orderhooks.sources import OrderSource

# The key of line changes in an event's `changes`.
LINES = "lines"


@dataclass(frozen=True, slots=True)
class NetChange:
    """What a transaction did to an order, all told."""

    topics: tuple[str, ...]
    changes: dict[str, list[Any]]


def net_change(unit: Sequence[Change], source: OrderSource | None) -> NetChange:
    """Fold one transaction's changes: the first `before` against the last `after`, of the order and of each line."""
    # What the store tells with a moment, of an `update()` that nobody saw, counts like what was seen.
    own = [change for change in unit if change.subject == "" or change.kind == Change.Kind.MOMENT]
    moments = [change.subject for change in unit if change.kind == Change.Kind.MOMENT]
    created = any(change.kind == Change.Kind.CREATED for change in own)
    deleted = any(change.kind == Change.Kind.DELETED for change in own)
    if created and deleted:
        return NetChange((), {})
    if deleted:
        return NetChange((*_once(moments), "order.deleted"), {})
    changes = _net_fields(own)
    if created and source:
        # A new order has changed nothing; but one that was born paid is paid.
        changes = {field: pair for field, pair in changes.items() if field in source.transitions}
    lines = [] if created else _net_lines(unit)
    topics = ["order.created"] if created else []
    if (changes and not created) or lines or any(change.error for change in own if not created):
        topics.append("order.updated")
    for field, by_value in (source.transitions if source else {}).items():
        # What can't be a key (a list, an object) stands for no topic.
        if field in changes and isinstance(changes[field][1], Hashable) and changes[field][1] in by_value:
            topics.append(by_value[changes[field][1]])
    if lines:
        changes[LINES] = lines
    return NetChange(_once([*topics, *moments]), changes)


def _net_fields(changes: Sequence[Change]) -> dict[str, list[Any]]:
    first: dict[str, Any] = {}
    last: dict[str, Any] = {}
    for change in changes:
        for field, value in change.before.items():
            first.setdefault(field, value)
        last.update(change.after)
    return {field: [first[field], last[field]] for field in first if field in last and first[field] != last[field]}


def _net_lines(unit: Sequence[Change]) -> list[list[dict[str, Any]]]:
    """`[[lines as they were], [lines as they are]]`, of those that changed; a new line is only in the second list."""
    of_line: dict[str, list[Change]] = {}
    for change in unit:
        if change.subject and change.kind != Change.Kind.MOMENT:
            of_line.setdefault(change.subject, []).append(change)
    pairs = [(changes[0].before, changes[-1].after) for changes in of_line.values()]
    changed = [(before, after) for before, after in pairs if before != after]
    if not changed:
        return []
    return [[before for before, _after in changed if before], [after for _before, after in changed if after]]


def _once(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
