"""The tasks of `reconciling`, in a process of their own: a shop whose orders are all published, and its comparison."""

import json
import resource
import time
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models import prefetch_related_objects
from django.utils import timezone

from orderhooks import digests, reconciling, sources
from orderhooks.models import Event, Order, OrderLine, Reconciliation

AT_ONCE = 1000
RELATIONS = ("lines", "fulfillments", "payments", "refunds")


def fill_published_orders(orders: int) -> dict[str, float]:
    """That many orders of two lines, each with an event, and their digests. How long the digests took."""
    [source] = sources.configured().values()
    long_ago = timezone.now() - timedelta(days=1)
    there_already = Order.objects.count()
    for start in range(there_already, there_already + orders, AT_ONCE):
        # Not captured: there is no subscription.
        made = Order.objects.bulk_create(Order(number=str(start + one), total="24.80") for one in range(AT_ONCE))
        OrderLine.objects.bulk_create(
            OrderLine(order=order, sku=f"TEA-{one}", name="Green tea", quantity=2, unit_price="9.95")
            for order in made
            for one in range(2)
        )
        there = list(Order.objects.filter(pk__in=[order.pk for order in made]))
        prefetch_related_objects(there, *RELATIONS)
        Event.objects.bulk_create(
            Event(
                topic="order.created",
                source=source.name,
                order_pk=str(order.pk),
                order_number=order.number,
                payload={"order": source.payload(order), "changes": {}},
                occurred_at=long_ago,
                published_at=long_ago,
                routed_at=long_ago,
            )
            for order in there
        )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    began = time.perf_counter()
    while not digests.catch_up(now=timezone.now(), seconds=60):
        pass
    return {"seconds": time.perf_counter() - began}


def reconcile_all() -> dict[str, Any]:
    """Seconds of a whole reconciliation, of a plain loop that reads the same orders, and the memory it took (bytes)."""
    began = time.perf_counter()
    reconciliation = reconciling.begin(since=None)
    while reconciliation.state == Reconciliation.State.RUNNING:
        reconciling.advance(reconciliation, now=timezone.now())
    ours = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    began = time.perf_counter()
    _read_plainly()
    plain = time.perf_counter() - began
    found = {"compared": reconciliation.compared, "differing": reconciliation.differing}
    return {"ours": ours, "plain": plain, "rss": memory, **found}


def _read_plainly() -> None:
    """Read each order with its rows, and write down its content as JSON."""
    [source] = sources.configured().values()
    last = 0
    while orders := list(Order.objects.filter(pk__gt=last).order_by("pk")[: reconciling.AT_ONCE]):
        prefetch_related_objects(orders, *RELATIONS)
        for order in orders:
            json.dumps(source.payload(order))
        last = orders[-1].pk
