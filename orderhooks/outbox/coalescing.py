"""Coalescing: the captured changes of a transaction become events, with the order as that transaction committed it.

Runs in the store's process right after the commit, and in the pump for what a process that died left behind. See
Note [Changes and transactions].
"""

import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain

from django.db import connections, transaction

from orderhooks import logs, sources
from orderhooks.db import DatabaseClock
from orderhooks.models import Change, Event
from orderhooks.outbox import coalescing_postgresql
from orderhooks.outbox.composing import events_of
from orderhooks.outbox.guarding import describe_error
from orderhooks.outbox.lifetimes import has_ended
from orderhooks.outbox.reading import (
    OrderRead,
    by_transaction,
    deleted_order,
    read_order,
    read_order_before,
    reader_of,
    restored_order,
)
from orderhooks.outbox.taking import take, take_many

logger = logs.get_logger(__name__)

# Each may wait until a time limit. After this many, the others are left to the worker, or to its next turn.
TRANSIENT_AT_ONCE = 3
# Orders of one transaction for each set of statements.
COALESCE_TOGETHER = 100
# Transactions of one order for each set of statements.
TRANSACTIONS_TOGETHER = 10
# How often another process may take some of an order's changes while it is read. After that they are locked first.
MOST_BEATEN = 3


def coalesce(
    source_name: str,
    order_pk: str,
    *,
    now: datetime,
    using: str | None = None,
    captured: Sequence[Change] = (),
    until: float = math.inf,
) -> list[Event]:
    """Turn an order's changes into events, transaction by transaction, oldest first. May run twice, or side by side.

    The changes give way to their events in one transaction, so that `sequence` follows the commits.
    `captured` holds the changes that this process has just captured in one transaction; without it, the order's changes
    are listed. If the order has no others, and these are of one transaction, it is now as that transaction committed
    it, and PostgreSQL does the rest in one statement. After `until`, of the monotonic clock, the rest is left.

    Raises an error for which `is_transient` is true if the order can't be read now.

    # Note [The order as committed]
    An order that is read after a commit may show what later transactions did to it. But the changes of those
    transactions were committed with it, and they stay in the outbox until all older changes of the order are coalesced.
    So the changes are known first, then the order is read, and then the changes are taken. If they are the same, and of
    one transaction, no other transaction came in between. Otherwise the order is read again for each transaction, and
    the changes of later transactions are undone on it. The store's code runs before a lock is held: on SQLite it would
    keep all others from writing.
    """
    using = using or Change.objects.db
    made = _coalesce_simple(captured, now=now, using=using) if captured else None
    if made is not None:
        return made
    events: list[Event] = []
    beaten = 0
    while beaten < MOST_BEATEN:
        listed = list(Change.objects.using(using).of_order(source_name, order_pk))
        if not listed:
            return events
        if is_simple(listed) and (made := _coalesce_simple(listed, now=now, using=using)) is not None:
            return events + made
        transactions = by_transaction(listed)
        first = transactions[:TRANSACTIONS_TOGETHER]
        made = _coalesce_first(first, transactions[TRANSACTIONS_TOGETHER:], now=now, using=using)
        if made is None:
            beaten += 1
            continue
        events += made
        if len(first) == len(transactions) or time.monotonic() > until:
            return events
    return events + _coalesce_locked(source_name, order_pk, now=now, using=using)


def is_simple(changes: Sequence[Change]) -> bool:
    """Whether the order, if it is read now, is as these changes left it: they are of one transaction.

    What a trigger captured of a deleted order is not simple: its last state has to be restored.
    """
    return len({change.transaction_id for change in changes}) == 1 and not any(
        change.is_raw and change.kind == Change.Kind.DELETED for change in changes
    )


