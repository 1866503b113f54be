"""Left behind: changes that no process of the store has coalesced, and that a worker makes events of.

Their process died after the commit, could not read the order, or left it to a worker: a large number of orders, or each
one with COALESCE_IN_WORKER. Or triggers captured them.

# Note [One worker at a time]
A lease keeps a change from other workers while one coalesces it. Without it, each worker that is woken would read the
order too, and each would count as an attempt that killed its worker. It is no lock: should it run out too early, the
order is read twice, and the locks of `taking` see to it that its events are made once.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import chain

from django.db import connections

from orderhooks import conf, logs, tracing
from orderhooks.db.locks import brief_transaction
from orderhooks.db.transient_errors import is_transient
from orderhooks.models import Change, Event
from orderhooks.outbox.coalescing import (
    COALESCE_TOGETHER,
    TRANSIENT_AT_ONCE,
    coalesce,
    coalesce_many,
    give_up,
    is_simple,
)
from orderhooks.outbox.guarding import describe_error
from orderhooks.outbox.leasing import lease, put_back

__all__ = ["LEFT_BEHIND_AFTER", "MAX_COALESCE_ATTEMPTS", "coalesce_left_behind", "is_anything_left_behind"]

logger = logs.get_logger(__name__)

# The process that wrote younger changes may still be about to coalesce them.
LEFT_BEHIND_AFTER = timedelta(seconds=3)
# A worker has deliveries to send as well.
TURN_SECONDS = 0.5
# No more orders of a source than these are coalesced one by one.
FEW = 5
# After this many attempts, the code of the order source is what kills the workers.
MAX_COALESCE_ATTEMPTS = 3
# How long an order is tried again while the database does not let it be read. After that, a person has to look.
TRANSIENT_FOR = timedelta(hours=1)
# Longer than a hundred orders take. What a worker that was killed had leased waits for that long.
LEASE = timedelta(seconds=30)
# Until the next attempt at an order that could not be coalesced.
RETRY_AFTER = timedelta(seconds=1)

# The leased changes of orders, by source and order.
Leased = Mapping[tuple[str, str], list[Change]]


def is_anything_left_behind(*, now: datetime) -> bool:
    """Whether changes are left behind that no worker has begun to coalesce."""
    return Change.objects.left_behind(before=_before(now), now=now).filter(lease_expires_at=None).exists()


def coalesce_left_behind(*, now: datetime) -> list[Event]:
    """Coalesce the changes whose process died after the commit, and those whose order could not be read then. With
    COALESCE_IN_WORKER all of them.
    """
    using = Change.objects.db
    before = _before(now)
    until = time.monotonic() + TURN_SECONDS
    events: list[Event] = []
    goes_on = True
    while goes_on and time.monotonic() < until:
        leased: dict[tuple[str, str], list[Change]] = {}
        for change in lease(before=before, now=now, until=now + LEASE, at_most=COALESCE_TOGETHER, using=using):
            leased.setdefault((change.source, change.order_pk), []).append(change)
        made, goes_on = _coalesce(leased, now=now, until=until, using=using)
        events += made
    return events


def _before(now: datetime) -> datetime | None:
    """The processes of the store may still coalesce what is not from before. None: they leave all to workers."""
    return None if conf.current().coalesce_in_worker else now - LEFT_BEHIND_AFTER


def _coalesce(leased: Leased, *, now: datetime, until: float, using: str) -> tuple[list[Event], bool]:
    """The events of leased changes, and whether to lease more."""
    events: list[Event] = []
    alone = dict(leased)
    for together in _together(leased):
        made = _coalesce_together(together, now=now, using=using)
        if made is not None:
            events += made
            alone = {order: changes for order, changes in alone.items() if order not in together}
    refused = 0
    for order in list(alone):
        if time.monotonic() > until or refused == TRANSIENT_AT_ONCE:
            break
        changes = alone.pop(order)
        try:
            events += _coalesce_alone(*order, changes, now=now, using=using)
        except Exception as error:
            # An order that can't be coalesced must not hold up the others. Its changes stay in the outbox.
            put_back(changes, until=now + RETRY_AFTER, counts=not is_transient(error), using=using)
            source, order_pk = order
            if not is_transient(error):
                logger.exception("could not coalesce the changes of an order", source=source, order=order_pk)
                continue
            logger.warning("an order can't be read now: %s", describe_error(error), source=source, order=order_pk)
            refused += 1
    if alone:
        put_back(list(chain(*alone.values())), until=now + RETRY_AFTER if refused else None, using=using)
    return events, bool(leased) and not alone


def _together(leased: Leased) -> Iterator[Leased]:
    """The orders of each source that has several, as far as their changes are of one transaction and none of them was
    tried before. One with a trace is coalesced alone, inside it.
    """
    by_source: dict[str, dict[tuple[str, str], list[Change]]] = {}
    for order, changes in leased.items():
        is_new = not any(change.coalesce_attempts > 1 or change.traceparent for change in changes)
        if is_new and is_simple(changes):
            by_source.setdefault(order[0], {})[order] = changes
    yield from (orders for orders in by_source.values() if len(orders) > FEW)


def _coalesce_together(leased: Leased, *, now: datetime, using: str) -> list[Event] | None:
    """The events of the orders that can be read; the others are put back. None, with nothing done, if it fails.

    See Note [The order as committed]: the changes were listed before the orders are read, and are taken after it.
    """
    try:
        with brief_transaction(using, may_be_silent=True):
            events = list(chain(*coalesce_many(leased, now=now, using=using)))
    except Exception as error:
        connections[using].close_if_unusable_or_obsolete()
        logger.warning("orders are coalesced one by one: %s", describe_error(error), orders=len(leased))
        return None
    # Counted, so that the next attempt is at each of them alone.
    put_back(list(chain(*leased.values())), until=now + RETRY_AFTER, counts=True, using=using)
    return events


def _coalesce_alone(source: str, order_pk: str, leased: list[Change], *, now: datetime, using: str) -> list[Event]:
    # This one included.
    attempts = max(change.coalesce_attempts for change in leased)
    if attempts > MAX_COALESCE_ATTEMPTS:
        killed = attempts - 1
        logger.error(
            "reading an order killed its workers; its events wait", source=source, order=order_pk, attempts=killed
        )
        error = (
            f"Reading the order killed its worker {killed} times. Fix the order source, then publish the event again."
        )
        return give_up(source, order_pk, error, now=now, using=using)
    waiting_since = min(change.created_at for change in leased)
    parent = leased[-1].traceparent
    try:
        # A lock on a table, for example a migration's, must not keep the worker from its other work.
        with (
            tracing.span("orderhooks publish", parent=parent) if parent else contextlib.nullcontext(),
            brief_transaction(using, may_be_silent=True),
        ):
            return coalesce(source, order_pk, now=now, using=using, captured=leased if is_simple(leased) else ())
    except Exception as error:
        connections[using].close_if_unusable_or_obsolete()
        may_pass = now - waiting_since < TRANSIENT_FOR if is_transient(error) else attempts < MAX_COALESCE_ATTEMPTS
        if may_pass:
            raise
        logger.exception("could not coalesce the changes of an order; its events wait", source=source, order=order_pk)
        return give_up(source, order_pk, describe_error(error), now=now, using=using)
