"""Operational events: what operational subscriptions get in place of orders."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orderhooks.db import DatabaseClock
from orderhooks.models import Event, Subscription

__all__ = ["publish"]


def publish(topic: str, data: Mapping[str, Any], *, now: datetime, about: str = "") -> None:
    """Write the event, to be called in the transaction that claims the alarm. Nothing if there is nobody to get it.

    `about`: the public id of the one subscription that it is about. Routing leaves that one out, so that no alarm feeds
    itself. Without `source` and `store` it is none of a store's events.
    """
    if not Subscription.objects.filter(operational=True).exists():
        return
    # Much later than `now`, if e-mails were sent before.
    event = Event(topic=topic, payload=dict(data), occurred_at=now, published_at=DatabaseClock().now())
    event.order_pk = about or event.public_id
    event.save(force_insert=True)
