"""Batches: a backfill's orders are read, and become events and deliveries. The pump calls `process_batch`.

# Note [Older than it looks]
A batch's orders are read before its events get their `sequence`. Another transaction may change an order in between,
and the event of that change may get the lower sequence. Then a receiver that goes by `sequence` would keep the older
state, or bring back a deleted order. So once the batch's events have their sequences, and before they are committed,
the outbox is looked at: an order with a captured change, or with another event since the orders were read, is read
again. A change that is committed later makes its event later, with a higher sequence. Captured changes are looked for
before events: a change that is coalesced in between is found as an event.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, connections, router
from django.db.models import F, Max, Q

from orderhooks import logs, matching, sources
from orderhooks.db import DatabaseClock
from orderhooks.db.locks import brief_reading, brief_transaction
from orderhooks.db.transient_errors import is_transient
from orderhooks.matching import Verdict
from orderhooks.models import Backfill, Change, Delivery, Event, Subscription
from orderhooks.models.events import IDENTIFIER_LENGTH
from orderhooks.outbox.guarding import describe_error
from orderhooks.outbox.reading import OrderRead, reader_of
from orderhooks.sources import OrderSource

__all__ = ["process_batch"]

logger = logs.get_logger(__name__)

BATCH = 100
# A worker has deliveries to send as well.
TURN_SECONDS = 0.3
# How long a worker may take to read and write a batch before another one begins it anew.
LEASE = timedelta(seconds=30)
# After this many, the code of the order source is what kills the workers, or what the database refuses.
MOST_TRIES = 3
RETRY_AFTER = timedelta(seconds=5)
# If the database refuses one order and lets another be read.
REFUSED_AFTER = timedelta(minutes=1)
# What workers may catch up with after they were late.
MOST_BEHIND = timedelta(seconds=1)

# The subscription's new events wait behind its deliveries that are due already: at most this many of a backfill.
MOST_DUE = 100
# Fewer, if the endpoint's own limits let it take only so few in this time, and for each request at once.
SECONDS_OF_LIMIT = 5
DUE_PER_REQUEST_AT_ONCE = 10
# With those that wait for their next attempt.
MOST_PENDING = 500
SHORT_WAIT = timedelta(seconds=1)
LONG_WAIT = timedelta(seconds=30)


def process_batch(*, now: datetime) -> int:
    """Move running backfills that are due on by a batch each. Returns how many were moved. See Note [Backfills].

    Raises what the database raises while it can't be used, and IntegrityError if the subscription was just deleted.
    """
    until = time.monotonic() + TURN_SECONDS
    moved = 0
    for backfill in Backfill.objects.due(now=now).select_related("subscription"):
        moved += _process(backfill, now=now, until=until)
        if time.monotonic() > until:
            break
    return moved


@dataclass(frozen=True, slots=True)
class _Batch:
    """The orders that were read, by key. None for one that is gone.

    `last_sequence`: the highest sequence before they were read. `is_last`: whether no order comes after them.
    """

    orders: Mapping[str, OrderRead | None]
    last_sequence: int
    is_last: bool


def _process(backfill: Backfill, *, now: datetime, until: float) -> bool:
    capacity, wait = _capacity(backfill.subscription, now=now)
    if capacity <= 0:
        backfill.postpone(until=now + wait, tries=backfill.tries)
        return False
    # From when the batch was due, because a pump looks only now and then: otherwise each would be late.
    paced_from = max(backfill.next_batch_at, now - MOST_BEHIND)
    died = backfill.tries
    if not backfill.lease(until=now + LEASE, one_by_one=BATCH if died else backfill.one_by_one):
        return False
    at_most = 1 if backfill.one_by_one else min(BATCH, backfill.rate, capacity)
    try:
        source = sources.by_name(backfill.source)
        batch = _read(backfill, source, at_most, until=until, kills=died >= MOST_TRIES)
        return _write(backfill, source, batch, now=now, paced_from=paced_from)
    except sources.UnknownSourceError:
        backfill.end(
            Backfill.State.FAILED,
            now=now,
            error=f"The order source {backfill.source!r} is not in ORDERHOOKS['SOURCES'] any more. Put it back and "
            "start another backfill.",
        )
    except sources.UndatedError as error:
        backfill.end(Backfill.State.FAILED, now=now, error=str(error))
    except IntegrityError:
        raise
    except Exception as error:
        connections[Backfill.objects.db].close_if_unusable_or_obsolete()
        if isinstance(error, _RefusedError):
            backfill.postpone(until=now + REFUSED_AFTER, tries=backfill.tries)
        elif is_transient(error):
            logger.warning("a backfill goes on later: %s: %s", type(error).__name__, error, backfill=backfill.public_id)
            backfill.postpone(until=now + RETRY_AFTER)
        else:
            logger.exception("a backfill can't go on", backfill=backfill.public_id)
            text = f"{type(error).__name__}. The worker's log says more. Fix it, then start another backfill."
            backfill.end(Backfill.State.FAILED, now=now, error=text)
    return False


def _capacity(subscription: Subscription, *, now: datetime) -> tuple[int, timedelta]:
    """How many more deliveries may wait for the subscription; and when to look again if it is 0."""
    waiting = Delivery.objects.filter(
        subscription=subscription, trigger=Delivery.Trigger.AUTOMATIC, state=Delivery.State.PENDING
    )
    if subscription.update_interval:
        # Updates whose interval is not over are nothing that an endpoint is behind with.
        waiting = waiting.filter(Q(update_due_at=None) | Q(update_due_at__lte=now))
    most_due = MOST_DUE
    if (rate := subscription.rate) is not None:
        most_due = min(most_due, max(1, int(rate * SECONDS_OF_LIMIT)))
    if subscription.max_in_flight is not None:
        most_due = min(most_due, subscription.max_in_flight * DUE_PER_REQUEST_AT_ONCE)
    of_due = most_due - waiting.filter(next_attempt_at__lte=now)[:most_due].count()
    of_pending = MOST_PENDING - waiting[:MOST_PENDING].count()
    is_sent_to = subscription.state == Subscription.State.ACTIVE and not subscription.is_circuit_open(at=now)
    return min(of_due, of_pending), SHORT_WAIT if is_sent_to and of_pending > 0 else LONG_WAIT


def _read(backfill: Backfill, source: OrderSource, at_most: int, *, until: float, kills: bool) -> _Batch:
    """Read the next orders, until the time is up. `kills`: the first one killed its workers, so it is not read."""
    using = _database_of(source)
    last_sequence = Event.objects.aggregate(last=Max("sequence"))["last"] or 0
    orders: dict[str, OrderRead | None] = {}
    refused: Exception | None = None
    # A lock on a table, for example a migration's, must not keep the worker from its other work.
    with brief_reading(using) as inside:
        keys = sources.order_keys(
            source,
            after=backfill.cursor,
            up_to=backfill.last_key,
            at_most=at_most + 1,
            since=backfill.since,
            store=backfill.subscription.store,
            using=using,
        )
        read = reader_of(source.name, [] if kills else keys[:at_most], using=using)
        for key in keys[:at_most]:
            try:
                orders[key] = _killer(source) if kills else _order(source, key, read)
            except Exception as error:
                logger.warning("an order can't be read now: %s", describe_error(error), source=source.name, order=key)
                refused = error
                break
            if time.monotonic() > until:
                break
    if refused is not None and not orders:
        if _can_be_read(source, keys[1:2], using=using):
            raise _RefusedError from refused
        raise refused
    if inside and not kills:
        orders = {key: _outside(source, key, order, using=using) for key, order in orders.items()}
    return _Batch(orders, last_sequence, is_last=len(orders) == len(keys))


class _RefusedError(Exception):
    """The database refuses to read the first order, and not the next one."""


def _outside(source: OrderSource, key: str, order: OrderRead | None, *, using: str) -> OrderRead | None:
    """An order that can't be read inside a transaction is read outside of one, as after a save."""
    if order is None or not order.error:
        return order
    try:
        return _order(source, key, reader_of(source.name, [], using=using))
    except Exception as error:
        if is_transient(error):
            return order
        raise


