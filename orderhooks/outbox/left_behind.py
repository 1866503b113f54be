"""Left behind: changes that no process of the store has coalesced, and that a worker makes events of.

Their process died after the commit, could not read the order, or left a large number of orders to a worker. Or triggers
captured them.
"""

import random
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import connections
from django.db.models import F

from orderhooks import logs
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

__all__ = ["LEFT_BEHIND_AFTER", "MAX_COALESCE_ATTEMPTS", "coalesce_left_behind"]

logger = logs.get_logger(__name__)

# The process that wrote younger changes may still be about to coalesce them.
LEFT_BEHIND_AFTER = timedelta(seconds=3)
COALESCE_AT_ONCE = 500
# A worker has deliveries to send as well.
TURN_SECONDS = 0.5
# No more orders of a source than these are coalesced one by one.
FEW = 5
# After this many attempts, the code of the order source is what kills the workers.
MAX_COALESCE_ATTEMPTS = 3
# How long an order is tried again while the database does not let it be read. After that, a person has to look.
TRANSIENT_FOR = timedelta(hours=1)


def coalesce_left_behind(*, now: datetime) -> list[Event]:
    """Coalesce the changes whose process died after the commit, and those whose order could not be read then."""
    left = Change.objects.left_behind(before=now - LEFT_BEHIND_AFTER).order_by().values_list("source", "order_pk")
    orders = list(left.distinct()[:COALESCE_AT_ONCE])
    # Orders that can't be read now must not be the first ones each time.
    random.shuffle(orders)
    until = time.monotonic() + TURN_SECONDS
    events: list[Event] = []
    together, alone = _sorted_out(orders)
    for source, order_pks in together:
        if time.monotonic() > until:
            return events
        made, left_over = _coalesce_together(source, order_pks, now=now)
        events += made
        alone += [(source, order_pk) for order_pk in left_over]
    refused = 0
    for source, order_pk in alone:
        if time.monotonic() > until:
            break
        try:
            events += _coalesce_left_behind(source, order_pk, now=now)
        except Exception as error:
            # An order that can't be coalesced must not hold up the others. Its changes stay in the outbox.
            if not is_transient(error):
                logger.exception("could not coalesce the changes of an order", source=source, order=order_pk)
                continue
            logger.warning("an order can't be read now: %s", describe_error(error), source=source, order=order_pk)
            refused += 1
            if refused == TRANSIENT_AT_ONCE:
                break
    return events


Order = tuple[str, str]


def _sorted_out(orders: Sequence[Order]) -> tuple[list[tuple[str, list[str]]], list[Order]]:
    """The orders in chunks of a source, and those that are coalesced one by one because there are few."""
    by_source: dict[str, list[str]] = {}
    for source, order_pk in orders:
        by_source.setdefault(source, []).append(order_pk)
    chunks: list[tuple[str, list[str]]] = []
    alone: list[Order] = []
    for source, order_pks in by_source.items():
        if len(order_pks) <= FEW:
            alone += [(source, order_pk) for order_pk in order_pks]
            continue
        chunks += [
            (source, order_pks[start : start + COALESCE_TOGETHER])
            for start in range(0, len(order_pks), COALESCE_TOGETHER)
        ]
    return chunks, alone


def _coalesce_together(source: str, order_pks: Sequence[str], *, now: datetime) -> tuple[list[Event], Sequence[str]]:
    """Coalesce those of the orders whose changes are of one transaction and were not tried before; return the others.

    See Note [The order as committed]: the changes are listed before the orders are read, and taken after it.
    """
    using = Change.objects.db
    by_order: dict[str, list[Change]] = {}
    try:
        with brief_transaction(using):
            rows = Change.objects.using(using).filter(source=source, order_pk__in=order_pks)
            for change in rows.order_by("id").select_for_update():
                by_order.setdefault(change.order_pk, []).append(change)
            simple = {
                (source, order_pk): changes
                for order_pk, changes in by_order.items()
                if is_simple(changes) and not any(change.coalesce_attempts for change in changes)
            }
            pks = [change.pk for changes in simple.values() for change in changes]
            Change.objects.using(using).filter(pk__in=pks).update(coalesce_attempts=F("coalesce_attempts") + 1)
        events: list[Event] = []
        if simple:
            with brief_transaction(using, may_be_silent=True):
                events = coalesce_many(simple, now=now, using=using)
    except Exception as error:
        connections[using].close_if_unusable_or_obsolete()
        logger.warning(
            "orders are coalesced one by one: %s", describe_error(error), source=source, orders=len(order_pks)
        )
        return [], order_pks
    return events, [order_pk for order_pk in by_order if (source, order_pk) not in simple]


def _coalesce_left_behind(source: str, order_pk: str, *, now: datetime) -> list[Event]:
    using = Change.objects.db
    with brief_transaction(using):
        changes = list(Change.objects.using(using).of_order(source, order_pk).select_for_update())
        attempts = max((change.coalesce_attempts for change in changes), default=0)
        _count_attempts(source, order_pk, 1, using=using)
    if attempts >= MAX_COALESCE_ATTEMPTS:
        logger.error(
            "reading an order killed its workers; its events wait", source=source, order=order_pk, attempts=attempts
        )
        error = (
            f"Reading the order killed its worker {attempts} times. Fix the order source, then publish the event again."
        )
        return give_up(source, order_pk, error, now=now, using=using)
    try:
        # A lock on a table, for example a migration's, must not keep the worker from its other work.
        with brief_transaction(using, may_be_silent=True):
            return coalesce(source, order_pk, now=now, using=using)
    except Exception as error:
        connections[using].close_if_unusable_or_obsolete()
        waiting_since = min((change.created_at for change in changes), default=now)
        if is_transient(error) and now - waiting_since < TRANSIENT_FOR:
            _count_attempts(source, order_pk, -1, using=using)  # the attempt did not kill the worker
            raise
        if not is_transient(error) and attempts + 1 < MAX_COALESCE_ATTEMPTS:
            raise
        logger.exception("could not coalesce the changes of an order; its events wait", source=source, order=order_pk)
        return give_up(source, order_pk, describe_error(error), now=now, using=using)


def _count_attempts(source: str, order_pk: str, more: int, *, using: str) -> None:
    changes = Change.objects.using(using).filter(source=source, order_pk=order_pk)
    if more < 0:
        changes = changes.filter(coalesce_attempts__gt=0)
    changes.update(coalesce_attempts=F("coalesce_attempts") + more)
