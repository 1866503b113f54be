"""Coalescing: the captured changes of a transaction become events, with the order as that transaction committed it.

Runs in the store's process right after the commit, and in the pump for what a process that died left behind. See
Note [Changes and transactions].
"""

import contextlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db import connections, transaction

from orderhooks import payloads, sources
from orderhooks.db.transient_errors import is_transient
from orderhooks.models import Change, Event
from orderhooks.outbox import coalescing_postgresql
from orderhooks.outbox.guarding import describe_error
from orderhooks.outbox.membership import as_seen, has_ended
from orderhooks.outbox.net_changes import NetChange, net_change, payload_changes
from orderhooks.outbox.reading import (
    OrderRead,
    by_transaction,
    deleted_order,
    read_order,
    read_order_before,
    restored_order,
)
from orderhooks.outbox.taking import take, take_many

logger = logging.getLogger(__name__)

# Each may wait until a time limit. After this many, the others are left to the worker, or to its next turn.
TRANSIENT_AT_ONCE = 3
NO_LONGER_AN_ORDER = "The row is no order any more, says `only` of its source, so there is nothing to publish."
# Orders of one transaction for each set of statements.
COALESCE_TOGETHER = 100


class TopicsNotComputedError(RuntimeError):
    """The source's `compute_topics` failed, so events are missing. Publishing another one again makes them."""


def coalesce(
    source_name: str, order_pk: str, *, now: datetime, using: str | None = None, captured: Sequence[Change] = ()
) -> list[Event]:
    """Turn an order's changes into events, transaction by transaction, oldest first. May run twice, or side by side.

    A lock on the changes lets one process at a time coalesce an order, so that `sequence` follows the commits.
    `captured` holds the changes that this process has just captured in one transaction; without it, the order's changes
    are listed. If the order has no others, and these are of one transaction, it is now as that transaction committed
    it, and PostgreSQL does the rest in one statement.

    Raises an error for which `is_transient` is true, with nothing done, if the order can't be read now.

    # Note [The order as committed]
    An order that is read after a commit may show what later transactions did to it. But the changes of those
    transactions were committed with it, and they stay in the outbox until all older changes of the order are coalesced.
    So the changes are known first, then the order is read, and then the changes are taken. If they are the same, and of
    one transaction, no other transaction came in between. Otherwise the order is read again for each transaction, and
    the changes of later transactions are undone on it.
    """
    using = using or Change.objects.db
    order = None
    if not captured:
        listed = list(Change.objects.using(using).of_order(source_name, order_pk))
        if not listed:
            return []
        captured = listed if is_simple(listed) else ()
    if captured:
        (captured,) = by_transaction(captured)
        order = _read(source_name, order_pk, captured, using=using)
        if connections[using].vendor == "postgresql":
            events = coalesce_in_one_statement(captured, order, now=now, using=using)
            if events:
                return events
    return coalesce_portably(source_name, order_pk, captured, order, now=now, using=using)


def is_simple(changes: Sequence[Change]) -> bool:
    """Whether the order, if it is read now, is as these changes left it: they are of one transaction.

    What a trigger captured of a deleted order is not simple: its last state has to be restored.
    """
    return len({change.transaction_id for change in changes}) == 1 and not any(
        change.is_raw and change.kind == Change.Kind.DELETED for change in changes
    )


def coalesce_in_one_statement(
    captured: Sequence[Change], order: OrderRead, *, now: datetime, using: str
) -> list[Event]:
    """The rest of `coalesce` in one statement. No events, with nothing done, if other changes have to be coalesced."""
    for change in captured:
        change.created_at = now  # a placeholder: `replace` reads the time from the database
    events = _events(captured, order, now=now, using=using)
    return events if events and coalescing_postgresql.replace(captured, events, using=using) else []


def coalesce_portably(
    source_name: str, order_pk: str, captured: Sequence[Change], order: OrderRead | None, *, now: datetime, using: str
) -> list[Event]:
    """The rest of `coalesce`, for any database, and for an order with other changes than those `captured`.

    `order` is the order as it was read after they were captured, or None if none were.
    """
    known = {change.pk for change in captured}
    with transaction.atomic(using=using):
        changes = take(source_name, order_pk, using=using)
        if order is not None and known == {change.pk for change in changes}:
            (changes,) = by_transaction(changes)
            events = _events(changes, order, now=now, using=using)
        else:
            events = _events_of_transactions(by_transaction(changes), now=now, using=using)
        Event.objects.using(using).bulk_create(events)
    return events


