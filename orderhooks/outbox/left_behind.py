"""Left behind: changes that no process of the store has coalesced, and that a worker makes events of.

Their process died after the commit, could not read the order, or left it to a worker: a large number of orders, or each
one with COALESCE_IN_WORKER. Or triggers captured them.

# Note [One worker at a time]
A lease keeps a change from other workers while one coalesces it. Without it, each worker that is woken would read the
order too, and each would count as an attempt that killed its worker. It is no lock: should it run out too early, the
order is read twice, and the locks of `taking` see to it that its events are made once.

A worker that is killed leaves an attempt at each order that it had leased, of which one may be the cause. So what was
tried before is leased by itself, and only the cause is tried so often that it is given up.
"""

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from django.db import connections

from orderhooks import conf, logs, tracing
from orderhooks.db.locks import brief_reading
from orderhooks.db.transient_errors import is_transient
from orderhooks.encryption import UndecryptableError
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
FEW = 3
# After this many attempts, the code of the order source is what kills the workers.
MAX_COALESCE_ATTEMPTS = 3
# How long an order is tried again while the database does not let it be read. After that, it is tried as often as after
# any other error, LATE_AFTER apart, as no worker may have been there before. Then a person has to look.
TRANSIENT_FOR = timedelta(hours=1)
LATE_AFTER = timedelta(minutes=1)
# Longer than a hundred orders take. What a worker that was killed had leased waits for that long.
LEASE = timedelta(seconds=30)
# Until the next attempt at an order that could not be coalesced, or that there was no time for.
RETRY_AFTER = timedelta(seconds=1)
# If the database did not let it be read, the others come first, and have most of the time: it waits for REFUSED_AFTER,
# and for TIMES_AS_LONG as long as the attempt took.
REFUSED_AFTER = timedelta(seconds=2)
TIMES_AS_LONG = 10

# The leased changes of orders, by source and order.
Leased = Mapping[tuple[str, str], list[Change]]


def is_anything_left_behind(*, now: datetime) -> bool:
    """Whether changes are left behind that no worker has begun to coalesce."""
    return Change.objects.left_behind(before=_before(now), now=now).filter(lease_expires_at=None).exists()


def coalesce_left_behind(*, now: datetime) -> list[Event]:
    """Coalesce the changes that are left to a worker. Returns the events."""
    turn = _Turn(now, until=time.monotonic() + TURN_SECONDS, using=Change.objects.db)
    turn.run(before=_before(now))
    return turn.events


def _before(now: datetime) -> datetime | None:
    """The processes of the store may still coalesce what is not from before. None: they leave all to workers."""
    return None if conf.current().coalesce_in_worker else now - LEFT_BEHIND_AFTER


@dataclass(slots=True)
class _Turn:
    """As many leases as there is time for, and the events that were made. `refused`: how many orders the database did
    not let be read; `may_be_more`: whether the last lease left any.
    """

    now: datetime
    until: float
    using: str
    events: list[Event] = field(default_factory=list)
    refused: int = 0
    may_be_more: bool = True

    def run(self, *, before: datetime | None) -> None:
        while self.may_be_more and self._goes_on():
            self._coalesce(self._lease(before))

    def _goes_on(self) -> bool:
        return time.monotonic() < self.until and self.refused < TRANSIENT_AT_ONCE

    def _lease(self, before: datetime | None) -> Leased:
        """New changes, or those of the one order that was tried the least of those that were tried before."""
        until = self.now + LEASE
        leased: dict[tuple[str, str], list[Change]] = {}
        for change in lease(before=before, now=self.now, until=until, at_most=COALESCE_TOGETHER, using=self.using):
            leased.setdefault((change.source, change.order_pk), []).append(change)
        tried = [order for order, changes in leased.items() if _attempts(changes) > 1]
        self.may_be_more = bool(tried) or sum(map(len, leased.values())) == COALESCE_TOGETHER
        if not tried:
            return leased
        least = min(tried, key=lambda order: _attempts(leased[order]))
        mine = leased.pop(least)
        self._put_back(leased)
        return {least: mine}

    def _coalesce(self, leased: Leased) -> None:
        groups = list(_together(leased))
        # First, because a group takes more time than is left when orders keep coming.
        self._coalesce_each({order: leased[order] for order in leased if not any(order in group for group in groups)})
        for group in groups:
            made = _coalesce_together(group, now=self.now, using=self.using) if self.refused == 0 else None
            if made is None:
                self._coalesce_each(group)
            else:
                self.events += made

    def _coalesce_each(self, leased: Leased) -> None:
        left = dict(leased)
        for order in leased:
            if not self._goes_on():
                break
            self._coalesce_alone(order, left.pop(order))
        self._put_back(left, until=self.now + RETRY_AFTER if self.refused else None)

    def _coalesce_alone(self, order: tuple[str, str], changes: list[Change]) -> None:
        source, order_pk = order
        began_at = time.monotonic()
        try:
            self.events += _coalesce_alone(source, order_pk, changes, now=self.now, until=self.until, using=self.using)
            if not self._goes_on():
                self._put_back({order: changes})  # as far as they are left
        except Exception as error:
            # An order that can't be coalesced must not hold up the others. Its changes stay in the outbox.
            took = timedelta(seconds=time.monotonic() - began_at)
            may_pass = _may_pass(error, changes, now=self.now)
            # The last attempt goes on until what keeps its events from being written is gone.
            counts = not may_pass and _attempts(changes) < MAX_COALESCE_ATTEMPTS
            if is_transient(error):
                logger.warning("an order can't be read now: %s", describe_error(error), source=source, order=order_pk)
                self.refused += 1
                wait = max(REFUSED_AFTER, TIMES_AS_LONG * took) if may_pass else LATE_AFTER
            else:
                logger.exception("could not coalesce the changes of an order", source=source, order=order_pk)
                wait = RETRY_AFTER if counts else LATE_AFTER
            put_back(changes, until=self.now + took + wait, counts=counts, using=self.using)

    def _put_back(self, leased: Leased, *, until: datetime | None = None) -> None:
        if leased:
            put_back(list(chain(*leased.values())), until=until, using=self.using)


