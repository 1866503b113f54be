"""An order source whose payloads fail in every way that a store's own code may; the order's note says how."""

import os
from typing import Any

from orderhooks.sources import BuiltInOrders

MEGABYTES = 20
DEADLY = "deadly"


class ChaosOrders(BuiltInOrders):
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
