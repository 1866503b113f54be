"""Order sources of the models of other shapes: one for each."""

from collections.abc import Iterable, Mapping
from typing import Any

from orderhooks.sources import Lines, OrderSource, Related
from tests.shapes import models


class Shaped(OrderSource):
    watched: tuple[str, ...] = ("state",)
    transitions = {"state": {"paid": "order.paid"}}

    def payload(self, order: Any) -> dict[str, Any]:
        return {"pk": str(order.pk), "class": type(order).__name__, "state": order.state}


def describe(model: str, *watched: str, lines: Lines | None = None) -> type[Shaped]:
    values = {"name": model, "model": f"shapes.{model}", "watched": ("state", *watched), "lines": lines}
    return type(model, (Shaped,), {**values, "__module__": __name__})


UuidOrder = describe("UuidOrder")
TextOrder = describe("TextOrder")
CompositeOrder = describe("CompositeOrder", "tenant", lines=Lines("shapes.CompositeLine", "order", ("sku",)))
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


class Purchase(Shaped):
    """Everything that a source can say of related rows."""

    name = "Purchase"
    model = "shapes.Purchase"
    watched = ("state", "total")
    related = (
        Related("lines", "shapes.PurchaseLine", "order", ("sku",)),
        Related("payments", "shapes.Payment", "order", ("amount",), topics={"created": "order.payment"}),
        Related(
            "parcels",
            "shapes.Parcel",
            "line__order",
            ("tracking",),
            topics={"created": "parcel.made", "updated": "parcel.changed", "deleted": "parcel.gone"},
        ),
        Related("billing", "shapes.Address", "order.billing", ("city",)),
        Related("delivery", "shapes.Address", "order.delivery", ("city",)),
    )
    computed_topics = ("order.covered",)

    def compute_topics(self, order: Any, changes: Mapping[str, list[Any]]) -> Iterable[str]:
        if "payments" in changes and sum(payment.amount for payment in order.payments.all()) >= order.total:
            yield "order.covered"

    def payload(self, order: Any) -> dict[str, Any]:
        return {
            **super().payload(order),
            "paid": [str(payment.amount) for payment in order.payments.all()],
            "city": order.delivery and order.delivery.city,
        }

    def present(self, order: Any, field: str, value: Any) -> Any:
        return f"{value} EUR" if field == "payments.amount" else value


class TriggeredPurchase(Purchase):
    """The same, with changes captured by PostgreSQL."""

    capture = "triggers"


TOPICS = {
    "order.payment": "A payment was recorded.",
    "order.covered": "The payments reached the total.",
    "parcel.made": "A parcel was packed.",
    "parcel.changed": "A parcel changed.",
    "parcel.gone": "A parcel was taken back.",
}
ALL: list[type[Shaped]] = [
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
    Purchase,
]
if models.IS_POSTGRES:
    ListOrder = describe("ListOrder", "tags", "prices", "matrix", "pair", "ticks", "details", "times")
    RangeOrder = describe("RangeOrder", "slot", "days", "sizes", "prices")
    ALL += [ListOrder, RangeOrder]
TRIGGERED_PATHS = [f"{__name__}.{'TriggeredPurchase' if source is Purchase else source.__name__}" for source in ALL]
PATHS = [f"{__name__}.{source.__name__}" for source in ALL]
