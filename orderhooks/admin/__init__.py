"""The operators' pages, one module per record; Django's autodiscovery imports them from here."""

from orderhooks.admin import dashboard, deliveries, events, orders, replays, subscriptions

__all__ = ["dashboard", "deliveries", "events", "orders", "replays", "subscriptions"]
