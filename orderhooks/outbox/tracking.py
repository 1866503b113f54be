"""Tracking: changes by statements that send no signals, such as `update()`, `bulk_create()` and raw SQL.

`publishing.track` and `querysets` call it. The rows are compared as they were before a block of the store's code and as
they are after it. The number of statements grows with each thousand rows, not with each row.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connections, models, transaction

from orderhooks import logs, sources, triggers
from orderhooks.db import DatabaseNow
from orderhooks.db.locks import locked
from orderhooks.models import Change
from orderhooks.outbox.capturing import change_of, check_lengths, pointed_elsewhere
from orderhooks.outbox.guarding import can_capture, describe_error, is_transaction_lost, mark_missed_rows
from orderhooks.outbox.membership import is_order_by, without_changes
from orderhooks.outbox.stored_values import columns_to_read, stored_row, touched_fields
from orderhooks.outbox.transaction_batch import OnEvents, TransactionBatch, has_subscribers
from orderhooks.sources import WatchedModel
from orderhooks.sources.keys import as_text

__all__ = ["Tracking", "track"]

logger = logs.get_logger(__name__)

# Rows for each set of statements. SQLite and others limit the parameters of a statement.
AT_ONCE = 1000
# The values of all rows are in memory, as they were and as they are.
MOST_ROWS = 10_000
GONE = "The order was deleted without a signal, so its last state was not read. Delete orders by `delete()`."

# Of a row: its primary key as Django takes it.
Key = Any


class TooManyRowsError(RuntimeError):
    """A block may change more rows than can be compared."""


@dataclass(frozen=True, slots=True)
class _Row:
    """The watched values of a row as JSON, and the keys, as text, of the orders of a related row."""

    values: dict[str, Any]
    orders: Sequence[str]


@dataclass(slots=True)
class Tracking:
    """The rows that a block of code may change. The block adds the rows that it has inserted."""

    model: type[models.Model]
    using: str
    before: dict[WatchedModel, dict[str, _Row]] = field(default_factory=dict)
    known: frozenset[int] = frozenset()
    keys: list[Key] = field(default_factory=list)
    inserted: set[str] = field(default_factory=set)

    def add(self, rows: Iterable[Any]) -> None:
        """Rows that the block has inserted: instances, or primary keys."""
        for row in rows:
            key = row.pk if isinstance(row, models.Model) else row
            self.keys.append(key)
            self.inserted.add(as_text(self.model, key if isinstance(key, tuple) else [key]))


@contextmanager
def track(
    rows: "models.QuerySet[Any]",
    *,
    fields: Iterable[str] | None = None,
    keys: Sequence[Key] | None = None,
    on_events: OnEvents,
) -> Iterator[Tracking]:
    """Capture what the block changes in the rows, in one transaction with the block.

    `fields`: what the block may change, if that is known. `keys`: the primary keys of the rows, if they are known.
    Errors of ours are logged and counted, and never reach the block. See `publishing.track`.
    """
    using = _database(rows)
    tracking = Tracking(rows.model, using)
    watched_models = _watched_models(rows.model, fields, using)
    if not watched_models or connections[using].needs_rollback or not _is_wanted(watched_models[0], rows.model, using):
        yield tracking
        return
    with transaction.atomic(using=using):
        is_read = _attempt(watched_models[0], tracking, lambda: _read_before(tracking, watched_models, rows, keys))
        yield tracking
        if is_read:
            _attempt(watched_models[0], tracking, lambda: _write(tracking, watched_models, on_events))


def _watched_models(model: type[models.Model], fields: Iterable[str] | None, using: str) -> list[WatchedModel]:
    try:
        return [
            one
            for one in sources.watched_models_of(model)
            if touched_fields(one, model, fields) and not triggers.are_used(one.source, using)
        ]
    except Exception:
        # The checks name what is wrong with the setting SOURCES.
        logger.exception("changes are not tracked", model=model._meta.label)
        return []


def _database(rows: "models.QuerySet[Any]") -> str:
    writing = rows.all()
    writing._for_write = True  # type: ignore[attr-defined]
    return writing.db


def _is_wanted(watched_model: WatchedModel, model: type[models.Model], using: str) -> bool:
    if can_capture(using):
        try:
            return has_subscribers(using)
        except Exception as error:
            if is_transaction_lost(error, using):
                raise
            mark_missed_rows(watched_model, model, describe_error(error), using=using, error=error)
            return False
    text = f"The rows were changed in the database {using!r}, in which orderhooks does not keep its tables."
    mark_missed_rows(watched_model, model, text, using=using)
    return False


def _attempt(watched_model: WatchedModel, tracking: Tracking, step: Callable[[], None]) -> bool:
    """Run a step of ours in a savepoint. False if it failed: the store's statements go on."""
    using = tracking.using
    try:
        with transaction.atomic(using=using):
            step()
    except Exception as error:
        if is_transaction_lost(error, using):
            raise
        mark_missed_rows(watched_model, tracking.model, describe_error(error), using=using, error=error)
        return False
    return True


