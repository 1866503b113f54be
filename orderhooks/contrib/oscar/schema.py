"""The JSON Schema and an example of what receivers get of an order of django-oscar."""

from copy import deepcopy
from typing import Any

from orderhooks.sources import TIMESTAMP, built_in_schema

__all__ = ["order_example", "order_schema"]


def order_schema(*, payment_statuses: list[str], fulfillment_statuses: list[str]) -> dict[str, Any]:
    """The JSON Schema of what receivers get."""
    text, number, money = built_in_schema.TEXT, built_in_schema.ID, built_in_schema.MONEY
    choices = {"status": [], "payment_status": payment_statuses, "fulfillment_status": fulfillment_statuses}
    of_order = built_in_schema.schema(money=("subtotal", "discount", "shipping", "tax", "total"), choices=choices)
    of_line = of_order["properties"]["lines"]["items"]
    of_line["properties"] |= {"upc": text, "status": text, "total": money}
    shipped = built_in_schema.array_of(id=number, line=number, quantity=built_in_schema.QUANTITY)
    own = {
        "shipping_method": text,
        "shipping_code": text,
        "total_excl_tax": money,
        "discounts": built_in_schema.array_of(id=number, category=text, offer=text, voucher_code=text, amount=money),
        "surcharges": built_in_schema.array_of(id=number, name=text, code=text, amount=money),
        "vouchers": built_in_schema.array_of(id=number, code=text),
        "payment_sources": built_in_schema.array_of(
            id=number,
            type=text,
            amount_allocated=money,
            amount_debited=money,
            amount_refunded=money,
            reference=text,
            label=text,
        ),
        "payment_events": built_in_schema.array_of(
            id=number, type=text, amount=money, reference=text, created_at=TIMESTAMP
        ),
        "shipping_events": built_in_schema.array_of(
            id=number, type=text, notes=text, created_at=TIMESTAMP, lines=shipped
        ),
    }
    of_order["properties"] |= {
        "id": {**text, "description": "Never changes."},
        "status": {**text, "description": "A status of the shop's own pipeline."},
        "currency": text,
        "paid_at": {**built_in_schema.TIME_OR_NULL, "description": "The last payment, once it was paid in full."},
        **own,
    }
    of_order["required"] += list(own)
    return of_order


def order_example() -> dict[str, Any]:
    """An example of what receivers get."""
    shown = deepcopy(built_in_schema.EXAMPLE)
    line = {**shown["lines"][0], "upc": "5012345678900", "status": "Being processed", "total": "19.90"}
    at = shown["placed_at"]
    return {
        **shown,
        "id": "17",
        "number": "100017",
        "status": "Pending",
        "is_test": False,
        "lines": [line],
        "shipping_method": "Parcel",
        "shipping_code": "parcel",
        "total_excl_tax": "24.80",
        "discounts": [{"id": 1, "category": "Basket", "offer": "", "voucher_code": "TEATIME", "amount": "1.00"}],
        "surcharges": [{"id": 1, "name": "Gift wrap", "code": "gift", "amount": "1.00"}],
        "vouchers": [{"id": 1, "code": "TEATIME"}],
        "payment_sources": [
            {
                "id": 1,
                "type": "Card",
                "amount_allocated": "24.80",
                "amount_debited": "24.80",
                "amount_refunded": "4.90",
                "reference": "ch_3P2",
                "label": "XXXX-XXXX-XXXX-4242",
            }
        ],
        "payment_events": [{"id": 1, "type": "Paid", "amount": "24.80", "reference": "ch_3P2", "created_at": at}],
        "shipping_events": [
            {
                "id": 1,
                "type": "Shipped",
                "notes": "00340434161094015902",
                "created_at": at,
                "lines": [{"id": 1, "line": 1, "quantity": 1}],
            }
        ],
    }
