"""The operators' pages, one module per record; Django's autodiscovery imports them from here.

A store takes `OrderWebhooksMixin` for the admin of its own orders.
"""

from orderhooks.admin import (
    backfills,
    dashboard,
    deliveries,
    erasures,
    events,
    feed_consumers,
    orders,
    replays,
    subscriptions,
)
from orderhooks.admin.order_webhooks import OrderWebhooksMixin

__all__ = [
    "OrderWebhooksMixin",
    "backfills",
    "dashboard",
    "deliveries",
    "erasures",
    "events",
    "feed_consumers",
    "orders",
    "replays",
    "subscriptions",
]
