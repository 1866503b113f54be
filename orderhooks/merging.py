"""Merging: of subscriptions that want at most one `order.updated` of an order in some time, which updates wait, and
which merge. `routing` calls it with new deliveries, before they are written.

# Note [Merging updates]
The first update of an order goes out at once. A later one waits until the interval since the last one is over. One that
comes while another waits takes its place: it is due when that one was, and carries the changes of both. The other one
ends as skipped, before any attempt. So what a delivery carries is settled when it is made, and each attempt sends the
same bytes.

An order's events are taken in the order of their sequence, though several workers route side by side: the worker that
has the oldest unrouted event of an order locked routes the order, and others leave its later events for their next
turn. So no two workers look for the same waiting update, and no lock of its own is needed. A waiting update that is
being claimed at that time is locked, and counts as sent.

Updates that were made in different versions of the body do not merge, because their `changes` may have other names and
values. Nor does one that happened before the one that waits, and was published later: what changed last would not come
last. The one that waits is due at once.

In an ordered subscription an event of another topic would have to wait behind the update. So the update that waits is
due at once when such an event comes, and merges no more.

Changes that cancel out still make an update, with empty `changes`. P2, by which they make none, is about one
transaction, into which nobody sees. Between transactions receivers may have seen the state that has ended, for example
in the body of another topic, so they have to learn that it has.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import F, Min, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce
from django.db.models.query import QuerySet

from orderhooks import logs, net_values, sources, versions
from orderhooks.db.locks import locked_if_free
from orderhooks.models import Attempt, Delivery, Event, Subscription

__all__ = ["UPDATED", "held_back", "merge"]

logger = logs.get_logger(__name__)

UPDATED = "order.updated"
# The name of an order's source, and its key.
Order = tuple[str, str]
Line = tuple[Subscription, Order]


def held_back(events: Sequence[Event], subscriptions: Iterable[Subscription]) -> set[int]:
    """The events of a batch that have to wait, because earlier ones of their orders are not routed yet.

    Only those that a subscription with an interval may want.
    """
    timed = [subscription for subscription in subscriptions if subscription.update_interval]
    orders = {_order_of(event) for event in events if any(_takes_turns(event, one) for one in timed)}
    if not orders:
        return set()
    sources_of, keys = ({order[place] for order in orders} for place in (0, 1))
    others = Event.objects.unrouted().filter(source__in=sources_of, order_pk__in=keys)
    others = others.exclude(pk__in=[event.pk for event in events]).order_by()
    rows = others.values_list("source", "order_pk").annotate(Min("sequence"))
    earliest = {(source, order_pk): sequence for source, order_pk, sequence in rows if (source, order_pk) in orders}
    return {event.pk for event in events if earliest.get(_order_of(event), event.pk) < event.pk}


def _takes_turns(event: Event, subscription: Subscription) -> bool:
    if event.topic != UPDATED and not subscription.ordered:
        return False
    return subscription.wants(event.topic, store=event.store, at=event.occurred_at)


def merge(deliveries: Sequence[Delivery], *, now: datetime) -> None:
    """Set when each of the new deliveries is due, and merge the updates of an order into the newest.

    `deliveries` are to subscriptions with an interval, and not written yet. Those that are stored already and merge
    into a new one are updated. See Note [Merging updates].
    """
    made: dict[Line, list[Delivery]] = {}
    for delivery in sorted(deliveries, key=lambda one: one.event_id):
        made.setdefault((delivery.subscription, _order_of(delivery.event)), []).append(delivery)
    lines = {
        line: _Updates(interval, some[0].event_id)
        for line, some in made.items()
        if (interval := line[0].update_interval)
        and (line[0].ordered or any(one.event.topic == UPDATED for one in some))
    }
    _continue(lines, now=now)
    made_in = _made_in(lines, made)
    for line, updates in lines.items():
        for delivery in made[line]:
            # One that a filter can't judge waits by itself, and holds up the later ones.
            if delivery.event.topic == UPDATED and not delivery.is_unjudged:
                waiting = updates.waiting
                if waiting and (
                    made_in.get(waiting.delivery.event_id) != made_in.get(delivery.event_id)
                    or delivery.event.occurred_at < waiting.happened_at
                ):
                    updates.end_interval(now=now)
                updates.add(delivery, now=now)
            elif line[0].ordered:
                updates.end_interval(now=now)
    _write_stored(lines.values(), now=now)
    _set_changes([carrier for updates in lines.values() for carrier in updates.carriers()])


@dataclass(slots=True)
class _Carrier:
    """An update, when it happened, and what it carries: `former`, and the changes of the events after `after`, up to
    its own.
    """

    delivery: Delivery
    happened_at: datetime
    after: int
    former: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, delivery: Delivery, happened_at: datetime) -> "_Carrier":
        if delivery.merged_changes is not None:
            return cls(delivery, happened_at, delivery.event_id, delivery.merged_changes)
        return cls(delivery, happened_at, delivery.event_id - 1)


@dataclass(slots=True)
class _Updates:
    """The updates of one order for one subscription. `waiting`: the newest, if it may still merge.

    `first_event`: the order's first new event. `free_at`: when the interval lets the next update out.
    """

    interval: timedelta
    first_event: int
    waiting: _Carrier | None = None
    free_at: datetime | None = None
    # Stored ones that were merged away, and those that became due.
    merged_away: list[int] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    # New ones that no longer merge.
    settled: list[_Carrier] = field(default_factory=list)

    def add(self, delivery: Delivery, *, now: datetime) -> None:
        """The next update of the order."""
        if self.waiting is None:
            due_at = max(now, self.free_at or now)
            delivery.next_attempt_at = delivery.update_due_at = due_at
            if self.free_at and self.free_at > delivery.event.occurred_at:
                # It is late by choice until then.
                delivery.due_by = delivery.subscription.due_by(self.free_at)
            self.waiting = _Carrier.of(delivery, delivery.event.occurred_at)
        else:
            former = self.waiting.delivery
            delivery.next_attempt_at, delivery.update_due_at = former.next_attempt_at, former.update_due_at
            delivery.due_by = former.due_by
            delivery.merges_from = former.event_id if former.merges_from is None else former.merges_from
            self._merge_away(former, now=now)
            self.waiting.delivery, self.waiting.happened_at = delivery, delivery.event.occurred_at
        self.free_at = (delivery.update_due_at or now) + self.interval

    def _merge_away(self, former: Delivery, *, now: datetime) -> None:
        if former.pk is not None:
            self.merged_away.append(former.pk)
            return
        former.merges_from = former.event_id if former.merges_from is None else former.merges_from
        former.state, former.next_attempt_at, former.finished_at = Delivery.State.SKIPPED, None, now
        former.due_by = None

    def end_interval(self, *, now: datetime) -> None:
        """What comes behind the update that waits can't merge with it: another topic's event in an ordered
        subscription, or an update that was made in another version.
        """
        if self.waiting is None:
            return
        waiting, self.waiting = self.waiting, None
        delivery = waiting.delivery
        if delivery.next_attempt_at is None or delivery.next_attempt_at > now:
            delivery.next_attempt_at = delivery.update_due_at = now
            if delivery.pk is not None:
                self.released.append(delivery.pk)
        self.free_at = now + self.interval
        self.settled.append(waiting)

    def carriers(self) -> list[_Carrier]:
        """The new ones that carry the changes of others."""
        found = [*self.settled, *([self.waiting] if self.waiting else [])]
        return [one for one in found if one.delivery.pk is None and one.delivery.merges_from is not None]


def _continue(lines: Mapping[Line, _Updates], *, now: datetime) -> None:
    """Read the last update of each order, and lock it if it waits."""
    last: dict[int, _Updates] = {}
    may_merge: list[int] = []
    for line, key, is_newest in _last_updates(lines):
        last[key] = lines[line]
        # In an ordered subscription one with another topic's event behind it is due.
        if is_newest or not line[0].ordered:
            may_merge.append(key)
    if not last:
        return
    # One that is locked is being claimed, skipped or redelivered.
    happened_at = Subquery(Event.objects.filter(pk=OuterRef("event")).values("occurred_at")[:1])
    waiting = Delivery.objects.merging().filter(pk__in=may_merge).annotate(happened_at=happened_at).order_by("pk")
    for delivery in locked_if_free(waiting, no_key=True):
        last.pop(delivery.pk).waiting = _Carrier.of(delivery, vars(delivery)["happened_at"])
    # Not grouped: see Note [Divided tables] in `partitions`.
    attempts = Attempt.objects.filter(delivery=OuterRef("pk")).order_by("-number")
    last_attempt_at = Subquery(attempts.values("started_at")[:1])
    others = Delivery.objects.filter(pk__in=list(last)).annotate(last_attempt_at=last_attempt_at)
    for delivery in others.defer("merged_changes"):
        updates = last[delivery.pk]
        updates.free_at = _free_at(delivery, vars(delivery)["last_attempt_at"], updates.interval, now=now)


def _made_in(lines: Mapping[Line, _Updates], made: Mapping[Line, Sequence[Delivery]]) -> Mapping[int, str]:
    """The version of the body that each event was made in which may merge. Nothing, and no query, if there is only one
    version.
    """
    if len(versions.registered()) == 1:
        return {}
    keys = {updates.waiting.delivery.event_id for updates in lines.values() if updates.waiting}
    keys |= {one.event_id for line in lines for one in made[line]}
    return dict(Event.objects.filter(pk__in=keys).order_by().values_list("pk", "api_version"))


def _last_updates(lines: Mapping[Line, _Updates]) -> Iterator[tuple[Line, int, bool]]:
    """The primary key of the last update of each, and whether nothing came behind it. Those without one are left out.

    A query for each subscription or, if they are fewer, for each order.
    """
    of_subscriptions: dict[Subscription, dict[int, Line]] = {}
    of_orders: dict[Order, dict[int, Line]] = {}
    for line, updates in lines.items():
        subscription, order = line
        of_subscriptions.setdefault(subscription, {})[updates.first_event] = line
        of_orders.setdefault(order, {})[subscription.pk] = line
    if len(of_subscriptions) <= len(of_orders):
        for subscription, by_event in of_subscriptions.items():
            before = _before(subscription.pk, (OuterRef("source"), OuterRef("order_pk")), OuterRef("pk"))
            yield from _found(Event.objects.filter(pk__in=by_event), before, by_event)
        return
    for order, by_subscription in of_orders.items():
        first = min(lines[line].first_event for line in by_subscription.values())
        before = _before(OuterRef("pk"), order, first)
        yield from _found(Subscription.objects.filter(pk__in=by_subscription), before, by_subscription)


def _before(subscription: Any, order: tuple[Any, Any], event: Any) -> QuerySet[Delivery]:
    source, order_pk = order
    return Delivery.objects.filter(
        subscription=subscription, event__source=source, event__order_pk=order_pk, event__lt=event
    ).order_by("-event_id")


def _found(
    rows: QuerySet[Any], before: QuerySet[Delivery], lines: Mapping[int, Line]
) -> Iterator[tuple[Line, int, bool]]:
    updates = before.filter(update_due_at__isnull=False)
    annotated = rows.annotate(
        last=Subquery(updates.values("pk")[:1]),
        order_of_last=Subquery(updates.values("event__order_pk")[:1]),
        newest=Subquery(before.values("pk")[:1]),
    )
    for pk, last, order_pk, newest in annotated.values_list("pk", "last", "order_of_last", "newest"):
        # Some databases compare keys without regard to case.
        if last is not None and order_pk == lines[pk][1][1]:
            yield lines[pk], last, last == newest


def _free_at(
    last: Delivery, last_attempt_at: datetime | None, interval: timedelta, *, now: datetime
) -> datetime | None:
    """When the interval lets the next update out after one that does not merge."""
    if last.state == Delivery.State.SENDING:
        return now + interval
    if last_attempt_at is not None:
        return last_attempt_at + interval
    if last.state == Delivery.State.SKIPPED and not last.attempts_made:
        return last.update_due_at  # in its place
    return last.update_due_at and last.update_due_at + interval


def _write_stored(lines: Iterable[_Updates], *, now: datetime) -> None:
    """Update the deliveries that were there before."""
    lines = list(lines)
    if merged_away := [key for updates in lines for key in updates.merged_away]:
        Delivery.objects.filter(pk__in=merged_away).update(
            state=Delivery.State.SKIPPED,
            next_attempt_at=None,
            due_by=None,
            finished_at=now,
            merges_from=Coalesce(F("merges_from"), F("event_id")),
            # A person who redelivers it wants the event itself.
            merged_changes=None,
        )
    if released := [key for updates in lines for key in updates.released]:
        Delivery.objects.filter(pk__in=released).end_interval(now=now)


def _set_changes(carriers: Sequence[_Carrier]) -> None:
    """Compute what each of them sends as `changes`. One query.

    An update in between that the subscription did not get counts too: otherwise the last value might not be that of the
    order.
    """
    if not carriers:
        return
    since: dict[Order, int] = {}
    for carrier in carriers:
        order = _order_of(carrier.delivery.event)
        since[order] = min(carrier.after, since.get(order, carrier.after))
    of_orders = [Q(source=order[0], order_pk=order[1], sequence__gt=after) for order, after in since.items()]
    up_to = max(carrier.delivery.event_id for carrier in carriers)
    events = Event.objects.for_all().filter(reduce(or_, of_orders), topic=UPDATED, sequence__lte=up_to)
    found: dict[Order, list[Event]] = {}
    for event in events.only("source", "order_pk", "changes").order_by("pk"):
        found.setdefault(_order_of(event), []).append(event)
    for carrier in carriers:
        delivery = carrier.delivery
        order = _order_of(delivery.event)
        steps = [event.changes for event in found[order] if carrier.after < event.pk <= delivery.event_id]
        former = [] if carrier.former is None else [carrier.former]
        delivery.merged_changes = net_values.merged([*former, *steps], _row_keys(order[0]))


def _row_keys(source_name: str) -> frozenset[str] | None:
    """The keys of the related rows. None if the source is not in the settings any more, or they are wrong."""
    try:
        source = sources.by_name(source_name)
        return frozenset(related.key for related in source.all_related)
    except Exception:
        # Other subscriptions must get their events all the same.
        logger.exception("updates of an order source merge without its description", source=source_name)
        return None


def _order_of(event: Event) -> Order:
    return event.source, event.order_pk
