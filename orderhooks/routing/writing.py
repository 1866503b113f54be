"""Writing: the new deliveries of some events, and that these events have theirs."""

from collections.abc import Sequence
from datetime import datetime

from django.db import connections

from orderhooks.models import Delivery, Event
from orderhooks.routing import writing_postgresql

__all__ = ["CREATE_AT_ONCE", "write", "write_portably"]

CREATE_AT_ONCE = 1000


def write(deliveries: Sequence[Delivery], events: Sequence[int], *, now: datetime) -> None:
    """Store new deliveries, but for those that there are already, and that the events with these keys are routed."""
    is_postgresql = connections[Delivery.objects.db].vendor == "postgresql"
    store = writing_postgresql.write if is_postgresql else write_portably
    store(deliveries, events, now=now)


def write_portably(deliveries: Sequence[Delivery], events: Sequence[int], *, now: datetime) -> None:
    """What `write` does, for any database."""
    # One event may have more than a statement can take.
    Delivery.objects.bulk_create(deliveries, batch_size=CREATE_AT_ONCE, ignore_conflicts=True)
    Event.objects.filter(pk__in=events).update(routed_at=now)
