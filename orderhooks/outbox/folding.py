"""Folding: the notes of a transaction become events, with the order as it was committed.

In the store's process right after the commit; in the pump for what a dead process left. See Note [Changes and units].
"""

import logging
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connections, transaction
from django.db.models import F

from orderhooks import payloads, sources
from orderhooks.db.locks import brief_transaction
from orderhooks.db.transient_errors import is_transient
from orderhooks.models import Change, Event
from orderhooks.outbox.net_changes import LINES, net_change
from orderhooks.outbox.noting import describe
from orderhooks.outbox.reading import OrderRead, deleted_order, in_units, read_order, read_order_before

logger = logging.getLogger(__name__)

# Younger changes still have a process that is about to fold them.
LEFT_BEHIND_AFTER = timedelta(seconds=3)
FOLD_AT_ONCE = 500
# Of the orders of one transaction.
FOLD_TOGETHER = 100
# After so many the order's own code is to blame for the death of those who read it.
FOLD_TRIES = 3
# So long an order waits for a database that won't let it be read; then a person has to look.
TRANSIENT_FOR = timedelta(hours=1)
# Each may wait for a time limit: after so many the others have to wait for the pump's next look.
TRANSIENT_AT_ONCE = 3


def fold(
    source_name: str, order_pk: str, *, now: datetime, using: str | None = None, noted: Sequence[Change] = ()
) -> list[Event]:
    """Turn an order's changes into events, transaction by transaction, oldest first. May run twice, or side by side.

    The lock on the changes makes folding one order serial, so that `sequence` follows the commits. `noted` are those
    that this process has just noted in one transaction: if there are no others, the order as it is now is the order as
    that transaction committed it, and PostgreSQL does the rest in one statement. Raises what `is_transient` knows, with
    nothing done.

    # Note [The order as committed]
    Whoever reads an order after a commit may see what later transactions did to it. But what they captured was
    committed with it, and stays in the outbox until all older changes of the order are folded. So the order is read
    first and the changes are taken after it: if they are those of one transaction, nothing came in between; else the
    order is read again for each transaction, and what the later ones did to it is undone.
    """
    using = using or Change.objects.db
    order = None
    if noted:
        order = _read(source_name, order_pk, noted, using=using)
        if connections[using].vendor == "postgresql" and (events := _replace(noted, order, now=now, using=using)):
            return events
    known = {change.pk for change in noted}
    with transaction.atomic(using=using):
        changes = Change.objects.using(using).take(source_name, order_pk)
        if order is not None and known == {change.pk for change in changes}:
            events = _events(changes, order, now=now)
        else:
            events = _events_of_units(in_units(changes), now=now, using=using)
        Event.objects.using(using).bulk_create(events)
    return events


def fold_many(noted: Mapping[tuple[str, str], Sequence[Change]], *, now: datetime, using: str) -> list[Event]:
    """What `fold` does, for all orders of one transaction: the statements that write grow by the hundred.

    An order that can't be folded at this moment is left to the pump.
    """
    by_source: dict[str, dict[str, Sequence[Change]]] = {}
    for (source_name, order_pk), changes in noted.items():
        by_source.setdefault(source_name, {})[order_pk] = changes
    events: list[Event] = []
    for source_name, units in by_source.items():
        keys = list(units)
        for start in range(0, len(keys), FOLD_TOGETHER):
            chunk = {order_pk: units[order_pk] for order_pk in keys[start : start + FOLD_TOGETHER]}
            events += _fold_chunk(source_name, chunk, now=now, using=using)
    return events


def _fold_chunk(source_name: str, noted: Mapping[str, Sequence[Change]], *, now: datetime, using: str) -> list[Event]:
    orders: dict[str, OrderRead] = {}
    for order_pk, unit in noted.items():
        try:
            orders[order_pk] = _read(source_name, order_pk, unit, using=using)
        except Exception as error:
            logger.warning("order %s:%s can't be read at this moment: %s", source_name, order_pk, describe(error))
    events: list[Event] = []
    with transaction.atomic(using=using):
        taken = Change.objects.using(using).take_many(source_name, list(orders))
        for order_pk, changes in taken.items():
            if {change.pk for change in changes} == {change.pk for change in noted[order_pk]}:
                events += _events(changes, orders[order_pk], now=now)
            else:
                events += _events_of_units(in_units(changes), now=now, using=using)
        Event.objects.using(using).bulk_create(events)
    return events


def _read(source_name: str, order_pk: str, unit: Sequence[Change], *, using: str) -> OrderRead:
    deletion = next((change for change in unit if change.kind == Change.Kind.DELETED), None)
    if deletion:
        return deleted_order(source_name, deletion)
    return read_order(source_name, order_pk, using=using)


def _replace(noted: Sequence[Change], order: OrderRead, *, now: datetime, using: str) -> list[Event]:
    for change in noted:
        change.created_at = now  # only the database knows it; `replace` reads it there
    events = _events(noted, order, now=now)
    return events if events and Event.objects.using(using).replace(noted, events) else []


