"""What receivers get of an order of django-oscar: the fields of a built-in order, and beside them Oscar's own rows.

The receivers of built-in orders, `ReceivedEvent.order` too, work with it as it is.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

from orderhooks.contrib.oscar.rows import OrderRows, beside, held
from orderhooks.currencies import decimal_text
from orderhooks.sources import as_json, related_row

__all__ = ["MONEY", "order_payload"]

NOTHING = Decimal(0)
# Amounts as `present` names them.
MONEY = frozenset(
    {
        *("total_incl_tax", "total_excl_tax", "shipping_incl_tax", "shipping_excl_tax"),
        *("lines.unit_price_incl_tax", "lines.line_price_incl_tax", "lines.line_price_excl_tax"),
        *("lines.line_price_before_discounts_incl_tax", "lines.line_price_before_discounts_excl_tax"),
        *("discounts.amount", "surcharges.incl_tax", "surcharges.excl_tax"),
        *("payment_sources.amount_allocated", "payment_sources.amount_debited", "payment_sources.amount_refunded"),
        *("transactions.amount", "payment_events.amount"),
    }
)


def order_payload(order: Any, rows: OrderRows, *, payment_status: str, fulfillment_status: str) -> dict[str, Any]:
    """The `order` object of the events."""
    text = partial(decimal_text, currency=order.currency)
    shipped = [one for one in rows.shipping_events if rows.shipping_kinds.get(one.event_type_id) == "shipped"]
    before_discounts = _sum(line.line_price_before_discounts_excl_tax for line in rows.lines)
    payments, refunds = _payments(rows, text), _refunds(rows, text)
    shipping, billing = related_row(order, "shipping_address"), related_row(order, "billing_address")
    changed = [_time(row) for row in (*rows.transactions, *rows.payment_events, *rows.shipping_events)]
    return {
        "id": str(order.pk),
        "number": order.number,
        "store": "",
        "status": order.status,
        "payment_status": payment_status,
        "fulfillment_status": fulfillment_status,
        "currency": order.currency,
        "subtotal": text(before_discounts),
        "discount": text(before_discounts - _sum(line.line_price_excl_tax for line in rows.lines)),
        "shipping": text(order.shipping_excl_tax),
        "tax": text(order.total_incl_tax - order.total_excl_tax),
        "total": text(order.total_incl_tax),
        "customer": _customer(order, shipping, billing),
        "billing_address": _address(billing),
        "shipping_address": _address(shipping),
        "note": getattr(shipping, "notes", "") or "",
        "metadata": {},
        "is_test": False,
        "placed_at": as_json(order.date_placed),
        "paid_at": max((one["received_at"] for one in payments), default=None) if _is_paid(payment_status) else None,
        "cancelled_at": None,
        "cancel_reason": "",
        "created_at": as_json(order.date_placed),
        "updated_at": as_json(max([order.date_placed, *changed])),
        "lines": _lines(rows, {event.pk for event in shipped}, text),
        "fulfillments": [_fulfillment(event, rows) for event in shipped],
        "payments": payments,
        "refunds": refunds,
        "shipping_method": order.shipping_method,
        "shipping_code": order.shipping_code,
        "total_excl_tax": text(order.total_excl_tax),
        **_own_rows(order, rows, text),
    }


def _own_rows(order: Any, rows: OrderRows, text: Any) -> dict[str, Any]:
    """Oscar's rows in Oscar's words, also those whose types mean nothing to orderhooks."""
    return {
        "discounts": [
            {
                "id": one.pk,
                "category": one.category,
                "offer": one.offer_name,
                "voucher_code": one.voucher_code,
                "amount": text(one.amount),
            }
            for one in held(order, "discounts")
        ],
        "surcharges": [
            {"id": one.pk, "name": one.name, "code": one.code, "amount": text(one.incl_tax)}
            for one in held(order, "surcharges")
        ],
        "vouchers": [
            {"id": one.pk, "code": related_row(one, "voucher").code}
            for one in beside(order, "voucher.VoucherApplication", "order")
        ],
        "payment_sources": [
            {
                "id": one.pk,
                "type": rows.type_name("payment.SourceType", one.source_type_id),
                "amount_allocated": text(one.amount_allocated),
                "amount_debited": text(one.amount_debited),
                "amount_refunded": text(one.amount_refunded),
                "reference": one.reference,
                "label": one.label,
            }
            for one in rows.sources
        ],
        "payment_events": [
            {
                "id": one.pk,
                "type": rows.type_name("order.PaymentEventType", one.event_type_id),
                "amount": text(one.amount),
                "reference": one.reference,
                "created_at": as_json(one.date_created),
            }
            for one in rows.payment_events
        ],
        "shipping_events": [
            {
                "id": one.pk,
                "type": rows.type_name("order.ShippingEventType", one.event_type_id),
                "notes": one.notes or "",
                "created_at": as_json(one.date_created),
                "lines": _lines_of(one, rows),
            }
            for one in rows.shipping_events
        ],
    }


def _lines(rows: OrderRows, shipped: set[Any], text: Any) -> list[dict[str, Any]]:
    quantities: Counter[Any] = Counter()
    for row in rows.shipped_lines:
        if row.event_id in shipped:
            quantities[row.line_id] += row.quantity
    return [
        {
            "id": line.pk,
            "sku": line.partner_sku,
            "name": line.title,
            "quantity": line.quantity,
            "fulfilled_quantity": quantities[line.pk],
            "unit_price": text(_unit_price(line)),
            "upc": line.upc or "",
            "status": line.status,
            "total": text(line.line_price_incl_tax),
        }
        for line in rows.lines
    ]


def _unit_price(line: Any) -> Decimal:
    if line.unit_price_incl_tax is not None:
        return Decimal(line.unit_price_incl_tax)
    return Decimal(round(line.line_price_before_discounts_incl_tax / max(line.quantity, 1), 2))


def _fulfillment(event: Any, rows: OrderRows) -> dict[str, Any]:
    return {
        "id": event.pk,
        "carrier": "",
        "tracking_number": event.notes or "",
        "tracking_url": "",
        "shipped_at": as_json(event.date_created),
        "delivered_at": None,
        "lines": _lines_of(event, rows),
    }


def _lines_of(event: Any, rows: OrderRows) -> list[dict[str, Any]]:
    return [
        {"id": row.pk, "line": row.line_id, "quantity": row.quantity}
        for row in rows.shipped_lines
        if row.event_id == event.pk
    ]


def _payments(rows: OrderRows, text: Any) -> list[dict[str, Any]]:
    """What arrived: by payment source, or, where they hold more, by payment event."""
    events = rows.events_of("paid")
    if _sum(one.amount for one in events) > _sum(one.amount_debited for one in rows.sources):
        return [{**_of_event(event, rows, text), "received_at": as_json(event.date_created)} for event in events]
    return [
        {
            **_of_source(source, source.amount_debited, rows, text),
            "received_at": as_json(_last_time(rows, source, "Debit")),
        }
        for source in rows.sources
        if source.amount_debited
    ]


def _refunds(rows: OrderRows, text: Any) -> list[dict[str, Any]]:
    """What went back: by payment source, or, where they hold more, by payment event."""
    events = rows.events_of("refunded")
    if _sum(one.amount for one in events) > _sum(one.amount_refunded for one in rows.sources):
        return [
            {**_of_event(event, rows, text), "reason": "", "refunded_at": as_json(event.date_created)}
            for event in events
        ]
    return [
        {
            **_of_source(source, source.amount_refunded, rows, text),
            "reason": "",
            "refunded_at": as_json(_last_time(rows, source, "Refund")),
        }
        for source in rows.sources
        if source.amount_refunded
    ]


def _of_event(event: Any, rows: OrderRows, text: Any) -> dict[str, Any]:
    method = rows.type_name("order.PaymentEventType", event.event_type_id)
    return {"id": event.pk, "amount": text(event.amount), "method": method, "reference": event.reference}


def _of_source(source: Any, amount: Decimal, rows: OrderRows, text: Any) -> dict[str, Any]:
    method = rows.type_name("payment.SourceType", source.source_type_id)
    return {"id": source.pk, "amount": text(amount), "method": method, "reference": source.reference}


def _last_time(rows: OrderRows, source: Any, kind: str) -> datetime:
    """When a source was last debited or refunded; the order's date if no transaction says so."""
    times = [_time(one) for one in rows.transactions if one.source_id == source.pk and one.txn_type == kind]
    at: datetime = max(times, default=source.order.date_placed)
    return at


def _customer(order: Any, shipping: Any, billing: Any) -> dict[str, str]:
    user = related_row(order, "user")
    names = [_name(shipping), _name(billing), user.get_full_name() if user else ""]
    return {
        "name": next((name for name in names if name), ""),
        "email": (user.email if user else order.guest_email) or "",
        "phone": str(getattr(shipping, "phone_number", "") or ""),
    }


def _name(address: Any) -> str:
    parts = (address.first_name, address.last_name) if address else ()
    return " ".join(part for part in parts if part)


def _address(address: Any) -> dict[str, str]:
    if address is None:
        return {}
    names = ("title", "first_name", "last_name", "line1", "line2", "line3", "state", "postcode")
    return {
        **{name: getattr(address, name) or "" for name in names},
        # Oscar keeps the city in `line4`.
        "city": address.line4 or "",
        "country": address.country_id,
        "phone": str(getattr(address, "phone_number", "") or ""),
    }


def _time(row: Any) -> datetime:
    at: datetime = row.date_created
    return at


def _is_paid(payment_status: str) -> bool:
    return payment_status in ("paid", "partially_refunded", "refunded")


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, NOTHING)
