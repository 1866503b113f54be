"""Order sources: one whose payloads fail as a store's own code may, in every way, and that of purchases."""

import os
from typing import Any

from orderhooks.sources import BuiltInOrders, FieldPayload, Lines, OrderSource, Related

MEGABYTES = 20


class ChaosOrders(BuiltInOrders):
    """The order's note says how."""

    def payload(self, order: Any) -> dict[str, Any]:
        payload = super().payload(order)
        match order.note:
            case "unserialisable":
                payload["metadata"] = {"odd": object()}
            case "nan":
                payload["metadata"] = {"odd": float("nan")}
            case "huge":
                payload["note"] = "x" * (MEGABYTES << 20)
            case "deadly":
                os._exit(137)
        return payload


class Purchases(OrderSource):
    name = "purchases"
    model = "chaos.Purchase"
    watched = ("note",)
    transitions = {"payment_status": {"paid": "order.paid"}}
    lines = Lines("chaos.PurchaseItem", "purchase", ("sku",))
    related = (Related("customer", "chaos.Customer", "order.customer", ("name",)),)
    payload_fields = FieldPayload("payment_status", "note", lines=("sku",), customer=("name",), slip=("number",))
