"""The outbox: notes what a save did, in its transaction, and folds the notes of a transaction into events.

`publishing` calls it in the store's process, the pump for what a dead process left. See Note [Changes and units].
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connections, models, transaction
from django.db.models import Exists, F

from orderhooks import payloads, sources
from orderhooks.models import Change, Event, Subscription
from orderhooks.models.locks import brief_transaction
from orderhooks.sources import OrderSource

logger = logging.getLogger(__name__)

# Younger changes still have a process that is about to fold them.
LEFT_BEHIND_AFTER = timedelta(seconds=10)
FOLD_AT_ONCE = 500
# After so many the order's own code is to blame for the death of those who read it.
FOLD_TRIES = 3
# The key of line changes in an event's `changes`.
LINES = "lines"


@dataclass(frozen=True, slots=True)
class Note:
    """Where a change is noted: the transaction's unit, the order, and the line or blank for the order itself."""

    unit: UUID
    source: OrderSource
    order_pk: Any
    subject: str = ""


@dataclass(frozen=True, slots=True)
class NetChange:
    """What a transaction did to an order, all told."""

    topics: tuple[str, ...]
    changes: dict[str, list[Any]]


def anyone_listens(using: str) -> bool:
    """Whether there is any subscription, in any state: without one nothing is written down."""
    return Subscription.objects.using(using).exists()


def read_before(instance: models.Model, watched: Sequence[str], *, using: str) -> dict[str, Any] | None:
    """The stored values of the watched fields, locked where the database can, or None if there is no row.

    Also None if nobody listens; one query answers both.
    """
    connection, model = connections[using], type(instance)
    key = model, tuple(watched), using, connection.in_atomic_block
    if key not in _statements:
        statement = _statement(*key, pk=instance.pk)
        # A manager of the store's own may mean something else the next time.
        if type(model._base_manager) is models.Manager:
            _statements[key] = statement
    else:
        statement = _statements[key]
    pk = model._meta.pk.get_db_prep_value(instance.pk, connection)
    stored = next(iter(model._base_manager.using(using).raw(statement.text, [*statement.values, pk])), None)
    if stored is None or not vars(stored)["_heard"]:
        return None
    return sources.watched_values(stored, tuple(watched))


@dataclass(frozen=True, slots=True)
class _Statement:
    """SQL whose last place is for the primary key, and the values of the places before it."""

    text: str
    values: tuple[Any, ...]


# Written once: that takes Django longer than asking it.
_statements: dict[tuple[type[models.Model], tuple[str, ...], str, bool], _Statement] = {}


def _statement(model: type[models.Model], watched: tuple[str, ...], using: str, lock: bool, *, pk: Any) -> _Statement:
    rows = model._base_manager.using(using).annotate(_heard=Exists(Subscription.objects.all())).only("pk", *watched)
    if lock:
        # Two saves of the same order would else both read the same `before` and tell the same change twice. The lock is
        # the one that the UPDATE takes a moment later anyway.
        no_key = connections[using].features.has_select_for_no_key_update
        rows = rows.select_for_update(no_key=no_key)
    text, values = rows.filter(pk=pk).query.get_compiler(using).as_sql()
    return _Statement(text, tuple(values[:-1]))


def read_after(instance: models.Model, watched: Sequence[str], *, using: str) -> dict[str, Any]:
    """The watched fields as the save left them; asks the database only for what an expression (`F(…) + 1`) set."""
    row = instance
    values = [instance.__dict__.get(type(instance)._meta.get_field(name).attname) for name in watched]  # type: ignore[union-attr]
    if any(hasattr(value, "resolve_expression") for value in values):
        row = type(instance)._base_manager.using(using).get(pk=instance.pk)
    return sources.watched_values(row, tuple(watched))


def note_change(
    note: Note,
    kind: Change.Kind,
    *,
    before: dict[str, Any],
    after: dict[str, Any],
    error: str = "",
    using: str,
) -> Change | None:
    """Write a change down in the running transaction. None if nothing watched has changed."""
    if kind == Change.Kind.UPDATED and before == after and not error:
        return None
    return _insert(note, kind, using, before=before, after=after, error=error)


