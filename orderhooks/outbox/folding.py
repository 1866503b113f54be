"""Folding: the notes of a transaction become events, with the order as it was committed.

In the store's process right after the commit; in the pump for what a dead process left. See Note [Changes and units].
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connections, transaction
from django.db.models import F

from orderhooks import payloads, sources
from orderhooks.models import Change, Event
from orderhooks.models.locks import brief_transaction
from orderhooks.outbox.netting import LINES, net_change
from orderhooks.outbox.noting import describe
from orderhooks.sources import OrderSource

logger = logging.getLogger(__name__)

# Younger changes still have a process that is about to fold them.
LEFT_BEHIND_AFTER = timedelta(seconds=10)
FOLD_AT_ONCE = 500
# After so many the order's own code is to blame for the death of those who read it.
FOLD_TRIES = 3


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
    for change in noted:
        change.created_at = now  # only the database knows it; `replace` reads it there
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
