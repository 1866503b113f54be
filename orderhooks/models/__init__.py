"""The records: orders and what belongs to them, events, subscriptions, deliveries, and the pumps that move them."""

from orderhooks.db.primary import read_where_written
from orderhooks.models.access_tokens import AccessToken
from orderhooks.models.attempt_stats import AttemptStats, Dashboard
from orderhooks.models.backfills import Backfill
from orderhooks.models.capture_failures import CaptureFailure
from orderhooks.models.deliveries import Attempt, Delivery
from orderhooks.models.erasures import Erasure
from orderhooks.models.events import Change, Event
from orderhooks.models.feed_consumers import FeedConsumer
from orderhooks.models.fulfillments import Fulfillment, FulfillmentLine
from orderhooks.models.idempotency import IdempotentRequest
from orderhooks.models.metric_totals import MetricTotal
from orderhooks.models.objective_stats import ObjectiveStats
from orderhooks.models.order_digests import OrderDigest
from orderhooks.models.orders import Order, OrderLine
from orderhooks.models.payments import Payment, Refund
from orderhooks.models.pumps import Pump
from orderhooks.models.raised_alarms import RaisedAlarm
from orderhooks.models.receipts import LatestSequence, Receipt
from orderhooks.models.reconciliations import Reconciliation
from orderhooks.models.replays import Replay
from orderhooks.models.retention_progress import RetentionProgress
from orderhooks.models.signing_secrets import SubscriptionSecret
from orderhooks.models.subscriptions import Subscription

__all__ = [
    "AccessToken",
    "Attempt",
    "AttemptStats",
    "Backfill",
    "CaptureFailure",
    "Change",
    "Dashboard",
    "Delivery",
    "Erasure",
    "Event",
    "FeedConsumer",
    "Fulfillment",
    "FulfillmentLine",
    "IdempotentRequest",
    "LatestSequence",
    "MetricTotal",
    "ObjectiveStats",
    "Order",
    "OrderDigest",
    "OrderLine",
    "Payment",
    "Pump",
    "RaisedAlarm",
    "Receipt",
    "Reconciliation",
    "Refund",
    "Replay",
    "RetentionProgress",
    "Subscription",
    "SubscriptionSecret",
]

for model in (
    AccessToken,
    Attempt,
    Backfill,
    CaptureFailure,
    Change,
    Delivery,
    Erasure,
    Event,
    FeedConsumer,
    Fulfillment,
    FulfillmentLine,
    IdempotentRequest,
    MetricTotal,
    ObjectiveStats,
    Order,
    OrderDigest,
    OrderLine,
    Payment,
    Pump,
    RaisedAlarm,
    Reconciliation,
    Refund,
    Replay,
    RetentionProgress,
    Subscription,
    SubscriptionSecret,
    AttemptStats,
):
    read_where_written(model)
