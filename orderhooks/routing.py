"""Routing: which subscriptions an event goes to. The pump calls it; deliveries come out."""

from datetime import datetime

from django.db import connections

from orderhooks.models import Delivery, Event, Subscription
from orderhooks.models.locks import brief_transaction

ROUTE_AT_ONCE = 200


def route(*, now: datetime) -> int:
    """Make the deliveries of events that wait for theirs. Returns how many events; may run twice or side by side.

    Raises an error that `locks.is_lock_timeout` knows if somebody keeps a subscription locked.
    """
    if not Event.objects.unrouted().exists():
        return 0
    skip_locked = connections[Event.objects.db].features.has_select_for_update_skip_locked
    with brief_transaction(Event.objects.db):
        events = list(Event.objects.unrouted().select_for_update(skip_locked=skip_locked)[:ROUTE_AT_ONCE])
        subscriptions = list(Subscription.objects.only("store", "topics", "created_at"))
        deliveries = [
            Delivery(event=event, subscription=subscription, next_attempt_at=now)
            for event in events
            for subscription in subscriptions
            if subscription.wants(event.topic, store=event.store, at=event.occurred_at)
        ]
        Delivery.objects.bulk_create(deliveries, batch_size=1000, ignore_conflicts=True)
        Event.objects.filter(pk__in=[event.pk for event in events]).update(routed_at=now)
    return len(events)
