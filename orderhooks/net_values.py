"""Net values: of several changes, one after the other, the first value before against the last value after. Pure.

`outbox` combines the captured changes of one transaction with it, `merging` the `changes` of several events.
"""

import json
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["RowChange", "merged", "net_fields", "net_rows", "pair_of_rows"]

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class RowChange:
    """A related row before and after, with its `id`. Empty if it was not there, or not of this order."""

    old: dict[str, Any]
    new: dict[str, Any]


def net_fields(steps: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, list[Any]]:
    """`[old, new]` of each field, from values before and after each step. Without fields that end as they began."""
    first: dict[str, Any] = {}
    last: dict[str, Any] = {}
    for before, after in steps:
        for field, value in before.items():
            first.setdefault(field, value)
        last.update(after)
    return {field: [first[field], last[field]] for field in first if field in last and first[field] != last[field]}


def net_rows(steps: Iterable[tuple[Key, dict[str, Any], dict[str, Any]]]) -> dict[Key, RowChange]:
    """Each row before and after, from its key and its values before and after each step. Without those that end as
    they began.
    """
    first: dict[Key, dict[str, Any]] = {}
    last: dict[Key, dict[str, Any]] = {}
    for key, before, after in steps:
        first.setdefault(key, before)
        last[key] = after
    return {key: RowChange(first[key], last[key]) for key in first if first[key] != last[key]}


def pair_of_rows(rows: Iterable[RowChange]) -> list[list[dict[str, Any]]]:
    """The rows as `changes` has them: those that were there before, and those that are there now."""
    rows = list(rows)
    return [[row.old for row in rows if row.old], [row.new for row in rows if row.new]]


def merged(changes: Sequence[Mapping[str, Any]], row_keys: Collection[str] | None) -> dict[str, Any]:
    """The net `changes` of events of one order, which are given oldest first.

    `row_keys`: the keys of related rows. None: not known, as the order source is gone; what looks like rows is taken
    for rows.
    """
    fields: list[tuple[dict[str, Any], dict[str, Any]]] = []
    rows: dict[str, list[tuple[str, dict[str, Any], dict[str, Any]]]] = {}
    for one in changes:
        before, after = {}, {}
        for name, (old, new) in one.items():
            if _are_rows(name, old, new, row_keys):
                rows.setdefault(name, []).extend(_row_steps(old, new))
            else:
                before[name], after[name] = old, new
        fields.append((before, after))
    of_rows = {name: pair_of_rows(net_rows(steps).values()) for name, steps in rows.items()}
    return {**net_fields(fields), **{name: pair for name, pair in of_rows.items() if pair != [[], []]}}


def _are_rows(name: str, old: Any, new: Any, row_keys: Collection[str] | None) -> bool:
    if not isinstance(old, list) or not isinstance(new, list) or (row_keys is not None and name not in row_keys):
        return False
    return all(isinstance(row, dict) and (row_keys is not None or "id" in row) for row in (*old, *new))


def _row_steps(
    old: Iterable[dict[str, Any]], new: Iterable[dict[str, Any]]
) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    before, after = ({_identity(row): row for row in side} for side in (old, new))
    return [(key, before.get(key, {}), after.get(key, {})) for key in dict.fromkeys((*before, *after))]


def _identity(row: Mapping[str, Any]) -> str:
    """What tells a row apart: its `id`; of a row without one, all that it holds."""
    return json.dumps(row.get("id", {"": row}), sort_keys=True)
