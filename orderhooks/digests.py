"""Digests: keep, for each order, the digest of what was last published of it.

# Note [Digests]
Nothing is written for a digest when an event is published: saves and deliveries would pay for it. The digests are
brought up to date before they are needed: for a reconciliation, for the API's list of them, and before events are
pruned, which would delete what they are made of.
"""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connections
from django.utils import timezone

from orderhooks import payloads, sources
from orderhooks.db.locks import brief_transaction, one_at_a_time
from orderhooks.models import Event, OrderDigest
from orderhooks.models.events import IDENTIFIER_LENGTH

__all__ = ["catch_up", "digest_of", "mark_deleted", "published_order"]

AT_ONCE = 500
# One may have some megabytes.
PAYLOADS_AT_ONCE = 20
DELETED = "order.deleted"


def catch_up(*, now: datetime, seconds: float) -> bool:
    """Bring the digests up to date, for at most about `seconds`. Returns whether they are.

    Events of the last ten seconds are left out: see `EventQuerySet.feed`. Raises an error for which `is_lock_timeout`
    is true if another process is at it and takes long.
    """
    until = time.monotonic() + seconds
    while _catch_up_with_batch(now=now):
        if time.monotonic() > until:
            return False
    return True


def digest_of(event: Event) -> str:
    """The digest of the order in a published event; blank if the event is its deletion."""
    if event.topic == DELETED:
        return ""
    return payloads.digest(published_order(event), without=_left_out(event.source))


def published_order(event: Event) -> dict[str, Any]:
    """The order in a published event, as receivers got it."""
    payload: dict[str, Any] = event.payload or {}
    order = payload.get("order")
    return order if isinstance(order, dict) else {}


def mark_deleted(source_name: str, order_pk: str) -> None:
    """Show an order as deleted of which no event is left to publish that with."""
    OrderDigest.objects.filter(source=source_name, order_pk=order_pk).update(digest="", published_at=timezone.now())


def _catch_up_with_batch(*, now: datetime) -> bool:
    using = OrderDigest.objects.db
    if not _new_events(at_most=1, now=now):
        return False
    # A slower process must not put back an older digest.
    with brief_transaction(using, durable=False), one_at_a_time(using, "digests"):
        events = _new_events(at_most=AT_ONCE, now=now)
        _write(events, using=using)
    return len(events) == AT_ONCE


def _new_events(*, at_most: int, now: datetime) -> list[Event]:
    # It shows no order.
    events = Event.objects.for_all().exclude(topic=payloads.REDACTED).defer("payload", "changes", "error")
    return events.feed(after=OrderDigest.objects.reached(), at_most=at_most, now=now)


def _write(events: Sequence[Event], *, using: str) -> None:
    latest = list({(event.source, event.order_pk): event for event in events}.values())
    rows: list[OrderDigest] = []
    for start in range(0, len(latest), PAYLOADS_AT_ONCE):
        keys = [event.pk for event in latest[start : start + PAYLOADS_AT_ONCE]]
        rows += [_row(event) for event in Event.objects.filter(pk__in=keys).defer("changes").order_by("pk")]
    # MySQL and MariaDB take any unique key.
    names_key = connections[using].features.supports_update_conflicts_with_target
    OrderDigest.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["source", "order_pk"] if names_key else None,
        update_fields=["order_id", "order_number", "store", "sequence", "published_at", "digest"],
    )


def _row(event: Event) -> OrderDigest:
    return OrderDigest(
        source=event.source,
        order_pk=event.order_pk,
        order_id=str(published_order(event).get("id", ""))[:IDENTIFIER_LENGTH],
        order_number=event.order_number,
        store=event.store,
        sequence=event.sequence,
        published_at=event.published_at or event.occurred_at,
        digest=digest_of(event),
    )


def _left_out(source_name: str) -> tuple[str, ...]:
    try:
        return sources.by_name(source_name).not_in_digest
    except (sources.UnknownSourceError, ImportError):
        return ()  # it was removed from the settings
