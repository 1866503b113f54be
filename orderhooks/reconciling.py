"""Reconciling: compare all orders with what was last published of them, to find changes that nobody captured.

`orderhooks_doctor --reconcile` and the worker's daily task call it. It only reads; `publishing` publishes the
differences.
"""

import enum
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import router
from django.db.models import Min

from orderhooks import digests, payloads, sources
from orderhooks.db.transient_errors import is_transient
from orderhooks.models import Change, Event, OrderDigest, Reconciliation, Subscription
from orderhooks.outbox.guarding import describe_error
from orderhooks.outbox.reading import OrderRead, reader_of
from orderhooks.sources import OrderSource, keys

__all__ = ["Difference", "Kind", "advance", "begin", "count", "last_published"]

AT_ONCE = 200
MOST_EXAMPLES = 20
CATCH_UP_SECONDS = 5.0
# If the database refuses this number of a batch, the batch is compared later.
REFUSED_AT_ONCE = 4
# An order that changes while it is compared is compared again.
TRIES = 3


class Kind(enum.Enum):
    """How an order differs from what was last published of it. The value names the counter in `Reconciliation`."""

    CHANGED = "changed"
    UNKNOWN = "unknown"  # there never was an event
    DELETED = "deleted"
    UNREADABLE = "unreadable"  # `error` says why


@dataclass(frozen=True, slots=True)
class Difference:
    """An order that differs."""

    kind: Kind
    source: str
    order_pk: str
    number: str
    store: str = ""
    error: str = ""


def begin(*, since: datetime | None, is_scheduled: bool = False) -> Reconciliation:
    """Start a reconciliation of the orders of all sources. `since`: only of those dated since then; of a source whose
    orders have no date, of all.
    """
    names = list(sources.configured())
    return Reconciliation.objects.create(since=since, is_scheduled=is_scheduled, source=names[0] if names else "")


def count(reconciliation: Reconciliation) -> int:
    """How many orders it compares in all, those that were deleted not counted."""
    known = sources.configured().values()
    return sum(sources.count_orders(one, since=_since(reconciliation, one), using=_database(one)) for one in known)


def advance(reconciliation: Reconciliation, *, now: datetime) -> list[Difference]:
    """Compare the next batch, and write down how far it has got. Its state is DONE after the last one.

    Memory is bounded by the batch. Nothing is found if another process has compared the batch meanwhile. Raises the
    errors of a database that can't be read now; then the same batch is compared the next time.
    """
    is_first = reconciliation.phase == Reconciliation.Phase.ORDERS and not reconciliation.cursor
    # Later batches look at the events of orders that differ from their digests anyway.
    if is_first and not digests.catch_up(now=now, seconds=CATCH_UP_SECONDS):
        return []
    begun_at = (reconciliation.source, reconciliation.phase, reconciliation.cursor)
    source = sources.configured().get(reconciliation.source)
    steps = {Reconciliation.Phase.ORDERS: _compare_orders, Reconciliation.Phase.DIGESTS: _look_for_deleted}
    found: list[Difference] = []
    if source is None:
        reached = None
    else:
        found, reached = steps[Reconciliation.Phase(reconciliation.phase)](reconciliation, source)
    if reached is None:
        _next_phase(reconciliation, now=now)
    else:
        reconciliation.cursor = reached
    for one in found:
        setattr(reconciliation, one.kind.value, getattr(reconciliation, one.kind.value) + 1)
    named = [{"kind": one.kind.value, "source": one.source, "number": one.number} for one in found]
    reconciliation.examples = [*reconciliation.examples, *named][:MOST_EXAMPLES]
    if not reconciliation.save_batch(begun_at=begun_at):
        reconciliation.refresh_from_db()
        return []
    return found


def last_published(source_name: str, order_pk: str) -> Event | None:
    """The newest event of an order that was published to all subscriptions, and that shows the order."""
    events = Event.objects.for_all().filter(source=source_name, order_pk=order_pk).exclude(topic=payloads.REDACTED)
    return events.order_by("-sequence").first()


def _next_phase(reconciliation: Reconciliation, *, now: datetime) -> None:
    names = list(sources.configured())
    reconciliation.cursor = ""
    if reconciliation.phase == Reconciliation.Phase.ORDERS and reconciliation.source in names:
        reconciliation.phase = Reconciliation.Phase.DIGESTS
        return
    place = names.index(reconciliation.source) + 1 if reconciliation.source in names else len(names)
    reconciliation.phase = Reconciliation.Phase.ORDERS
    if place < len(names):
        reconciliation.source = names[place]
    else:
        reconciliation.state = Reconciliation.State.DONE
        reconciliation.finished_at = now


