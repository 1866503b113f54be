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

from orderhooks import payloads, sources
from orderhooks.db.locks import one_at_a_time
from orderhooks.models import Event, OrderDigest

__all__ = ["catch_up", "digest_of", "published_order"]

AT_ONCE = 500
DELETED = "order.deleted"


def catch_up(*, now: datetime, seconds: float) -> bool:
    """Bring the digests up to date, for at most about `seconds`. Returns whether they are.

    Events of the last ten seconds are left out: see `EventQuerySet.feed`.
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
    order: dict[str, Any] = payload.get("order") or {}
    return order


def _catch_up_with_batch(*, now: datetime) -> bool:
    using = OrderDigest.objects.db
    # A slower process must not put back an older digest.
    with one_at_a_time(using, "digests"):
        events = Event.objects.for_all().feed(after=OrderDigest.objects.reached(), at_most=AT_ONCE, now=now)
        _write(events, using=using)
    return len(events) == AT_ONCE


def _write(events: Sequence[Event], *, using: str) -> None:
    latest = {(event.source, event.order_pk): event for event in events}
    rows = [
        OrderDigest(
            source=event.source,
            order_pk=event.order_pk,
            order_number=event.order_number,
            store=event.store,
            sequence=event.sequence,
            published_at=event.published_at or event.occurred_at,
            digest=digest_of(event),
        )
        for event in latest.values()
    ]
    # MySQL and MariaDB take any unique key.
    names_key = connections[using].features.supports_update_conflicts_with_target
    OrderDigest.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["source", "order_pk"] if names_key else None,
        update_fields=["order_number", "store", "sequence", "published_at", "digest"],
    )


def _left_out(source_name: str) -> tuple[str, ...]:
    try:
        return sources.by_name(source_name).not_in_digest
    except (sources.UnknownSourceError, ImportError):
        return ()  # it was removed from the settings