def _coalesce_simple(captured: Sequence[Change], *, now: datetime, using: str) -> list[Event] | None:
    """The events of changes of one transaction. None, with nothing done, if the order has not these changes alone."""
    (captured,) = by_transaction(captured)
    order = _read(captured[0].source, captured[0].order_pk, captured, using=using)
    events = events_of(captured, order, known=_keys(captured), now=now, using=using)
    # The statement needs an event to insert.
    in_one_statement = connections[using].vendor == "postgresql" and bool(events)
    replace = coalescing_postgresql.replace if in_one_statement else replace_portably
    return events if replace(captured, events, using=using) else None


def replace_portably(changes: Sequence[Change], events: Sequence[Event], *, using: str) -> bool:
    """What `coalescing_postgresql.replace` does, for any database."""
    with transaction.atomic(using=using):
        taken = take(changes[0].source, changes[0].order_pk, using=using)
        if _keys(taken) != _keys(changes):
            transaction.set_rollback(True, using=using)
            return False
        _insert(_dated(events, taken), using=using)
    return True


def _coalesce_first(
    transactions: Sequence[Sequence[Change]], others: Sequence[Sequence[Change]], *, now: datetime, using: str
) -> list[Event] | None:
    """The events of an order's first transactions, of which `others` are known too. None, with nothing done, if another
    process has taken some of their changes.
    """
    known = _keys(chain(*transactions, *others))
    events = _events_of_transactions(transactions, others, known=known, now=now, using=using)
    mine = Change.objects.using(using).filter(pk__in=_keys(chain(*transactions)))
    with transaction.atomic(using=using):
        there = set(mine.order_by("id").select_for_update().values_list("pk", flat=True))
        if there != _keys(chain(*transactions)):
            return None
        mine.delete()
        _insert(events, using=using)
    return events


def _coalesce_locked(source_name: str, order_pk: str, *, now: datetime, using: str) -> list[Event]:
    """The events of all changes of an order, which are locked while it is read: others were first each time."""
    with transaction.atomic(using=using):
        transactions = by_transaction(take(source_name, order_pk, using=using))
        events = _events_of_transactions(transactions, now=now, using=using)
        _insert(events, using=using)
    return events


def _keys(changes: Iterable[Change]) -> set[int]:
    return {change.pk for change in changes}


def _dated(events: Sequence[Event], taken: Sequence[Change]) -> Sequence[Event]:
    """The events of a transaction with the time of its changes, which this process may not know yet."""
    occurred_at = max(change.created_at for change in taken)
    for event in events:
        event.occurred_at = occurred_at
    return events


def coalesce_many(
    captured: Mapping[tuple[str, str], Sequence[Change]], *, now: datetime, using: str
) -> Iterator[list[Event]]:
    """Coalesce all orders of one transaction, with one set of writing statements for each hundred orders. Yields the
    events of each hundred; what is not asked for is not done.

    An order that can't be read now is left to the pump.
    """
    by_source: dict[str, dict[str, Sequence[Change]]] = {}
    for (source_name, order_pk), changes in captured.items():
        by_source.setdefault(source_name, {})[order_pk] = changes
    for source_name, orders in by_source.items():
        keys = list(orders)
        for start in range(0, len(keys), COALESCE_TOGETHER):
            chunk = {order_pk: orders[order_pk] for order_pk in keys[start : start + COALESCE_TOGETHER]}
            yield _coalesce_chunk(source_name, chunk, now=now, using=using)


def _coalesce_chunk(
    source_name: str, captured: Mapping[str, Sequence[Change]], *, now: datetime, using: str
) -> list[Event]:
    deletions = {order_pk: deletion for order_pk, changes in captured.items() if (deletion := _deletion(changes))}
    read = reader_of(source_name, [order_pk for order_pk in captured if order_pk not in deletions], using=using)
    orders: dict[str, OrderRead] = {}
    refused = 0
    for order_pk in captured:
        if refused == TRANSIENT_AT_ONCE:
            break
        try:
            deletion = deletions.get(order_pk)
            orders[order_pk] = deleted_order(source_name, deletion) if deletion else read(order_pk)
        except Exception as error:
            refused += 1
            logger.warning("an order can't be read now: %s", describe_error(error), source=source_name, order=order_pk)
    made: dict[str, list[Event]] = {}
    for order_pk, order in orders.items():
        (changes,) = by_transaction(captured[order_pk])
        made[order_pk] = events_of(changes, order, known=_keys(changes), now=now, using=using)
    events, others = _replace_many(source_name, captured, made, using=using)
    for order_pk in others:
        try:
            events += coalesce(source_name, order_pk, now=now, using=using)
        except Exception as error:
            logger.warning("an order can't be read now: %s", describe_error(error), source=source_name, order=order_pk)
    return events


