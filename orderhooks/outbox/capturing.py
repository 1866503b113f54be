"""Capturing: what a save changed of an order, written to the outbox in the transaction of that save.

`signal_handlers` calls it before and after each save of a watched model, `publishing` for the topics that the store
publishes itself. What is to happen after the commit, once the changes have become events, is handed in as `on_events`.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from django.db import connections, models, router, transaction

from orderhooks import logs, triggers
from orderhooks.compiled_queries import CompiledInsert
from orderhooks.db import DatabaseNow
from orderhooks.models import Change
from orderhooks.outbox.guarding import can_capture, describe_error, mark_missed, survivable
from orderhooks.outbox.membership import is_order_by, without_changes
from orderhooks.outbox.stored_values import (
    StoredValues,
    may_have_row,
    read_after,
    read_before,
    read_pointed_at,
    touched_fields,
)
from orderhooks.outbox.transaction_batch import OnEvents, TransactionBatch, has_subscribers, is_wanted
from orderhooks.sources import WatchedModel

__all__ = [
    "after_save",
    "before_save",
    "change_of",
    "check_lengths",
    "is_elsewhere",
    "pointed_elsewhere",
    "save_atomically",
    "write_change",
]

logger = logs.get_logger(__name__)

# The attribute of an instance that holds, by the source and the key of its watched model, one entry for each save that
# has begun and not ended, the outermost first.
SAVES = "_orderhooks_saves"


@dataclass(frozen=True, slots=True)
class _BeforeSave:
    """What was stored before a save, and which of the watched fields the save may change."""

    stored: StoredValues
    touched: tuple[str, ...]


def before_save(
    watched_model: WatchedModel, instance: models.Model, *, update_fields: Iterable[str] | None, using: str
) -> None:
    """Read the stored values of what a save may change, and keep them on the instance until `after_save`."""
    if triggers.are_used(watched_model.source, using):
        return
    saves: list[_BeforeSave | None] = instance.__dict__.setdefault(SAVES, {}).setdefault(_place(watched_model), [])
    saves.append(None)
    touched = touched_fields(watched_model, type(instance), update_fields)
    if not touched or not may_have_row(watched_model, instance):
        return
    if is_elsewhere(watched_model, instance, using=using):
        return
    # All fields of a related row: if it moves to another order, both orders' events show the whole row.
    names = watched_model.watched if watched_model.related else (*touched, *_only_fields(watched_model, touched))
    stored = read_before(watched_model, instance, names, using=using)
    outer = next((entry.stored for entry in reversed(saves) if entry is not None), None)
    if stored is not None and outer is not None:
        # A handler saves the instance again inside a save. The changes of both begin where the outer one began.
        values = {**stored.values, **{name: outer.values[name] for name in stored.values if name in outer.values}}
        stored = StoredValues(values, outer.columns)
    saves[-1] = None if stored is None else _BeforeSave(stored, touched)


def after_save(
    watched_model: WatchedModel, instance: models.Model, *, created: bool, using: str, on_events: OnEvents
) -> None:
    """Capture what the save changed. If a trigger has done so, only see to it that it is coalesced after the commit."""
    if triggers.are_used(watched_model.source, using):
        _coalesce_on_commit(watched_model, instance, using=using, on_events=on_events)
        return
    before = _end_of_save(watched_model, instance)
    # A row of a parent model alone is not an order yet.
    if created and not watched_model.is_part(type(instance)):
        if is_elsewhere(watched_model, instance, using=using) or not is_wanted(using):
            return
        before = _before_creation(watched_model)
    elif before is None:
        return
    after, error = _read_after(watched_model, instance, before, using=using)
    if not error and _is_no_order(watched_model, before.stored, after, created=created, using=using):
        return
    stored = before.stored
    if watched_model.related and not created:
        # A field that was not saved has its stored value, whatever the instance holds.
        is_moved = watched_model.link_field in before.touched
        columns = after.columns if is_moved else before.stored.columns
        after = StoredValues({**before.stored.values, **after.values}, columns)
    elif not watched_model.related:
        own = {name: value for name, value in stored.values.items() if name in before.touched}
        stored = StoredValues(own, stored.columns)
    for change in _changes(watched_model, instance, stored, after, created=created, error=error, using=using):
        write_change(change, using=using, on_events=on_events)


def save_atomically(
    watched_models: Sequence[WatchedModel],
    instance: models.Model,
    save: Callable[[], None],
    *,
    update_fields: Iterable[str] | None = None,
    using: str,
) -> None:
    """Run a save of the store so that the save and its captured changes are committed together or not at all.

    Outside of a transaction Django commits the row before it sends `post_save`. The change would be lost if another
    handler raised, or if the process died. See `OrderSource.atomic_saves`.
    """
    depths = {key: len(saves) for key, saves in instance.__dict__.get(SAVES, {}).items()}
    try:
        with _own_transaction(watched_models, instance, update_fields, using):
            save()
    finally:
        # A save that failed never came to `after_save`.
        for key, saves in instance.__dict__.get(SAVES, {}).items():
            del saves[depths.get(key, 0) :]
        _forget_ended(instance)


def is_elsewhere(watched_model: WatchedModel, instance: models.Model, *, using: str) -> bool:
    """Whether the order is changed in another database than that of orderhooks, where nothing can be captured.

    Records a capture failure if there is any subscription.
    """
    if can_capture(using):
        return False
    home = router.db_for_write(Change)
    if has_subscribers(home):
        text = (
            f"The order was changed in the database {using!r}, and orderhooks keeps its tables in {home!r}: no "
            "transaction holds both. Route the orders, orderhooks and users to one database."
        )
        mark_missed(watched_model, instance, text, using=using)
    return True


def _coalesce_on_commit(
    watched_model: WatchedModel, instance: models.Model, *, using: str, on_events: OnEvents
) -> None:
    """Of the orders that the instance itself names. The others are left to a worker, which is woken."""
    if not is_wanted(using):
        return
    batch = TransactionBatch.current(using, on_events)
    names = watched_model.identifying_columns
    if not watched_model.is_direct:
        batch.leave_to_worker()
    elif all(instance.__dict__.get(name) is not None for name in names):
        for order_pk in watched_model.order_pks(instance, using=using):
            batch.coalesce_order_on_commit(watched_model.source.name, order_pk)


def _only_fields(watched_model: WatchedModel, touched: Sequence[str]) -> list[str]:
    """The fields that tell orders from other rows, as far as they are not touched."""
    return [] if watched_model.related else [name for name in watched_model.source.only_fields if name not in touched]


def _is_no_order(
    watched_model: WatchedModel, before: StoredValues, after: StoredValues, *, created: bool, using: str
) -> bool:
    """Whether a saved row was no order and is none, so that nothing is captured. See Note [Rows that are no orders]."""
    source = watched_model.source
    # Outside of a transaction the row is not locked, and may have become an order since its values were read.
    if watched_model.related or source.only is None or not connections[using].in_atomic_block:
        return False
    was = not created and is_order_by(source, before.values, using=using)
    if was or is_order_by(source, {**before.values, **after.values}, using=using):
        return False
    with survivable(using, "changes"):
        return bool(without_changes(source, watched_model.order_pks_in(after.columns, using=using), using=using))


def _own_transaction(
    watched_models: Sequence[WatchedModel], instance: models.Model, update_fields: Iterable[str] | None, using: str
) -> AbstractContextManager[Any]:
    is_wished = any(watched_model.source.atomic_saves for watched_model in watched_models)
    if connections[using].in_atomic_block or not is_wished or not can_capture(using):
        return nullcontext()
    try:
        may_be_captured = any(
            touched_fields(watched_model, type(instance), update_fields) for watched_model in watched_models
        )
    except Exception:
        may_be_captured = False  # the order source is wrong; the guard of the signals reports it
    return transaction.atomic(using=using) if may_be_captured else nullcontext()


def _end_of_save(watched_model: WatchedModel, instance: models.Model) -> _BeforeSave | None:
    saves = instance.__dict__.get(SAVES, {}).get(_place(watched_model))
    before: _BeforeSave | None = saves.pop() if saves else None
    _forget_ended(instance)
    return before


def _place(watched_model: WatchedModel) -> tuple[str, str]:
    return watched_model.source.name, watched_model.key


def _forget_ended(instance: models.Model) -> None:
    if not any(instance.__dict__.get(SAVES, {}).values()):
        instance.__dict__.pop(SAVES, None)


def _before_creation(watched_model: WatchedModel) -> _BeforeSave:
    if watched_model.related:
        return _BeforeSave(StoredValues({}, {}), watched_model.watched)
    values = watched_model.defaults()
    return _BeforeSave(StoredValues(values, {}), (*values, *_only_fields(watched_model, tuple(values))))


def _read_after(
    watched_model: WatchedModel, instance: models.Model, before: _BeforeSave, *, using: str
) -> tuple[StoredValues, str]:
    """What the save left, or why it can't be read."""
    try:
        return read_after(watched_model, instance, before.touched, using=using), ""
    except Exception as problem:
        logger.exception("could not read what was saved", model=instance._meta.label, key=str(instance.pk))
        held = {name: getattr(instance, name, None) for name in watched_model.identifying_columns}
        return StoredValues({}, before.stored.columns or held), describe_error(problem)