def _together(leased: Leased) -> Iterator[Leased]:
    """The orders of each source that has several, as far as their changes are of one transaction each. One with a trace
    is coalesced alone, inside it.
    """
    by_source: dict[str, dict[tuple[str, str], list[Change]]] = {}
    for order, changes in leased.items():
        if is_simple(changes) and not any(change.traceparent for change in changes):
            by_source.setdefault(order[0], {})[order] = changes
    yield from (orders for orders in by_source.values() if len(orders) > FEW)


def _coalesce_together(leased: Leased, *, now: datetime, using: str) -> list[Event] | None:
    """The events of the orders that can be read; the others are put back. None, with nothing done, if it fails.

    See Note [The order as committed]: the changes were listed before the orders are read, and are taken after it.
    """
    try:
        with brief_reading(using) as inside:
            events = list(chain(*coalesce_many(leased, now=now, using=using)))
            _require_read(events, inside=inside)
    except Exception as error:
        connections[using].close_if_unusable_or_obsolete()
        logger.warning("orders are coalesced one by one: %s", describe_error(error), orders=len(leased))
        return None
    # Counted, so that the next attempt is at each of them alone.
    put_back(list(chain(*leased.values())), until=now + RETRY_AFTER, counts=True, using=using)
    return events


def _coalesce_alone(
    source: str, order_pk: str, leased: list[Change], *, now: datetime, until: float, using: str
) -> list[Event]:
    # This one included.
    attempts = _attempts(leased)
    if attempts > MAX_COALESCE_ATTEMPTS:
        killed = attempts - 1
        logger.error(
            "reading an order killed its workers; its events wait", source=source, order=order_pk, attempts=killed
        )
        error = (
            f"Reading the order killed its worker {killed} times. Fix the order source, then publish the event again."
        )
        return give_up(source, order_pk, error, now=now, using=using)
    parent = leased[-1].traceparent
    try:
        with tracing.span("orderhooks publish", parent=parent) if parent else contextlib.nullcontext():
            return _read_alone(source, order_pk, leased, now=now, until=until, using=using)
    except Exception as error:
        connections[using].close_if_unusable_or_obsolete()
        if attempts < MAX_COALESCE_ATTEMPTS or _may_pass(error, leased, now=now):
            raise
        logger.exception("could not coalesce the changes of an order; its events wait", source=source, order=order_pk)
        return give_up(source, order_pk, describe_error(error), now=now, using=using)


def _read_alone(
    source: str, order_pk: str, leased: list[Change], *, now: datetime, until: float, using: str
) -> list[Event]:
    how: dict[str, Any] = {"now": now, "until": until, "using": using, "captured": leased if is_simple(leased) else ()}
    try:
        # A lock on a table, for example a migration's, must not keep the worker from its other work.
        with brief_reading(using) as inside:
            events = coalesce(source, order_pk, **how)
            _require_read(events, inside=inside)
            return events
    except _UnreadInsideError:
        return coalesce(source, order_pk, **how)


class _UnreadInsideError(Exception):
    """An order can't be read inside a transaction; the store's code may need to be outside of one, as after a save."""


def _require_read(events: Iterable[Event], *, inside: bool) -> None:
    if inside and (error := next((event.error for event in events if event.error), "")):
        raise _UnreadInsideError(error)


def _may_pass(error: Exception, leased: list[Change], *, now: datetime) -> bool:
    """Whether the changes wait for the database, or for their key, however often they are tried."""
    is_young = now - min(change.created_at for change in leased) < TRANSIENT_FOR
    return isinstance(error, UndecryptableError) or (is_young and is_transient(error))


def _attempts(leased: list[Change]) -> int:
    """How often a worker began to coalesce an order, this time included."""
    return max(change.coalesce_attempts for change in leased)