def _compare_orders(reconciliation: Reconciliation, source: OrderSource) -> tuple[list[Difference], str | None]:
    """The differences of the next orders, and the key reached; None if there are no more."""
    using = _database(source)
    since = _since(reconciliation, source)
    order_pks = sources.order_keys(source, after=reconciliation.cursor, at_most=AT_ONCE, since=since, using=using)
    if not order_pks:
        return [], None
    known = {row.order_pk: row.digest for row in OrderDigest.objects.filter(source=source.name, order_pk__in=order_pks)}
    read = {
        order_pk: None if _error(one) else _digest(source, one)
        for order_pk, one in _read_together(source, order_pks, using=using)
    }
    suspects = {pk: digest for pk, digest in read.items() if digest is None or known.get(pk) != digest}
    reconciliation.compared += len(order_pks)
    differences = [
        one for pk, digest in suspects.items() if (one := _compare(source, pk, among_others=digest, using=using))
    ]
    older = _older_than_subscriptions(source, [one for one in differences if one.kind == Kind.UNKNOWN], using=using)
    reconciliation.older += len(older)
    return [one for one in differences if one.order_pk not in older], order_pks[-1]


def _look_for_deleted(reconciliation: Reconciliation, source: OrderSource) -> tuple[list[Difference], str | None]:
    """The orders among the next digests that are gone, and the id reached; None if there are no more."""
    using = _database(source)
    model = source.get_model()
    rows = OrderDigest.objects.filter(source=source.name, pk__gt=int(reconciliation.cursor or 0)).exclude(digest="")
    if reconciliation.since:
        rows = rows.filter(published_at__gte=reconciliation.since)
    batch = list(rows.order_by("pk")[:AT_ONCE])
    if not batch:
        return [], None
    there = source.orders(using=using).filter(pk__in=keys.values_of(model, [row.order_pk for row in batch]))
    names = [field.attname for field in keys.key_fields(model)]
    found = {keys.as_text(model, values) for values in there.values_list(*names)}
    gone = [row for row in batch if row.order_pk not in found]
    differences = [one for row in gone if (one := _compare(source, row.order_pk, using=using))]
    return differences, str(batch[-1].pk)


def _compare(source: OrderSource, order_pk: str, *, among_others: str | None = None, using: str) -> Difference | None:
    """The difference of one order, if there is one although it is compared step by step.

    The newest event is read before and after the order: if they are not the same, the order has just changed.
    `among_others`: its digest as it was read together with others. That may have the rows that are alike in another
    order than if it is read alone, and an event is made in both ways.
    """
    for _ in range(TRIES):
        event = last_published(source.name, order_pk)
        if event is not None and digests.digest_of(event) == among_others:
            return None
        [(_pk, read)] = _read_together(source, [order_pk], using=using)
        if Change.objects.filter(source=source.name, order_pk=order_pk).exists():
            return None  # it is captured, and about to be published
        if (after := last_published(source.name, order_pk)) == event:
            return _difference(source, order_pk, after, read)
    return None  # it changes all the time, and that is published


def _difference(source: OrderSource, order_pk: str, event: Event | None, read: OrderRead) -> Difference | None:
    row = OrderDigest.objects.filter(source=source.name, order_pk=order_pk).first()
    # The digest may be older than the event, and outlives it.
    known = digests.digest_of(event) if event else row.digest if row else None
    digest = _digest(source, read)
    kind = Kind.CHANGED
    if _error(read):
        kind = Kind.UNREADABLE
    elif digest == (known or ""):
        return None
    elif digest == "":
        kind = Kind.DELETED
    elif known is None:
        kind = Kind.UNKNOWN
    published = event or row
    number = read.number or (published.order_number if published else "") or order_pk
    store = read.store or (published.store if published else "")
    return Difference(kind, source.name, order_pk, number, store, _error(read))


def _digest(source: OrderSource, read: OrderRead) -> str:
    """As in `OrderDigest`: blank if the order is gone."""
    if read.snapshot is None:
        return ""
    stored = json.loads(payloads.encode(read.snapshot))  # as it would be stored
    return payloads.digest(stored, without=source.not_in_digest)


def _error(read: OrderRead) -> str:
    return "" if read.is_gone else read.error


def _read_together(source: OrderSource, order_pks: Sequence[str], *, using: str) -> Iterator[tuple[str, OrderRead]]:
    """Each order as the database has it now. An order that is gone is among them too.

    Raises an error for which `is_transient` is true if the database refuses more than a few.
    """
    read = reader_of(source.name, order_pks, using=using)
    refused = 0
    for order_pk in order_pks:
        try:
            found = read(order_pk)
        except Exception as error:
            refused += 1
            if not is_transient(error) or refused == REFUSED_AT_ONCE:
                raise
            found = OrderRead(source, error=describe_error(error))
        yield order_pk, found


def _older_than_subscriptions(source: OrderSource, unknown: Collection[Difference], *, using: str) -> frozenset[str]:
    """The keys of those orders that are dated before the first subscription: nothing was captured then."""
    order_pks = frozenset(one.order_pk for one in unknown)
    if not order_pks or not sources.is_dated(source):
        return frozenset()
    first = Subscription.objects.aggregate(first=Min("created_at"))["first"]
    return order_pks - (sources.dated_since(source, order_pks, first, using=using) if first else frozenset())


def _since(reconciliation: Reconciliation, source: OrderSource) -> datetime | None:
    return reconciliation.since if sources.is_dated(source) else None


def _database(source: OrderSource) -> str:
    return router.db_for_write(source.get_model())