def _replace_many(
    source_name: str, captured: Mapping[str, Sequence[Change]], made: Mapping[str, Sequence[Event]], *, using: str
) -> tuple[list[Event], list[str]]:
    """What `replace_portably` does, for many orders at once. Returns the events that were inserted, and the orders that
    have other changes than those `captured`.
    """
    others: list[str] = []
    while True:
        with transaction.atomic(using=using):
            taken = take_many(source_name, [order_pk for order_pk in made if order_pk not in others], using=using)
            differing = [order_pk for order_pk, changes in taken.items() if _keys(changes) != _keys(captured[order_pk])]
            if not differing:
                events = list(chain(*(_dated(made[order_pk], changes) for order_pk, changes in taken.items())))
                _insert(events, using=using)
                return events, others
            transaction.set_rollback(True, using=using)
        others += differing


def _read(source_name: str, order_pk: str, captured: Sequence[Change], *, using: str) -> OrderRead:
    deletion = _deletion(captured)
    if deletion:
        return deleted_order(source_name, deletion)
    return read_order(source_name, order_pk, using=using)


def _insert(events: Sequence[Event], *, using: str) -> None:
    """Insert the events, published now: the order may have been read slowly. See `EventQuerySet.feed`."""
    if connections[using].vendor == "postgresql":
        coalescing_postgresql.insert(events, using=using)
        return
    # SQLite has one writer at a time, so events are committed in the order of their `sequence` anyway.
    if events and connections[using].vendor != "sqlite":
        now = DatabaseClock().now()
        for event in events:
            event.published_at = now if event.published_at else None
    Event.objects.using(using).bulk_create(events)


def _deletion(captured: Sequence[Change]) -> Change | None:
    """The deletion that shows the order as it was. None if the order is there in the end."""
    deletions = (change for change in captured if change.kind == Change.Kind.DELETED)
    return next(deletions, None) if has_ended(captured) else None


def _events_of_transactions(
    transactions: Sequence[Sequence[Change]],
    others: Sequence[Sequence[Change]] = (),
    *,
    known: Collection[int] = (),
    now: datetime,
    using: str,
) -> list[Event]:
    """The events of several transactions, each with the order as that transaction committed it. `others` came after
    them. `known`: the keys of those changes of all that are still in the outbox.
    """
    events: list[Event] = []
    for place, changes in enumerate(transactions):
        first = changes[0]
        later = list(chain(*transactions[place + 1 :], *others))
        deletion = _deletion(changes)
        if deletion and deletion.is_raw:
            order = restored_order(first.source, changes, using=using)
        elif deletion:
            order = deleted_order(first.source, deletion)
        else:
            order = read_order_before(first.source, first.order_pk, later, known=known, using=using)
        events += events_of(changes, order, later, known=known, now=now, using=using)
    return events


def give_up(source_name: str, order_pk: str, error: str, *, now: datetime, using: str) -> list[Event]:
    """Make events without a payload that say why the order can't be read, so that a person sees it."""
    with transaction.atomic(using=using):
        transactions = by_transaction(take(source_name, order_pk, using=using))
        try:
            source = sources.by_name(source_name)
        except sources.UnknownSourceError:
            source = None
        order = OrderRead(source, error=error)
        events = [event for changes in transactions for event in events_of(changes, order, now=now, using=using)]
        _insert(events, using=using)
    return events
