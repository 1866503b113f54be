"""Routing: which subscriptions an event goes to. The pump calls `route`; deliveries come out.

Why an event went to one and not to another is in `reporting.order_report`.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from django.db import connections

from orderhooks import matching
from orderhooks.db.locks import brief_transaction
from orderhooks.models import Delivery, Event, Subscription

__all__ = ["route"]

ROUTE_AT_ONCE = 200


def route(*, now: datetime) -> int:
    """Make the deliveries of events that wait for theirs. Returns how many events; may run twice or side by side.

    Raises an error for which `locks.is_lock_timeout` is true if another process keeps a subscription locked.
    """
    if not Event.objects.unrouted().exists():
        return 0
    skip_locked = connections[Event.objects.db].features.has_select_for_update_skip_locked
    # If it is forgotten, the events are routed again; and the claim that comes before each request does wait.
    with brief_transaction(Event.objects.db, durable=False):
        unrouted = Event.objects.unrouted().only("topic", "store", "occurred_at")
        events = list(unrouted.select_for_update(skip_locked=skip_locked)[:ROUTE_AT_ONCE])
        subscriptions = list(Subscription.objects.only("store", "topics", "changed_fields", "filter", "created_at"))
        deliveries = list(_deliveries(events, subscriptions, now=now))
        Delivery.objects.bulk_create(deliveries, batch_size=1000, ignore_conflicts=True)
        Event.objects.filter(pk__in=[event.pk for event in events]).update(routed_at=now)
    return len(events)


def _deliveries(events: Sequence[Event], subscriptions: Sequence[Subscription], *, now: datetime) -> Iterator[Delivery]:
    """Those of all events, and then those for subscriptions that choose by what an event holds."""
    selective: dict[int, list[Subscription]] = {}
    for event in events:
        for subscription in subscriptions:
            if subscription.wants(event.topic, store=event.store, at=event.occurred_at):
                if subscription.is_selective:
                    selective.setdefault(event.pk, []).append(subscription)
                else:
                    yield Delivery(event=event, subscription=subscription, next_attempt_at=now)
    if not selective:
        return
    matcher = matching.Matcher()
    # Their contents are read only now, because most projects need none of them.
    for event in Event.objects.filter(pk__in=selective).only(*matching.FIELDS):
        for subscription in selective[event.pk]:
            verdict = matcher.select(event, subscription)
            if verdict.error:
                yield matching.held(event, subscription, verdict.error, now=now)
            elif verdict.is_wanted:
                yield Delivery(event=event, subscription=subscription, next_attempt_at=now)