def _events_of_units(units: Sequence[Sequence[Change]], *, now: datetime, using: str) -> list[Event]:
    """The events of several transactions, each with the order as that one committed it."""
    events: list[Event] = []
    for place, unit in enumerate(units):
        first = unit[0]
        deletion = next((change for change in unit if change.kind == Change.Kind.DELETED), None)
        if deletion:
            order = deleted_order(first.source, deletion)
        else:
            later = [change for one in units[place + 1 :] for change in one]
            order = read_order_before(first.source, first.order_pk, later, using=using)
        events += _events(unit, order, now=now)
    return events


def _give_up(source_name: str, order_pk: str, error: str, *, now: datetime, using: str) -> list[Event]:
    """Make events that say why the order can't be told, for a person to see, without reading it."""
    with transaction.atomic(using=using):
        units = in_units(Change.objects.using(using).take(source_name, order_pk))
        try:
            source = sources.by_name(source_name)
        except sources.UnknownSourceError:
            source = None
        order = OrderRead(source, error=error)
        events = [event for unit in units for event in _events(unit, order, now=now)]
        Event.objects.using(using).bulk_create(events)
    return events


def fold_left_behind(*, now: datetime) -> list[Event]:
    """Fold what processes that died between commit and folding left behind, and what could not be read then."""
    left = Change.objects.left_behind(before=now - LEFT_BEHIND_AFTER).order_by().values_list("source", "order_pk")
    orders = list(left.distinct()[:FOLD_AT_ONCE])
    # Those that can't be read at this moment must not be the first ones each time.
    random.shuffle(orders)
    events: list[Event] = []
    refused = 0
    for source, order_pk in orders:
        try:
            events += _fold_left_behind(source, order_pk, now=now)
        except Exception as error:
            # One order that can't be folded must not hold up the others; it stays on record.
            if not is_transient(error):
                logger.exception("could not fold the changes of order %s:%s", source, order_pk)
                continue
            logger.warning("order %s:%s can't be read at this moment: %s", source, order_pk, describe(error))
            refused += 1
            if refused == TRANSIENT_AT_ONCE:
                break
    return events


def _fold_left_behind(source: str, order_pk: str, *, now: datetime) -> list[Event]:
    using = Change.objects.db
    with brief_transaction(using):
        changes = list(Change.objects.using(using).of_order(source, order_pk).select_for_update())
        begun = max((change.folds_begun for change in changes), default=0)
        _count_begun(source, order_pk, 1, using=using)
    if begun >= FOLD_TRIES:
        logger.error("reading order %s:%s killed its worker %d times; its events wait", source, order_pk, begun)
        error = (
            f"Reading the order killed its worker {begun} times. Fix the order source's code, then publish it again."
        )
        return _give_up(source, order_pk, error, now=now, using=using)
    try:
        # Whoever keeps a table locked, as a migration does, must not keep the worker from all else.
        with brief_transaction(using, may_be_silent=True):
            return fold(source, order_pk, now=now, using=using)
    except Exception as error:
        connections[using].close_if_unusable_or_obsolete()
        waiting_since = min((change.created_at for change in changes), default=now)
        if is_transient(error) and now - waiting_since < TRANSIENT_FOR:
            _count_begun(source, order_pk, -1, using=using)  # it did not die of it
            raise
        if not is_transient(error) and begun + 1 < FOLD_TRIES:
            raise
        logger.exception("could not fold the changes of order %s:%s; its events wait", source, order_pk)
        return _give_up(source, order_pk, describe(error), now=now, using=using)


def _count_begun(source: str, order_pk: str, more: int, *, using: str) -> None:
    changes = Change.objects.using(using).filter(source=source, order_pk=order_pk)
    if more < 0:
        changes = changes.filter(folds_begun__gt=0)
    changes.update(folds_begun=F("folds_begun") + more)


def republish(event: Event, *, now: datetime) -> bool:
    """Build the payload of an event that failed to get one. False if it failed again or another process was first."""
    using = event._state.db or Event.objects.db
    try:
        order = read_order(event.source, event.order_pk, using=using)
    except Exception as error:
        order = OrderRead(None, error=describe(error))
    if order.error:
        Event.objects.filter(pk=event.pk, published_at=None).update(error=order.error)
        event.refresh_from_db()
        return False
    return event.publish({"order": order.snapshot, "changes": event.changes}, now=now)


def _events(unit: Sequence[Change], order: OrderRead, *, now: datetime) -> list[Event]:
    net = net_change(unit, order.source)
    error = next((change.error for change in unit if change.error), "") or order.error
    changes = net.changes
    try:
        changes = _presented(net.changes, order)
        payloads.check(changes)
    except Exception as problem:
        logger.exception("could not present the changes of order %s:%s", unit[0].source, unit[0].order_pk)
        error = error or describe(problem)
        changes = {field: pair for field, pair in net.changes.items() if _can_be_kept(pair)}
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


def _can_be_kept(value: Any) -> bool:
    try:
        payloads.check(value)
    except (TypeError, ValueError):
        return False
    return True


def _presented(changes: dict[str, list[Any]], order: OrderRead) -> dict[str, list[Any]]:
    source, instance = order.source, order.instance
    if source is None or instance is None:
        return changes

    def present(field: str, value: Any) -> Any:
        if field == LINES:
            return [{name: present(name, one) for name, one in line.items()} for line in value]
        return source.present(instance, field, value)

    return {field: [present(field, value) for value in pair] for field, pair in changes.items()}