def _changes(
    watched_model: WatchedModel,
    instance: models.Model,
    before: StoredValues,
    after: StoredValues,
    *,
    created: bool,
    error: str,
    using: str,
) -> list[Change]:
    """The changes that a save made: of its order, and of the rows to which the order points now, or did before.

    Of a related row: of one order; of two if it moved; of several if they point to the row; none if it has no order.
    """
    if watched_model.related is None:
        kind = Change.Kind.CREATED if created else Change.Kind.UPDATED
        (order_pk,) = watched_model.order_pks_in(after.columns, using=using)
        change = change_of(watched_model, order_pk, "", kind, before.values, after.values, error=error)
        return [change, *([] if created else pointed_elsewhere(watched_model, [change], using=using))]
    if (before.values, before.columns) == (after.values, after.columns) and not error:
        return []
    with survivable(using, "order", watched_model):
        old = watched_model.order_pks_in(before.columns, using=using) if before.columns else ()
        new = old if before.columns == after.columns else watched_model.order_pks_in(after.columns, using=using)
    subject = watched_model.subject(instance)
    return [
        change_of(
            watched_model,
            order_pk,
            subject,
            Change.Kind.UPDATED,
            before.values if order_pk in old else {},
            after.values if order_pk in new else {},
            error=error,
        )
        for order_pk in dict.fromkeys((*old, *new))
    ]


