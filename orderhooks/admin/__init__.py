"""The operators' pages, one module per record; Django's autodiscovery imports them from here."""

from orderhooks.admin import backfills, dashboard, deliveries, events, orders, replays, subscriptions

__all__ = ["backfills", "dashboard", "deliveries", "events", "orders", "replays", "subscriptions"]