def coalesce_many(captured: Mapping[tuple[str, str], Sequence[Change]], *, now: datetime, using: str) -> list[Event]:
    """Coalesce all orders of one transaction, with one set of writing statements for each hundred orders.

    An order that can't be read now is left to the pump.
    """
    by_source: dict[str, dict[str, Sequence[Change]]] = {}
    for (source_name, order_pk), changes in captured.items():
        by_source.setdefault(source_name, {})[order_pk] = changes
    events: list[Event] = []
    for source_name, orders in by_source.items():
        keys = list(orders)
        for start in range(0, len(keys), COALESCE_TOGETHER):
            chunk = {order_pk: orders[order_pk] for order_pk in keys[start : start + COALESCE_TOGETHER]}
            events += _coalesce_chunk(source_name, chunk, now=now, using=using)
    return events


def _coalesce_chunk(
    source_name: str, captured: Mapping[str, Sequence[Change]], *, now: datetime, using: str
) -> list[Event]:
    orders: dict[str, OrderRead] = {}
    refused = 0
    for order_pk, changes in captured.items():
        if refused == TRANSIENT_AT_ONCE:
            break
        try:
            orders[order_pk] = _read(source_name, order_pk, changes, using=using)
        except Exception as error:
            refused += 1
            logger.warning("order %s:%s can't be read now: %s", source_name, order_pk, describe_error(error))
    events: list[Event] = []
    with transaction.atomic(using=using):
        taken = take_many(source_name, list(orders), using=using)
        for order_pk, changes in taken.items():
            if {change.pk for change in changes} == {change.pk for change in captured[order_pk]}:
                # They are of one transaction.
                (changes,) = by_transaction(changes)
                events += _events(changes, orders[order_pk], now=now, using=using)
            else:
                events += _events_of_transactions(by_transaction(changes), now=now, using=using)
        Event.objects.using(using).bulk_create(events)
    return events


def _read(source_name: str, order_pk: str, captured: Sequence[Change], *, using: str) -> OrderRead:
    deletion = next((change for change in captured if change.kind == Change.Kind.DELETED), None)
    if deletion:
        return deleted_order(source_name, deletion)
    return read_order(source_name, order_pk, using=using)


def _events_of_transactions(transactions: Sequence[Sequence[Change]], *, now: datetime, using: str) -> list[Event]:
    """The events of several transactions, each with the order as that transaction committed it."""
    events: list[Event] = []
    for place, changes in enumerate(transactions):
        first = changes[0]
        later = [change for one in transactions[place + 1 :] for change in one]
        deletion = next((change for change in changes if change.kind == Change.Kind.DELETED), None)
        if deletion and deletion.is_raw:
            order = restored_order(first.source, changes, using=using)
        elif deletion:
            order = deleted_order(first.source, deletion)
        else:
            order = read_order_before(first.source, first.order_pk, later, using=using)
        events += _events(changes, order, later, now=now, using=using)
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
        events = [event for changes in transactions for event in _events(changes, order, now=now, using=using)]
        Event.objects.using(using).bulk_create(events)
    return events


def republish(event: Event, *, now: datetime) -> bool:
    """Build the payload of an event that has none. False if that failed again, or if another process was first."""
    using = event._state.db or Event.objects.db
    try:
        order = read_order(event.source, event.order_pk, using=using)
    except Exception as error:
        order = OrderRead(None, error=describe_error(error))
    if order.snapshot is None:
        Event.objects.filter(pk=event.pk, published_at=None).update(error=order.error or NO_LONGER_AN_ORDER)
        event.refresh_from_db()
        return False
    changes = event.changes
    if event.error.startswith(TopicsNotComputedError.__name__):
        try:
            computed = _computed_topics(NetChange((event.topic,), changes), order, using=using)
            changes = _presented(changes, order)
        except Exception as error:
            Event.objects.filter(pk=event.pk, published_at=None).update(error=describe_error(error))
            event.refresh_from_db()
            return False
        _add_missing(event, computed, {"order": order.snapshot, "changes": changes}, now=now)
    return event.publish({"order": order.snapshot, "changes": changes}, now=now)


def _add_missing(event: Event, topics: Iterable[str], payload: dict[str, Any], *, now: datetime) -> None:
    """Make the events of computed topics that a transaction still lacks, beside one of its events."""
    of_transaction = Event.objects.filter(
        source=event.source, order_pk=event.order_pk, occurred_at=event.occurred_at
    ).values_list("topic", flat=True)
    missing = [topic for topic in dict.fromkeys(topics) if topic not in set(of_transaction)]
    Event.objects.bulk_create(
        Event(
            topic=topic,
            source=event.source,
            order_pk=event.order_pk,
            order_number=event.order_number,
            store=event.store,
            payload=payload,
            changes=payload["changes"],
            occurred_at=event.occurred_at,
            published_at=now,
        )
        for topic in missing
    )