def note_moment(note: Note, *, using: str) -> Change:
    """Write down that the store published the topic in `note.subject`."""
    return _insert(note, Change.Kind.MOMENT, using)


def note_deletion(note: Note, *, using: str) -> Change:
    """Write down the deletion that is about to happen, with the order as it still stands."""
    seen: dict[str, Any] = {}
    try:
        with transaction.atomic(using=using):
            order = note.source.fetch(note.order_pk, using=using)
            seen = {"order_number": note.source.number(order), "store": note.source.store(order)}
            snapshot = note.source.payload(order)
            payloads.check(snapshot)
            seen["snapshot"] = snapshot
    except Exception as error:
        logger.exception("could not take the last snapshot of order %s:%s", note.source.name, note.order_pk)
        seen["error"] = describe(error)
    return _insert(note, Change.Kind.DELETED, using, **seen)


def _insert(note: Note, kind: Change.Kind, using: str, **fields: Any) -> Change:
    return Change.objects.using(using).create(
        unit=note.unit,
        source=note.source.name,
        order_pk=str(note.order_pk),
        kind=kind,
        subject=note.subject,
        **fields,
    )


def fold(
    source_name: str, order_pk: str, *, now: datetime, using: str | None = None, noted: Sequence[Change] = ()
) -> list[Event]:
    """Turn an order's changes into events, transaction by transaction, oldest first. May run twice, or side by side.

    The lock on the changes makes folding one order serial, so that `sequence` follows the commits. `noted` are those
    that this process has just noted in one transaction: if there are no others, PostgreSQL does it in one statement.
    """
    using = using or Change.objects.db
    if noted and connections[using].vendor == "postgresql" and (events := _replace(noted, now=now, using=using)):
        return events
    try:
        return _fold(source_name, order_pk, None, now=now, using=using)
    except _UnreadableError as unreadable:
        # The store's code may have spoilt the transaction, so a new one writes down that it failed. Cheaper than a
        # savepoint round it each time.
        return _fold(source_name, order_pk, unreadable.order, now=now, using=using)


def _replace(noted: Sequence[Change], *, now: datetime, using: str) -> list[Event]:
    try:
        order = _read_order(noted[0].source, noted[0].order_pk, noted, using=using)
    except _UnreadableError as unreadable:
        order = unreadable.order
    events = _events(noted, order, now=now)
    return events if events and Event.objects.using(using).replace(noted, events) else []


def _fold(source_name: str, order_pk: str, order: "_OrderRead | None", *, now: datetime, using: str) -> list[Event]:
    with transaction.atomic(using=using):
        changes = Change.objects.using(using).take(source_name, order_pk)
        units: dict[UUID, list[Change]] = {}
        for change in changes:
            units.setdefault(change.unit, []).append(change)
        if not units:
            return []
        order = order or _read_order(source_name, order_pk, changes, using=using)
        events = [event for unit in units.values() for event in _events(unit, order, now=now)]
        Event.objects.using(using).bulk_create(events)
    return events


def fold_left_behind(*, now: datetime) -> list[Event]:
    """Fold what processes that died between commit and folding left behind."""
    left = Change.objects.left_behind(before=now - LEFT_BEHIND_AFTER).order_by().values_list("source", "order_pk")
    events: list[Event] = []
    for source, order_pk in left.distinct()[:FOLD_AT_ONCE]:
        try:
            events += _fold_left_behind(source, order_pk, now=now)
        except Exception:
            # One order that can't be folded must not hold up the others; it stays on record.
            logger.exception("could not fold the changes of order %s:%s", source, order_pk)
    return events


def _fold_left_behind(source: str, order_pk: str, *, now: datetime) -> list[Event]:
    using = Change.objects.db
    with brief_transaction(using):
        changes = Change.objects.using(using).of_order(source, order_pk)
        begun = max((change.folds_begun for change in changes.select_for_update()), default=0)
        changes.order_by().update(folds_begun=F("folds_begun") + 1)
    if begun < FOLD_TRIES:
        return fold(source, order_pk, now=now, using=using)
    poison = _OrderRead(None, error=f"Reading the order killed its worker {begun} times. Mend the order source's code.")
    logger.error("reading order %s:%s killed its worker %d times; its events wait", source, order_pk, begun)
    return _fold(source, order_pk, poison, now=now, using=using)