def _read_before(
    tracking: Tracking,
    watched_models: Sequence[WatchedModel],
    rows: "models.QuerySet[Any]",
    keys: Sequence[Key] | None,
) -> None:
    if keys is None:
        # The first rows of a sorted queryset are others without its order.
        rows = rows.using(tracking.using) if rows.query.is_sliced else rows.using(tracking.using).order_by()
        tracking.keys = list(rows.values_list("pk", flat=True)[: MOST_ROWS + 1])
        if len(tracking.keys) > MOST_ROWS:
            raise TooManyRowsError(
                f"A statement may change more than {MOST_ROWS} rows, whose values were not read. Change fewer at once, "
                'or let the source capture by triggers (capture = "triggers").'
            )
    else:
        tracking.keys = list(keys)
    batch = TransactionBatch.find(tracking.using)
    captured = batch.captured.values() if batch else ()
    tracking.known = frozenset(change.pk for changes in captured for change in changes)
    for watched_model in watched_models:
        tracking.before[watched_model] = _read(watched_model, tracking, lock=True)


def _write(tracking: Tracking, watched_models: Sequence[WatchedModel], on_events: OnEvents) -> None:
    batch = TransactionBatch.current(tracking.using, on_events)
    changes: list[Change] = []
    for watched_model in watched_models:
        after = _read(watched_model, tracking, lock=False)
        changes += _changes(watched_model, tracking.before[watched_model], after, tracking)
    changes = _without_superseded(tracking, changes, batch)
    for change in changes:
        check_lengths(change)
        change.transaction_id = batch.transaction_id_for(change.source)
        change.created_at = DatabaseNow()
    for change in Change.objects.using(tracking.using).bulk_create(changes, batch_size=AT_ONCE):
        batch.coalesce_on_commit(change)


def _without_superseded(tracking: Tracking, changes: list[Change], batch: TransactionBatch) -> list[Change]:
    """Drop what signals captured of the same rows in the block, because a tracked change covers the whole block.

    But what signals know of an order's creation or deletion stays: it has the order's last state.
    """
    of_rows = {(one.source.name, one.key): tracking.inserted.union(rows) for one, rows in tracking.before.items()}
    ends: set[tuple[str, Change.Kind | str]] = set()
    superseded: list[int] = []
    for captured in batch.captured.values():
        for change in captured:
            rows = of_rows.get((change.source, change.related))
            if rows is None or change.pk in tracking.known or change.kind == Change.Kind.EXPLICIT:
                continue
            if change.kind in (Change.Kind.CREATED, Change.Kind.DELETED):
                ends.add((change.order_pk, change.kind))
            elif (change.subject if change.related else change.order_pk) in rows:
                superseded.append(change.pk)
    if superseded:
        batch.drop(superseded)
    return [change for change in changes if change.related or (change.order_pk, change.kind) not in ends]


