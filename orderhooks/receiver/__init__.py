"""For projects that receive webhooks: `verify` for any framework, `webhook` for Django views.

All that is needed of the sender is the secret. Only DatabaseDeduplicator and DatabaseSequenceGuard need tables of
orderhooks, and so `orderhooks` in INSTALLED_APPS.
"""

from orderhooks.payloads import digest
from orderhooks.receiver.alarms import AlarmedSubscription, ReceivedAlarm, UnknownAlarmShapeError
from orderhooks.receiver.deduplication import CacheDeduplicator, DatabaseDeduplicator, Deduplicator
from orderhooks.receiver.events import (
    Change,
    Customer,
    Fulfillment,
    FulfillmentLine,
    InvalidWebhookError,
    Line,
    Payment,
    ReceivedEvent,
    ReceivedOrder,
    Refund,
    UnknownOrderShapeError,
)
from orderhooks.receiver.responses import abort, disable
from orderhooks.receiver.resuming import ResumeRequest, resume_request
from orderhooks.receiver.staleness import CacheSequenceGuard, DatabaseSequenceGuard, SequenceGuard
from orderhooks.receiver.verification import verify
from orderhooks.receiver.views import webhook

__all__ = [
    "AlarmedSubscription",
    "CacheDeduplicator",
    "CacheSequenceGuard",
    "Change",
    "Customer",
    "DatabaseDeduplicator",
    "DatabaseSequenceGuard",
    "Deduplicator",
    "Fulfillment",
    "FulfillmentLine",
    "InvalidWebhookError",
    "Line",
    "Payment",
    "ReceivedAlarm",
    "ReceivedEvent",
    "ReceivedOrder",
    "Refund",
    "ResumeRequest",
    "SequenceGuard",
    "UnknownAlarmShapeError",
    "UnknownOrderShapeError",
    "abort",
    "digest",
    "disable",
    "resume_request",
    "verify",
    "webhook",
]
