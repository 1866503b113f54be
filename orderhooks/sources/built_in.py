"""The order source for the `Order` and `OrderLine` that come with orderhooks."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from orderhooks.currencies import decimal_text
from orderhooks.sources import reading
from orderhooks.sources.order_source import OrderSource
from orderhooks.sources.related import Lines
from orderhooks.sources.values import TIMESTAMP, as_json

TEXT = {"type": "string"}
MONEY = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "description": "In `currency`, as a decimal number."}


def whole(**properties: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of an object that requires all of these properties."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _lines_of(order: Any) -> Iterable[Any]:
    """The lines as they were committed if the order holds them, and otherwise as the database has them now."""
    held = getattr(order, "_prefetched_objects_cache", {}).get("lines")
    if held is not None:
        return sorted(held, key=lambda line: line.pk)

    def make(lines: Any) -> Any:
        return lines.filter(order=order.pk).order_by("pk")

    return reading.rows(order.lines.model, "lines", using=order._state.db, make=make, last=order.pk)


class BuiltInOrders(OrderSource):
    """Describes the built-in orders: see `models.orders`."""

    name = "orderhooks"
    model = "orderhooks.Order"
    money: tuple[str, ...] = ("subtotal", "discount", "shipping", "tax", "total")
    watched: tuple[str, ...] = (
        "number",
        "store",
        "status",
        "payment_status",
        "fulfillment_status",
        "currency",
        *money,
        "customer_name",
        "customer_email",
        "customer_phone",
        "billing_address",
        "shipping_address",
        "note",
        "metadata",
        "is_test",
        "placed_at",
    )
    transitions = {
        "status": {
            "open": "order.reopened",
            "cancelled": "order.cancelled",
            "closed": "order.closed",
        },
        "payment_status": {
            "authorized": "order.authorized",
            "partially_paid": "order.partially_paid",
            "paid": "order.paid",
            "partially_refunded": "order.partially_refunded",
            "refunded": "order.refunded",
            "voided": "order.voided",
        },
        "fulfillment_status": {
            "partially_fulfilled": "order.partially_fulfilled",
            "fulfilled": "order.fulfilled",
            "returned": "order.returned",
        },
    }
    lines = Lines(
        model="orderhooks.OrderLine",
        order_field="order",
        watched=("sku", "name", "quantity", "fulfilled_quantity", "unit_price"),
    )

    def find(self, number: str, *, store: str, using: str) -> Any:
        orders = self.get_model()._base_manager.using(using).filter(number=number)
        # Several stores may each have an order of that number: the newest one.
        return (orders.filter(store=store) if store else orders).order_by("-pk").first()

    def number(self, order: Any) -> str:
        return str(order.number)

    def store(self, order: Any) -> str:
        return str(order.store)

    def payload(self, order: Any) -> dict[str, Any]:
        return {
            "id": order.public_id,
            "number": order.number,
            "store": order.store,
            "status": order.status,
            "payment_status": order.payment_status,
            "fulfillment_status": order.fulfillment_status,
            "currency": order.currency,
            **{field: decimal_text(getattr(order, field), order.currency) for field in self.money},
            "customer": {
                "name": order.customer_name,
                "email": order.customer_email,
                "phone": order.customer_phone,
            },
            "billing_address": order.billing_address,
            "shipping_address": order.shipping_address,
            "note": order.note,
            "metadata": order.metadata,
            "is_test": order.is_test,
            "placed_at": as_json(order.placed_at),
            "created_at": as_json(order.created_at),
            "updated_at": as_json(order.updated_at),
            "lines": [
                {
                    "id": line.pk,
                    "sku": line.sku,
                    "name": line.name,
                    "quantity": line.quantity,
                    "fulfilled_quantity": line.fulfilled_quantity,
                    "unit_price": decimal_text(line.unit_price, order.currency),
                }
                for line in _lines_of(order)
            ],
        }

    def schema(self) -> dict[str, Any]:
        return whole(
            id={"type": "string", "pattern": "^ord_[0-9A-Z]{26}$", "description": "Never changes."},
            number={**TEXT, "description": "What people call the order; unique within its store."},
            store=TEXT,
            status=self._choice("status"),
            payment_status=self._choice("payment_status"),
            fulfillment_status=self._choice("fulfillment_status"),
            currency={"type": "string", "pattern": "^[A-Z]{3}$", "description": "A code of ISO 4217."},
            **dict.fromkeys(self.money, MONEY),
            customer=whole(name=TEXT, email=TEXT, phone=TEXT),
            billing_address={"type": "object"},
            shipping_address={"type": "object"},
            note=TEXT,
            metadata={"type": "object", "description": "The store's own, passed through."},
            is_test={"type": "boolean"},
            placed_at=TIMESTAMP,
            created_at=TIMESTAMP,
            updated_at=TIMESTAMP,
            lines={
                "type": "array",
                "items": whole(
                    id={"type": "integer"},
                    sku=TEXT,
                    name=TEXT,
                    quantity={"type": "integer", "minimum": 1},
                    fulfilled_quantity={"type": "integer", "minimum": 0},
                    unit_price=MONEY,
                ),
            },
        )

    def _choice(self, field: str) -> dict[str, Any]:
        choices = self.get_model()._meta.get_field(field).choices or ()  # type: ignore[union-attr]
        return {"type": "string", "enum": [value for value, _label in choices]}

    def example(self) -> dict[str, Any]:
        return {
            "id": "ord_01KAR58K00W5QZ4N3XJ7T2M9CE",
            "number": "1001",
            "store": "",
            "status": "open",
            "payment_status": "pending",
            "fulfillment_status": "unfulfilled",
            "currency": "EUR",
            "subtotal": "19.90",
            "discount": "0.00",
            "shipping": "4.90",
            "tax": "0.00",
            "total": "24.80",
            "customer": {"name": "Ada Byron", "email": "ada@example.com", "phone": ""},
            "billing_address": {},
            "shipping_address": {"city": "London"},
            "note": "",
            "metadata": {},
            "is_test": True,
            "placed_at": "2026-11-23T09:58:30.000000Z",
            "created_at": "2026-11-23T09:58:30.000000Z",
            "updated_at": "2026-11-23T10:00:00.000000Z",
            "lines": [
                {
                    "id": 1,
                    "sku": "TEA-1",
                    "name": "Green tea",
                    "quantity": 2,
                    "fulfilled_quantity": 0,
                    "unit_price": "9.95",
                }
            ],
        }

    def present(self, order: Any, field: str, value: Any) -> Any:
        if value is not None and (field in self.money or field == "lines.unit_price"):
            return decimal_text(Decimal(value), order.currency)
        return value
