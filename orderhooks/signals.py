"""The public signals. Workers send them after the fact is committed; a handler that raises is logged, never passed on.

Each is sent with the record that it is about: `event`, `delivery` or `subscription`; `sender` is that record's class.
"""

import logging

from django.dispatch import Signal

__all__ = [
    "delivery_failed",
    "delivery_succeeded",
    "event_published",
    "subscription_disabled",
    "subscription_recovered",
]

logger = logging.getLogger(__name__)

event_published = Signal()  # event: written to the outbox with its payload
delivery_succeeded = Signal()  # delivery: the receiver answered 2xx
delivery_failed = Signal()  # delivery: given up, no further attempt by itself
subscription_disabled = Signal()  # subscription: its traffic stops until an operator resumes it
subscription_recovered = Signal()  # subscription: the first success after failures


def announce(signal: Signal, *, sender: type, **record: object) -> None:
    """Send a public signal; what a handler raises goes to the log."""
    for handler, answer in signal.send_robust(sender=sender, **record):
        if isinstance(answer, Exception):
            logger.error("the signal handler %r failed", handler, exc_info=answer)