def pointed_elsewhere(watched_model: WatchedModel, changed: Sequence[Change], *, using: str) -> list[Change]:
    """The changes of related rows if orders point to others than before: the old row is gone, the new one is there.

    One query for each path of the source along which any of the orders points elsewhere.
    """
    changes: list[Change] = []
    for related in watched_model.source.all_related:
        name = related.pointer
        moved = [one for one in changed if name in one.after and one.before.get(name) != one.after[name]]
        if not name or not moved:
            continue
        of_rows = WatchedModel(watched_model.source, related)
        pointers = dict.fromkeys(value for one in moved for value in (one.before.get(name), one.after[name]))
        with survivable(using, "pointed", of_rows):
            rows = read_pointed_at(of_rows, [one for one in pointers if one is not None], using=using)
        for one in moved:
            for value, is_new in ((one.before.get(name), False), (one.after[name], True)):
                if value in rows:
                    subject, values = rows[value]
                    pair = ({}, values) if is_new else (values, {})
                    changes.append(change_of(of_rows, one.order_pk, subject, Change.Kind.UPDATED, *pair))
    return changes


def change_of(
    watched_model: WatchedModel,
    order_pk: str,
    subject: str,
    kind: Change.Kind,
    before: dict[str, Any],
    after: dict[str, Any],
    *,
    error: str = "",
) -> Change:
    return Change(
        source=watched_model.source.name,
        order_pk=order_pk,
        kind=kind,
        related=watched_model.key,
        subject=subject,
        before=before,
        after=after,
        error=error,
    )


# By a clock that all processes share: events are compared with the time at which a subscription began.
INSERT = CompiledInsert(Change, created_at=DatabaseNow())


def write_change(change: Change, *, using: str, on_events: OnEvents) -> None:
    """Write a change in the running transaction, unless it changes nothing, and have it coalesced after the commit."""
    # Atomic, so that in autocommit mode the change is written before it is coalesced. Not inside the store's
    # transaction: after an error of ours Django would roll it back.
    with nullcontext() if connections[using].in_atomic_block else transaction.atomic(using=using):
        batch = TransactionBatch.current(using, on_events)
        if change.kind == Change.Kind.UPDATED and change.before == change.after and not change.error:
            return
        check_lengths(change)
        change.transaction_id = batch.transaction_id_for(change.source)
        with survivable(using, "write"):
            INSERT.write(change, using=using)
        batch.coalesce_on_commit(change)


def check_lengths(change: Change) -> None:
    """Raises ValueError if a key is too long: an error of the database would cost the store its transaction."""
    for name in ("order_pk", "subject"):
        text = getattr(change, name)
        longest = Change._meta.get_field(name).max_length  # type: ignore[union-attr]
        if longest is not None and len(text) > longest:
            raise ValueError(f"The key {text[:50]!r}… has {len(text)} characters; at most {longest} can be stored.")
