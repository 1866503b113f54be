"""The public signals. Workers send them after the commit. An error in a handler is logged, never raised.

Each has an argument with the record that it is about: `event`, `delivery` or `subscription`. `sender` is its class.
"""

from collections.abc import Iterable
from typing import Any

from django.dispatch import Signal

from orderhooks import logs

__all__ = [
    "announce",
    "announce_published",
    "delivery_failed",
    "delivery_succeeded",
    "event_published",
    "subscription_disabled",
    "subscription_recovered",
]

logger = logs.get_logger(__name__)

event_published = Signal()  # event: it was created, with its payload
delivery_succeeded = Signal()  # delivery: the response was 2xx
delivery_failed = Signal()  # delivery: given up, no more automatic attempts
subscription_disabled = Signal()  # subscription: nothing is sent to it until it is resumed
subscription_recovered = Signal()  # subscription: the first success after failures


def announce(signal: Signal, *, sender: type, **record: object) -> None:
    """Send a public signal. Errors of handlers are logged."""
    for handler, result in signal.send_robust(sender=sender, **record):
        if isinstance(result, Exception):
            logger.error("the signal handler %r failed", handler, exc_info=result)


def announce_published(events: Iterable[Any]) -> None:
    """Send `event_published` for those of the events that have a payload."""
    for event in events:
        if event.published_at:
            announce(event_published, sender=type(event), event=event)
