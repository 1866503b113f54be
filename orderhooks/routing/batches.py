"""Batches of new events: each is routed in one transaction, as far as the time allows."""

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from orderhooks import matching, merging, tracing
from orderhooks.compiled_queries import CompiledQuery
from orderhooks.db.locks import brief_transaction, locked_if_free
from orderhooks.models import Delivery, Event, Subscription
from orderhooks.routing.writing import CREATE_AT_ONCE, write

__all__ = ["route"]

ROUTE_AT_ONCE = 200
# A worker has deliveries to send as well. And the database ends a transaction that is silent for long.
ROUTE_SECONDS = 1.0
# Their contents may be large.
READ_AT_ONCE = 25
# What it needs of an event, if no subscription chooses by contents.
ROUTED_BY = ("public_id", "topic", "store", "occurred_at", "source", "order_pk", "traceparent")
# What says which events a subscription gets, and when.
CHOSEN_BY = (*matching.CHOICES, "ordered", "update_interval_seconds", "objective_seconds")

UNROUTED = CompiledQuery(lambda: Event.objects.unrouted())
# Those that no other process is routing.
NEXT = CompiledQuery(lambda: locked_if_free(Event.objects.unrouted().only(*ROUTED_BY))[:ROUTE_AT_ONCE])
SUBSCRIPTIONS = CompiledQuery(lambda: Subscription.objects.only(*CHOSEN_BY))


def route(*, now: datetime, are_expected: bool = False) -> int:
    """Make the deliveries of events that wait for theirs. Returns how many events; may run twice or side by side.

    Where they `are_expected`, because somebody said so, it is not asked first whether there are any.

    Raises an error for which `locks.is_lock_timeout` is true if another process keeps a subscription locked.
    """
    using = Event.objects.db
    if not are_expected and not UNROUTED.exists(using=using):
        return 0
    until = time.monotonic() + ROUTE_SECONDS
    count = 0
    # If it is forgotten, the events are routed again; and the claim that comes before each request does wait.
    with brief_transaction(using, durable=False):
        events = NEXT.all(using=using)
        subscriptions = SUBSCRIPTIONS.all(using=using)
        timed = {one.pk for one in subscriptions if one.update_interval_seconds}
        if timed:
            held_back = merging.held_back(events, subscriptions)
            events = [event for event in events if event.pk not in held_back]
        matcher = matching.Matcher()
        routed: list[int] = []
        deliveries: list[Delivery] = []
        # Those of them to subscriptions with an interval.
        mergeable: list[Delivery] = []
        for event in _with_contents(events, subscriptions):
            made = _route(event, subscriptions, matcher, now=now)
            if timed:
                mergeable += [one for one in made if one.subscription_id in timed]
            deliveries += made
            routed.append(event.pk)
            count += 1
            if len(deliveries) >= CREATE_AT_ONCE:
                _write(deliveries, mergeable, routed, now=now)
                deliveries, mergeable, routed = [], [], []
            if time.monotonic() > until:
                break
        if routed:
            _write(deliveries, mergeable, routed, now=now)
    return count


def _route(
    event: Event, subscriptions: Iterable[Subscription], matcher: matching.Matcher, *, now: datetime
) -> list[Delivery]:
    if not event.traceparent:
        return list(_deliveries_of(event, subscriptions, matcher, now=now))
    about = {"orderhooks.event": event.public_id, "orderhooks.topic": event.topic}
    with tracing.span("orderhooks route", parent=event.traceparent, attributes=about) as span:
        deliveries = list(_deliveries_of(event, subscriptions, matcher, now=now))
        span.set({"orderhooks.deliveries": len(deliveries)})
    return deliveries


def _with_contents(events: Sequence[Event], subscriptions: Iterable[Subscription]) -> Iterator[Event]:
    """The events, with what they hold if a subscription chooses by it."""
    if not any(subscription.is_selective for subscription in subscriptions):
        yield from events
        return
    for start in range(0, len(events), READ_AT_ONCE):
        keys = [event.pk for event in events[start : start + READ_AT_ONCE]]
        yield from Event.objects.filter(pk__in=keys).only(*matching.FIELDS, *ROUTED_BY).order_by("sequence")


def _deliveries_of(
    event: Event, subscriptions: Iterable[Subscription], matcher: matching.Matcher, *, now: datetime
) -> Iterator[Delivery]:
    for subscription in subscriptions:
        if not subscription.wants(event.topic, store=event.store, at=event.occurred_at):
            continue
        if subscription.is_subject_of(event):
            continue
        # Most choose by nothing else, and there may be a thousand of them.
        verdict = matcher.select(event, subscription) if subscription.is_selective else matching.WANTED
        if verdict.mismatch is None:
            due_by = subscription.due_by(event.occurred_at)
            yield matching.new_delivery(
                verdict, event=event, subscription=subscription, next_attempt_at=now, due_by=due_by
            )


def _write(
    deliveries: Sequence[Delivery], mergeable: Sequence[Delivery], routed: Sequence[int], *, now: datetime
) -> None:
    if mergeable:
        merging.merge(mergeable, now=now)
    write(deliveries, routed, now=now)