def _read(watched_model: WatchedModel, tracking: Tracking, *, lock: bool) -> dict[str, _Row]:
    """The tracked rows as the database has them now, by primary key as text."""
    model, using = watched_model.model, tracking.using
    key = [one.attname for one in model._meta.pk_fields]
    names = tuple(dict.fromkeys((*columns_to_read(watched_model, watched_model.watched), *key)))
    # The key of a parent of the watched model is a column of both. A child has the key of its parent.
    is_part = watched_model.is_part(tracking.model)
    by = f"{tracking.model._meta.pk.name}__in" if is_part else "pk__in"
    found: dict[str, _Row] = {}
    for start in range(0, len(tracking.keys), AT_ONCE):
        rows = sources.plain(model, using).filter(**{by: tracking.keys[start : start + AT_ONCE]})
        held = locked(rows) if lock else rows
        read = {as_text(model, [row[name] for name in key]): row for row in held.values(*names)}
        pks = [tuple(row[name] for name in key) if len(key) > 1 else row[key[0]] for row in read.values()]
        orders = watched_model.orders_of(pks, using=using)
        for text, row in read.items():
            values = stored_row(watched_model, watched_model.watched, row, using=using).values
            found[text] = _Row(values, orders.get(text, ()))
    return found


def _changes(
    watched_model: WatchedModel,
    before: Mapping[str, _Row],
    after: Mapping[str, _Row],
    tracking: Tracking,
) -> list[Change]:
    changes: list[Change] = []
    nothing = _Row({}, ())
    for key in dict.fromkeys((*before, *after)):
        old, new = before.get(key, nothing), after.get(key, nothing)
        if old == new or (key not in before and key not in tracking.inserted):
            continue
        if watched_model.related is None:
            changes.append(_of_order(watched_model, key, old, new))
        else:
            changes += _of_row(watched_model, key, old, new)
    if watched_model.related is None:
        changes = _of_orders(watched_model, changes, before, after, using=tracking.using)
        updated = [change for change in changes if change.kind == Change.Kind.UPDATED]
        changes += pointed_elsewhere(watched_model, updated, using=tracking.using)
    return changes


def _of_orders(
    watched_model: WatchedModel,
    changes: list[Change],
    before: Mapping[str, _Row],
    after: Mapping[str, _Row],
    *,
    using: str,
) -> list[Change]:
    """The changes without those of rows that were no orders and are none. See Note [Rows that are no orders]."""
    source = watched_model.source
    if source.only is None:
        return changes

    def is_seen(order_pk: str) -> bool:
        rows = (one[order_pk] for one in (before, after) if order_pk in one)
        return any(is_order_by(source, row.values, using=using) for row in rows)

    others = [change.order_pk for change in changes if not is_seen(change.order_pk)]
    left_out = without_changes(source, others, using=using)
    return [change for change in changes if change.order_pk not in left_out]


def _of_order(watched_model: WatchedModel, key: str, old: _Row, new: _Row) -> Change:
    if not old.values:
        before = watched_model.defaults()
        after = {name: new.values[name] for name in before}
        return change_of(watched_model, key, "", Change.Kind.CREATED, before, after)
    if not new.values:
        return change_of(watched_model, key, "", Change.Kind.DELETED, {}, {}, error=GONE)
    names = [name for name, value in old.values.items() if new.values[name] != value]
    before, after = ({name: one.values[name] for name in names} for one in (old, new))
    return change_of(watched_model, key, "", Change.Kind.UPDATED, before, after)


def _of_row(watched_model: WatchedModel, key: str, old: _Row, new: _Row) -> list[Change]:
    return [
        change_of(
            watched_model,
            order_pk,
            key,
            Change.Kind.UPDATED,
            old.values if order_pk in old.orders else {},
            new.values if order_pk in new.orders else {},
        )
        for order_pk in dict.fromkeys((*old.orders, *new.orders))
    ]
