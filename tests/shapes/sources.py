"""Order sources of the models of other shapes: one for each."""

from typing import Any

from orderhooks.sources import Lines, OrderSource
from tests.shapes import models


class Shaped(OrderSource):
    watched = ("state",)
    transitions = {"state": {"paid": "order.paid"}}

    def payload(self, order: Any) -> dict[str, Any]:
        return {"pk": str(order.pk), "class": type(order).__name__, "state": order.state}


def describe(model: str, *watched: str, lines: Lines | None = None) -> type[Shaped]:
    values = {"name": model, "model": f"shapes.{model}", "watched": ("state", *watched), "lines": lines}
    return type(model, (Shaped,), {**values, "__module__": __name__})


UuidOrder = describe("UuidOrder")
TextOrder = describe("TextOrder")
CompositeOrder = describe("CompositeOrder", "tenant")
NumberedOrder = describe("NumberedOrder", lines=Lines("shapes.NumberedLine", "order", ("sku",)))
InvoiceOrder = describe("InvoiceOrder", "reference", lines=Lines("shapes.DocumentLine", "document", ("sku",)))
ProxyOrder = describe("ProxyOrder", lines=Lines("shapes.CartLine", "order", ("sku",)))
ManagedOrder = describe("ManagedOrder", "customer")
SortedOrder = describe("SortedOrder", "priority")
DutifulOrder = describe("DutifulOrder")
SerialOrder = describe("SerialOrder", "number")
PricedOrder = describe("PricedOrder", "total")
OddOrder = describe("OddOrder", "secret", "details", "photo", "weight", "due_on", "origin", "heavy")
LongOrder = describe("LongOrder")
ALL = [
    UuidOrder,
    TextOrder,
    CompositeOrder,
    NumberedOrder,
    InvoiceOrder,
    ProxyOrder,
    ManagedOrder,
    SortedOrder,
    DutifulOrder,
    SerialOrder,
    PricedOrder,
    OddOrder,
]
if models.IS_POSTGRES:
    ListOrder = describe("ListOrder", "tags", "prices")
    ALL.append(ListOrder)
PATHS = [f"{__name__}.{source.__name__}" for source in ALL]
