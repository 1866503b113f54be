"""An order source of a project whose orders are of another app."""

from typing import Any

from orderhooks.sources import OrderSource


class GroupsAsOrders(OrderSource):
    name = "groups"
    model = "auth.Group"
    watched = ("name",)

    def payload(self, order: Any) -> dict[str, Any]:
        return {"number": str(order.pk)}