def republish(event: Event, *, now: datetime) -> bool:
    """Build the payload of an event that failed to get one. False if it failed again or another process was first."""
    try:
        order = _read_order(event.source, event.order_pk, [], using=event._state.db or Event.objects.db)
    except _UnreadableError as unreadable:
        Event.objects.filter(pk=event.pk, published_at=None).update(error=unreadable.order.error)
        event.refresh_from_db()
        return False
    return event.publish({"order": order.snapshot, "changes": event.changes}, now=now)


@dataclass(frozen=True, slots=True)
class _OrderRead:
    """The order as committed, ready to be told, or why it can't be."""

    source: OrderSource | None
    instance: Any = None
    number: str = ""
    store: str = ""
    snapshot: dict[str, Any] | None = None
    error: str = ""


class _UnreadableError(Exception):
    """The store's own code raised while the order was read."""

    def __init__(self, order: _OrderRead) -> None:
        super().__init__(order.error)
        self.order = order


def _read_order(source_name: str, order_pk: str, changes: Sequence[Change], *, using: str) -> _OrderRead:
    """Raises _UnreadableError."""
    deletion = next((change for change in changes if change.kind == Change.Kind.DELETED), None)
    source, order, number, store = None, None, "", ""
    try:
        source = sources.by_name(source_name)
        if deletion:
            return _OrderRead(source, None, deletion.order_number, deletion.store, deletion.snapshot, deletion.error)
        order = source.fetch(order_pk, using=using)
        if order is None:
            raise LookupError("The order is gone from the database, and nobody saw it being deleted.")
        number, store = source.number(order), source.store(order)
        snapshot = source.payload(order)
        payloads.check(snapshot)
        return _OrderRead(source, order, number, store, snapshot)
    except Exception as error:
        logger.exception("could not read order %s:%s; publish its events again once mended", source_name, order_pk)
        raise _UnreadableError(_OrderRead(source, order, number, store, None, describe(error))) from error


def _events(unit: Sequence[Change], order: _OrderRead, *, now: datetime) -> list[Event]:
    net = net_change(unit, order.source)
    error = next((change.error for change in unit if change.error), "") or order.error
    changes = net.changes
    try:
        changes = _presented(net.changes, order)
    except Exception as problem:
        logger.exception("could not present the changes of order %s:%s", unit[0].source, unit[0].order_pk)
        error = error or describe(problem)
    return [
        Event(
            topic=topic,
            source=unit[0].source,
            order_pk=unit[0].order_pk,
            order_number=order.number,
            store=order.store,
            payload=None if error else {"order": order.snapshot, "changes": changes},
            changes=changes,
            error=error,
            occurred_at=unit[-1].created_at,
            published_at=None if error else now,
        )
        for topic in net.topics
    ]


def _presented(changes: dict[str, list[Any]], order: _OrderRead) -> dict[str, list[Any]]:
    source, instance = order.source, order.instance
    if source is None or instance is None:
        return changes

    def present(field: str, value: Any) -> Any:
        if field == LINES:
            return [{name: present(name, one) for name, one in line.items()} for line in value]
        return source.present(instance, field, value)

    return {field: [present(field, value) for value in pair] for field, pair in changes.items()}


def net_change(unit: Sequence[Change], source: OrderSource | None) -> NetChange:
    """Fold one transaction's changes: the first `before` against the last `after`, of the order and of each line."""
    own = [change for change in unit if change.subject == "" and change.kind != Change.Kind.MOMENT]
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
        if field in changes and changes[field][1] in by_value:
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


def describe(error: Exception) -> str:
    """What went wrong in a line, for the event's page."""
    return f"{type(error).__name__}: {error}".replace("\x00", "")[:2000]
