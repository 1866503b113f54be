"""The order source for the `Order` that comes with orderhooks, and for what belongs to it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from decimal import Decimal
from typing import Any

from django.apps import apps
from django.db import models

from orderhooks.currencies import decimal_text
from orderhooks.sources import built_in_schema, reading
from orderhooks.sources.order_source import OrderSource
from orderhooks.sources.related import Lines, Related
from orderhooks.sources.values import as_json

# As `present` names them.
MONEY_OF_ROWS = ("lines.unit_price", "payments.amount", "refunds.amount")


def _rows_of(order: Any, relation: str) -> list[Any]:
    """The rows as they were committed if the order holds them, and otherwise as the database has them now."""
    held = getattr(order, "_prefetched_objects_cache", {}).get(relation)
    if held is not None:
        return sorted(held, key=lambda row: row.pk)
    if not getattr(order, f"has_{relation}", True):
        return []
    return _read_rows(order, getattr(order, relation).model, "order")


def _read_rows(order: Any, model: Any, path: str) -> list[Any]:
    """The rows that lead to the order by this path, as the database has them now."""

    def make(rows: Any) -> Any:
        return rows.filter(**{path: order.pk}).order_by("pk")

    return reading.rows(model, path, using=order._state.db, make=make, last=order.pk)


def _fulfillment_lines_of(order: Any) -> list[Any]:
    return _read_rows(order, apps.get_model("orderhooks.FulfillmentLine"), "fulfillment__order")


def _exists(related: Related) -> models.Exists:
    return models.Exists(related.get_model()._base_manager.filter(**{related.order_field: models.OuterRef("pk")}))


def _ids(changes: Mapping[str, list[Any]], key: str) -> list[set[int]]:
    """The ids of the changed rows before and after."""
    pair: Sequence[Any] = changes.get(key, ([], []))
    return [{row["id"] for row in rows} for rows in pair]


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
        "paid_at",
        "cancelled_at",
        "cancel_reason",
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
    related = (
        Related(
            "fulfillments",
            model="orderhooks.Fulfillment",
            path="order",
            watched=("carrier", "tracking_number", "tracking_url", "shipped_at", "delivered_at"),
            topics={"created": "order.fulfillment_created"},
        ),
        Related(
            "fulfillment_lines",
            model="orderhooks.FulfillmentLine",
            path="fulfillment__order",
            watched=("line", "quantity"),
        ),
        Related(
            "payments",
            model="orderhooks.Payment",
            path="order",
            watched=("amount", "method", "reference", "received_at"),
            topics={"created": "order.payment_created"},
        ),
        Related(
            "refunds",
            model="orderhooks.Refund",
            path="order",
            watched=("amount", "method", "reference", "reason", "refunded_at"),
            topics={"created": "order.refund_created"},
        ),
    )
    computed_topics = ("order.fulfillment_updated",)
    dated_by = "placed_at"
    store_field = "store"
    not_in_digest = ("updated_at",)
    personal: tuple[str, ...] = (
        "customer",
        "customer_name",
        "customer_email",
        "customer_phone",
        "billing_address",
        "shipping_address",
        "note",
        "cancel_reason",
        "refunds.*.reason",
    )

    def _with_hints(self, rows: "models.QuerySet[Any]") -> "models.QuerySet[Any]":
        # Most orders are saved before they have any of these.
        hints = {f"has_{one.key}": _exists(one) for one in self.related if one.relation}
        annotated: models.QuerySet[Any] = rows.annotate(**hints)
        return annotated

    def find(self, number: str, *, store: str, using: str) -> Any:
        orders = self.get_model()._base_manager.using(using).filter(number=number)
        # Several stores may each have an order of that number: the newest one.
        return (orders.filter(store=store) if store else orders).order_by("-pk").first()

    def number(self, order: Any) -> str:
        return str(order.number)

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
            "paid_at": as_json(order.paid_at),
            "cancelled_at": as_json(order.cancelled_at),
            "cancel_reason": order.cancel_reason,
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
                for line in _rows_of(order, "lines")
            ],
            "fulfillments": self._fulfillments(order),
            "payments": [
                {
                    "id": payment.pk,
                    "amount": decimal_text(payment.amount, order.currency),
                    "method": payment.method,
                    "reference": payment.reference,
                    "received_at": as_json(payment.received_at),
                }
                for payment in _rows_of(order, "payments")
            ],
            "refunds": [
                {
                    "id": refund.pk,
                    "amount": decimal_text(refund.amount, order.currency),
                    "method": refund.method,
                    "reference": refund.reference,
                    "reason": refund.reason,
                    "refunded_at": as_json(refund.refunded_at),
                }
                for refund in _rows_of(order, "refunds")
            ],
        }

    @staticmethod
    def _fulfillments(order: Any) -> list[dict[str, Any]]:
        fulfillments = _rows_of(order, "fulfillments")
        lines: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for row in _fulfillment_lines_of(order) if fulfillments else ():
            lines[row.fulfillment_id].append({"id": row.pk, "line": row.line_id, "quantity": row.quantity})
        return [
            {
                "id": fulfillment.pk,
                "carrier": fulfillment.carrier,
                "tracking_number": fulfillment.tracking_number,
                "tracking_url": fulfillment.tracking_url,
                "shipped_at": as_json(fulfillment.shipped_at),
                "delivered_at": as_json(fulfillment.delivered_at),
                "lines": lines[fulfillment.pk],
            }
            for fulfillment in fulfillments
        ]

    def compute_topics(self, order: Any, changes: Mapping[str, list[Any]]) -> Iterable[str]:
        """`order.fulfillment_updated` if a fulfillment that was there before, and still is, or its lines changed."""
        old, new = _ids(changes, "fulfillments")
        old_lines, new_lines = _ids(changes, "fulfillment_lines")
        if created := new - old:
            # The lines that came with a new fulfillment are no update of it.
            owners = {row.pk: row.fulfillment_id for row in _fulfillment_lines_of(order)} if new_lines else {}
            new_lines = {line for line in new_lines if line in owners and owners[line] not in created}
        # The lines that went with a deleted fulfillment are no update either.
        removed_lines = set() if old - new else old_lines - new_lines
        if old & new or new_lines or removed_lines:
            yield "order.fulfillment_updated"

    def schema(self) -> dict[str, Any]:
        fields: Any = self.get_model()._meta
        statuses = ("status", "payment_status", "fulfillment_status")
        choices = {name: [value for value, _label in fields.get_field(name).choices] for name in statuses}
        return built_in_schema.schema(money=self.money, choices=choices)

    def example(self) -> dict[str, Any]:
        return deepcopy(built_in_schema.EXAMPLE)

    def present(self, order: Any, field: str, value: Any) -> Any:
        if value is not None and field in (*self.money, *MONEY_OF_ROWS):
            return decimal_text(Decimal(value), order.currency)
        return value