def _can_be_read(source: OrderSource, keys: Sequence[str], *, using: str) -> bool:
    try:
        with brief_reading(using):
            read = reader_of(source.name, [], using=using)
            for key in keys:
                _order(source, key, read)
    except Exception as error:
        if is_transient(error):
            return False
        raise
    return True


def _killer(source: OrderSource) -> OrderRead:
    text = (
        f"Reading the order killed its worker {MOST_TRIES} times, or the database refused it: the worker's log says "
        "which. Fix the order source."
    )
    return OrderRead(source, error=text)


def _order(source: OrderSource, key: str, read: Callable[[str], OrderRead]) -> OrderRead | None:
    """The order as it is now, or the error that prevents that; None if it is gone, or is no order any more."""
    if len(key) > IDENTIFIER_LENGTH:
        return OrderRead(source, error=f"Its key has {len(key)} characters; at most {IDENTIFIER_LENGTH} can be stored.")
    order = read(key)
    return order if order.snapshot is not None or (order.error and not order.is_gone) else None


def _write(backfill: Backfill, source: OrderSource, batch: _Batch, *, now: datetime, paced_from: datetime) -> bool:
    """Move the cursor, and make the events and deliveries of the batch, in one transaction.

    The rate counts from `paced_from` on.
    """
    if not batch.orders:
        backfill.end(Backfill.State.DONE, now=now)
        return True
    *_before, cursor = batch.orders
    seconds = len(batch.orders) / backfill.rate
    with brief_transaction(Event.objects.db):
        if not backfill.advance(cursor, len(batch.orders), next_batch_at=paced_from + timedelta(seconds=seconds)):
            return False
        orders = dict(batch.orders)
        events = _publish(backfill, orders, batch.last_sequence, source)
        at = DatabaseClock().now()
        # Automatic, so that they keep to the endpoint's limits and wait while it cools down.
        due = {"subscription": backfill.subscription, "next_attempt_at": at, "requested_by": backfill.label}
        Delivery.objects.bulk_create(matching.new_delivery(verdict, event=event, **due) for event, verdict in events)
        if backfill.subscription.ordered and backfill.subscription.update_interval:
            # They must not wait behind an update that waits.
            keys = [event.order_pk for event, _verdict in events]
            waiting = Delivery.objects.filter(subscription=backfill.subscription)
            waiting.of_orders(backfill.source, keys).end_interval(now=at)
        failed = _failures(backfill.subscription, orders)
        values: dict[str, object] = {"done": F("done") + len(events), "failed": F("failed") + len(failed)}
        if failed and not backfill.first_error:
            values["first_error"] = failed[0]
        if batch.is_last:
            values |= {"state": Backfill.State.DONE, "finished_at": at}
        Backfill.objects.filter(pk=backfill.pk).update(**values)
    logger.info(
        "backfill",
        backfill=backfill.public_id,
        orders=len(batch.orders),
        deliveries=len(events),
        failed=len(failed),
    )
    return True


