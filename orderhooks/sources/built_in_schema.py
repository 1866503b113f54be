"""The JSON Schema and the example of the built-in order, as `built_in` puts it into events."""

from collections.abc import Iterable
from typing import Any

from orderhooks.sources.values import TIMESTAMP

__all__ = ["EXAMPLE", "schema"]

TEXT = {"type": "string"}
ID = {"type": "integer"}
QUANTITY = {"type": "integer", "minimum": 1}
TIME_OR_NULL = {**TIMESTAMP, "type": ["string", "null"]}
MONEY = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "description": "In `currency`, as a decimal number."}


def whole(**properties: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of an object that requires all of these properties."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def array_of(**properties: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a list of such objects."""
    return {"type": "array", "items": whole(**properties)}


def schema(*, money: Iterable[str], choices: dict[str, list[str]]) -> dict[str, Any]:
    """The schema. `money`: the fields that are amounts. `choices`: the values of each status."""
    return whole(
        id={"type": "string", "pattern": "^ord_[0-9A-Z]{26}$", "description": "Never changes."},
        number={**TEXT, "description": "What people call the order; unique within its store."},
        store=TEXT,
        status={**TEXT, "enum": choices["status"]},
        payment_status={**TEXT, "enum": choices["payment_status"]},
        fulfillment_status={**TEXT, "enum": choices["fulfillment_status"]},
        currency={"type": "string", "pattern": "^[A-Z]{3}$", "description": "A code of ISO 4217."},
        **dict.fromkeys(money, MONEY),
        customer=whole(name=TEXT, email=TEXT, phone=TEXT),
        billing_address={"type": "object"},
        shipping_address={"type": "object"},
        note=TEXT,
        metadata={"type": "object", "description": "The store's own, passed through."},
        is_test={"type": "boolean"},
        placed_at=TIMESTAMP,
        paid_at={**TIME_OR_NULL, "description": "When it was paid in full. Stays after a refund."},
        cancelled_at=TIME_OR_NULL,
        cancel_reason=TEXT,
        created_at=TIMESTAMP,
        updated_at=TIMESTAMP,
        lines=array_of(
            id=ID,
            sku=TEXT,
            name=TEXT,
            quantity=QUANTITY,
            fulfilled_quantity={"type": "integer", "minimum": 0},
            unit_price=MONEY,
        ),
        fulfillments=array_of(
            id=ID,
            carrier=TEXT,
            tracking_number=TEXT,
            tracking_url=TEXT,
            shipped_at=TIME_OR_NULL,
            delivered_at=TIME_OR_NULL,
            lines=array_of(id=ID, line={**ID, "description": "The `id` of a line of the order."}, quantity=QUANTITY),
        ),
        payments=array_of(id=ID, amount=MONEY, method=TEXT, reference=TEXT, received_at=TIMESTAMP),
        refunds=array_of(id=ID, amount=MONEY, method=TEXT, reference=TEXT, reason=TEXT, refunded_at=TIMESTAMP),
    )


EXAMPLE: dict[str, Any] = {
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
    "paid_at": None,
    "cancelled_at": None,
    "cancel_reason": "",
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
    "fulfillments": [
        {
            "id": 1,
            "carrier": "DHL",
            "tracking_number": "00340434161094015902",
            "tracking_url": "https://www.dhl.com/track?id=00340434161094015902",
            "shipped_at": "2026-11-23T09:59:30.000000Z",
            "delivered_at": None,
            "lines": [{"id": 1, "line": 1, "quantity": 1}],
        }
    ],
    "payments": [
        {
            "id": 1,
            "amount": "24.80",
            "method": "card",
            "reference": "ch_3P2",
            "received_at": "2026-11-23T09:59:00.000000Z",
        }
    ],
    "refunds": [
        {
            "id": 1,
            "amount": "4.90",
            "method": "card",
            "reference": "re_7K1",
            "reason": "The parcel was late.",
            "refunded_at": "2026-11-23T10:00:00.000000Z",
        }
    ],
}
