"""Republishing: the payload of an event that could not be published, once its cause has been fixed."""

from collections.abc import Iterable

from django.db import transaction

from orderhooks.models import Event
from orderhooks.outbox.composing import TopicsNotComputedError, computed_topics, presented
from orderhooks.outbox.guarding import describe_error
from orderhooks.outbox.net_changes import NetChange
from orderhooks.outbox.reading import OrderRead, read_order

__all__ = ["republish"]

NO_LONGER_AN_ORDER = "The row is no order any more, says `only` of its source, so there is nothing to publish."


def republish(event: Event) -> list[Event]:
    """Build the payload of an event that has none. Returns what it published: the event, and those of computed topics
    that its transaction still lacks; nothing if that failed again, or if another process was first.
    """
    using = event._state.db or Event.objects.db
    try:
        order = read_order(event.source, event.order_pk, using=using)
    except Exception as error:
        order = OrderRead(None, error=describe_error(error))
    if order.snapshot is None:
        return _failed(event, order.error or NO_LONGER_AN_ORDER, using=using)
    changes, computed = event.changes, list[str]()
    if event.error.startswith(TopicsNotComputedError.__name__):
        try:
            computed = computed_topics(NetChange((event.topic,), changes), order, using=using)
            changes = presented(changes, order)
        except Exception as error:
            return _failed(event, describe_error(error), using=using)
    payload = {"order": order.snapshot, "changes": changes}
    with transaction.atomic(using=using):
        missing = _missing(event, computed, using=using)
        if not event.publish(payload, number=order.number, store=order.store):
            return []
        added = [
            Event(
                topic=topic,
                source=event.source,
                order_pk=event.order_pk,
                order_number=event.order_number,
                store=event.store,
                payload=payload,
                changes=changes,
                occurred_at=event.occurred_at,
                published_at=event.published_at,
            )
            for topic in missing
        ]
        Event.objects.using(using).bulk_create(added)
    return [event, *added]


def _failed(event: Event, error: str, *, using: str) -> list[Event]:
    Event.objects.using(using).filter(pk=event.pk, published_at=None).update(error=error)
    event.refresh_from_db()
    return []


def _missing(event: Event, topics: Iterable[str], *, using: str) -> list[str]:
    """Those of the topics that the event's transaction has no event of. Its events are locked, so that they are made
    once, whichever of them are published again at the same time.
    """
    if not topics:
        return []
    of_transaction = Event.objects.using(using).filter(
        source=event.source, order_pk=event.order_pk, occurred_at=event.occurred_at
    )
    list(of_transaction.select_for_update().order_by("sequence").values_list("pk"))
    # Asked again: another process may have made some while this one waited.
    there = set(of_transaction.values_list("topic", flat=True))
    return [topic for topic in dict.fromkeys(topics) if topic not in there]