def _failures(subscription: Subscription, orders: Mapping[str, OrderRead | None]) -> list[str]:
    """A text for each order that could not be read. It quotes no order that may be of another store."""
    failed = {key: order for key, order in orders.items() if order is not None and order.error}
    texts = []
    for key, order in failed.items():
        if subscription.is_for_store(order.store):
            texts.append(f"Order {order.number or key}: {order.error}")
        elif not order.store:
            texts.append(f"An order whose store is not known: {order.error.partition(':')[0]}")
    return texts


def _publish(
    backfill: Backfill, orders: dict[str, OrderRead | None], last_sequence: int, source: OrderSource
) -> list[tuple[Event, Verdict]]:
    """Write an event for each order that can be sent and that the subscription selects. Returns each with the verdict.

    `orders` gets what had to be read again.

    See Note [Older than it looks].
    """
    at = DatabaseClock().now()
    events = {
        key: Event(
            topic=backfill.topic,
            source=backfill.source,
            order_pk=key,
            occurred_at=at,
            published_at=at,
            # Its only delivery is made here.
            routed_at=at,
            only_for=backfill.subscription_id,
            **_contents(order),
        )
        for key, order in orders.items()
        if order is not None and _is_sent(backfill, order)
    }
    matcher = matching.Matcher()
    verdicts = {key: matcher.select(event, backfill.subscription) for key, event in events.items()}
    events = {key: event for key, event in events.items() if verdicts[key].mismatch is None}
    Event.objects.bulk_create(events.values())
    changed = list(_changed(backfill.source, events, last_sequence))
    read = reader_of(source.name, changed, using=_database_of(source))
    for key in changed:
        order = orders[key] = _order(source, key, read)
        mine = Event.objects.filter(pk=events[key].pk)
        contents = _contents(order) if order is not None and _is_sent(backfill, order) else {}
        for name, value in contents.items():
            setattr(events[key], name, value)
        # A matcher keeps what it found about the event as it was.
        verdicts[key] = matching.Matcher().select(events[key], backfill.subscription)
        if contents and verdicts[key].mismatch is None:
            mine.update(**contents)
        else:
            mine.delete()
            del events[key]
    return [(event, verdicts[key]) for key, event in events.items()]


def _is_sent(backfill: Backfill, order: OrderRead) -> bool:
    return not order.error and backfill.subscription.is_for_store(order.store)


def _contents(order: OrderRead) -> dict[str, object]:
    payload = {"order": order.snapshot, "changes": {}}
    return {"order_number": order.number, "store": order.store, "payload": payload}


def _changed(source_name: str, events: Mapping[str, Event], last_sequence: int) -> Collection[str]:
    """The keys of orders that may have changed after they were read."""
    of_orders = {"source": source_name, "order_pk__in": list(events)}
    captured = set(Change.objects.filter(**of_orders).values_list("order_pk", flat=True))
    others = Event.objects.filter(**of_orders, sequence__gt=last_sequence)
    others = others.exclude(pk__in=[event.pk for event in events.values()])
    return captured | set(others.values_list("order_pk", flat=True))


def _database_of(source: OrderSource) -> str:
    return router.db_for_write(source.get_model())
