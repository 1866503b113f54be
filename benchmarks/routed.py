"""The tasks of `choosing`, in a process of their own."""

import time
from datetime import timedelta
from itertools import cycle

from django.db import connection
from django.utils import timezone

from orderhooks import catalogue, routing
from orderhooks.models import Delivery, Event, Subscription


def route_events(count: int, filters: list[str]) -> dict[str, float]:
    """Route that many events of one order to all subscriptions, whose filters are set to these in turn."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE orderhooks_delivery, orderhooks_attempt")
    texts = cycle(filters or [""])
    subscriptions = list(Subscription.objects.order_by("pk"))
    for subscription in subscriptions:
        subscription.filter = next(texts)
    Subscription.objects.bulk_update(subscriptions, ["filter"])
    data = catalogue.entry("order.paid").example["data"]
    now = timezone.now()
    Event.objects.bulk_create(
        Event(
            topic="order.paid",
            source="orderhooks",
            order_pk=str(number),
            payload=data,
            changes=data["changes"],
            occurred_at=now + timedelta(seconds=1),
            published_at=now,
        )
        for number in range(count)
    )
    began = time.perf_counter()
    while routing.route(now=timezone.now()):
        pass
    return {"seconds": time.perf_counter() - began, "deliveries": Delivery.objects.count()}


def project(subscriptions: list[int], projection: str) -> None:
    Subscription.objects.filter(pk__in=subscriptions).update(projection=projection)
