"""Republishing: the payload of an event that could not be published, once its cause has been fixed."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db import transaction

from orderhooks import digests
from orderhooks.models import Event
from orderhooks.outbox.composing import TopicsNotComputedError, computed_topics, presented
from orderhooks.outbox.guarding import describe_error
from orderhooks.outbox.net_changes import NetChange
from orderhooks.outbox.reading import OrderRead, read_order

__all__ = ["republish"]

NO_LONGER_AN_ORDER = "The row is no order any more, says `only` of its source, so there is nothing to publish."


def republish(event: Event, *, now: datetime) -> bool:
    """Build the payload of an event that has none. False if that failed again, or if another process was first."""
    using = event._state.db or Event.objects.db
    try:
        order = read_order(event.source, event.order_pk, using=using)
    except Exception as error:
        order = OrderRead(None, error=describe_error(error))
    if order.snapshot is None:
        Event.objects.filter(pk=event.pk, published_at=None).update(error=order.error or NO_LONGER_AN_ORDER)
        event.refresh_from_db()
        return False
    changes = event.changes
    if event.error.startswith(TopicsNotComputedError.__name__):
        try:
            computed = computed_topics(NetChange((event.topic,), changes), order, using=using)
            changes = presented(changes, order)
        except Exception as error:
            Event.objects.filter(pk=event.pk, published_at=None).update(error=describe_error(error))
            event.refresh_from_db()
            return False
        _add_missing(event, computed, {"order": order.snapshot, "changes": changes}, now=now)
    with transaction.atomic(using=using):
        is_published = event.publish({"order": order.snapshot, "changes": changes}, now=now)
        if is_published:
            digests.record(event)
    return is_published


def _add_missing(event: Event, topics: Iterable[str], payload: dict[str, Any], *, now: datetime) -> None:
    """Make the events of computed topics that a transaction still lacks, beside one of its events."""
    of_transaction = Event.objects.filter(
        source=event.source, order_pk=event.order_pk, occurred_at=event.occurred_at
    ).values_list("topic", flat=True)
    missing = [topic for topic in dict.fromkeys(topics) if topic not in set(of_transaction)]
    Event.objects.bulk_create(
        Event(
            topic=topic,
            source=event.source,
            order_pk=event.order_pk,
            order_number=event.order_number,
            store=event.store,
            payload=payload,
            changes=payload["changes"],
            occurred_at=event.occurred_at,
            published_at=now,
        )
        for topic in missing
    )
