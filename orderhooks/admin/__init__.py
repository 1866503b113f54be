"""The operators' pages, one module per record; Django's autodiscovery imports them from here."""

from orderhooks.admin import deliveries, events, orders, subscriptions

__all__ = ["deliveries", "events", "orders", "subscriptions"]