def _events(
    captured: Sequence[Change], order: OrderRead, later: Sequence[Change] = (), *, now: datetime, using: str
) -> list[Event]:
    """The events of one transaction. `later` holds the changes of later transactions, as far as they are known."""
    seen, unseen = _as_seen(captured, order, using=using)
    if has_ended(seen) and not has_ended(captured) and not order.error:
        # It is no order any more. Receivers get it as it was while it was one.
        before = read_order_before(captured[0].source, captured[0].order_pk, [*captured, *later], using=using)
        order = replace(before, instance=None)
    net = net_change(seen, order.source)
    error = next((change.error for change in captured if change.error), "") or order.error or unseen
    changes, names = net.changes, net.topics
    try:
        names = tuple(dict.fromkeys((*net.topics, *_computed_topics(net, order, using=using))))
        changes = _presented(net.changes, order)
        if (published := _last_published(captured)) is not None and order.source and order.snapshot is not None:
            current = json.loads(payloads.encode(order.snapshot))  # as it would be stored
            changes = {**payload_changes(published, current, order.source), **changes}
            names = names if changes else ()
        payloads.check(changes)
    except Exception as problem:
        if is_transient(problem):
            raise
        logger.exception("could not present the changes of order %s:%s", captured[0].source, captured[0].order_pk)
        error = error or describe_error(problem)
        changes = {field: pair for field, pair in net.changes.items() if _can_be_kept(pair)}
    return [
        Event(
            topic=topic,
            source=captured[0].source,
            order_pk=captured[0].order_pk,
            order_number=order.number,
            store=order.store,
            payload=None if error else {"order": order.snapshot, "changes": changes},
            changes=changes,
            error=error,
            occurred_at=captured[-1].created_at,
            published_at=None if error else now,
        )
        for topic in names
    ]


def _as_seen(captured: Sequence[Change], order: OrderRead, *, using: str) -> tuple[Sequence[Change], str]:
    """What `as_seen` returns, with the error that has kept it from reading the rows of a new order."""
    if order.source is None or order.source.only is None:
        return captured, ""
    # Inside a transaction, a query that fails would spoil what is written there.
    inside = connections[using].in_atomic_block
    try:
        with transaction.atomic(using=using) if inside else contextlib.nullcontext():
            return as_seen(captured, order, using=using), ""
    except Exception as error:
        if is_transient(error):
            raise
        logger.exception("could not read the rows of order %s:%s", captured[0].source, captured[0].order_pk)
        return as_seen(captured, replace(order, instance=None), using=using), describe_error(error)


def _last_published(captured: Sequence[Change]) -> dict[str, Any] | None:
    """The payload that an order is compared with: see `explicit.capture_difference`."""
    explicit = (change.snapshot for change in captured if change.kind == Change.Kind.EXPLICIT)
    return next((snapshot for snapshot in explicit if snapshot is not None), None)


def _computed_topics(net: NetChange, order: OrderRead, *, using: str) -> list[str]:
    """The topics that the source computes from the net change.

    Raises TopicsNotComputedError, or what `is_transient` recognizes.
    """
    source = order.source
    if source is None or order.instance is None or not source.computed_topics or not net.topics:
        return []
    # Inside a transaction, a query that fails would spoil what is written there.
    inside = connections[using].in_atomic_block
    try:
        with transaction.atomic(using=using) if inside else contextlib.nullcontext():
            found = list(source.compute_topics(order.instance, net.changes))
    except Exception as error:
        if is_transient(error):
            raise
        raise TopicsNotComputedError(describe_error(error)) from error
    if unknown := [topic for topic in found if topic not in source.computed_topics]:
        raise TopicsNotComputedError(
            f"compute_topics() returns {unknown[0]!r}. Add it to `computed_topics`, and to TOPICS."
        )
    return found


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
    keys = {related.key for related in source.all_related}

    def present(field: str, value: Any) -> Any:
        if field not in keys:
            return source.present(instance, field, value)
        return [{name: source.present(instance, f"{field}.{name}", one) for name, one in row.items()} for row in value]

    return {field: [present(field, value) for value in pair] for field, pair in changes.items()}
