"""What publishing has left in the database."""

from typing import Any
from unittest.mock import ANY

from orderhooks.models import Change, Event

# What changes of a pending order that is paid.
PAID = {"payment_status": ["pending", "paid"], "paid_at": [None, ANY]}


def published() -> list[str]:
    """The topics of all events, in the order of their sequence."""
    assert not Change.objects.exists(), "coalescing has left changes behind"
    return list(Event.objects.order_by("sequence").values_list("topic", flat=True))


def payload_of(event: Event) -> dict[str, Any]:
    """The payload of an event that has one."""
    assert event.payload is not None, f"there is no payload: {event.error}"
    return event.payload
