"""Routing: which subscriptions an event goes to. The pump calls `route`; deliveries come out.

Why an event went to one and not to another is in `reporting.order_report`.
"""

from orderhooks.routing.batches import route

__all__ = ["route"]
