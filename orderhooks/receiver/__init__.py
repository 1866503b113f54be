"""For projects that receive webhooks: `verify` for any framework, `webhook` for Django views, guards for repetitions.

Needs nothing of the sender but the secret; a receiver without the guards of the database needs no table of orderhooks.
"""

from orderhooks.receiver.events import (
    Change,
    Customer,
    InvalidWebhookError,
    Line,
    ReceivedEvent,
    ReceivedOrder,
    UnknownOrderShapeError,
)
from orderhooks.receiver.repetition import CacheReplays, DatabaseReplays, Replays
from orderhooks.receiver.staleness import CacheSequences, DatabaseSequences, Sequences
from orderhooks.receiver.verifying import verify
from orderhooks.receiver.views import webhook

__all__ = [
    "CacheReplays",
    "CacheSequences",
    "Change",
    "Customer",
    "DatabaseReplays",
    "DatabaseSequences",
    "InvalidWebhookError",
    "Line",
    "ReceivedEvent",
    "ReceivedOrder",
    "Replays",
    "Sequences",
    "UnknownOrderShapeError",
    "verify",
    "webhook",
]
