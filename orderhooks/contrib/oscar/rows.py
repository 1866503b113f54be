"""The rows of an order of django-oscar, and what the types of its events mean to orderhooks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.apps import apps

from orderhooks.sources import plain, related_rows

__all__ = ["OrderRows", "beside", "held"]


@dataclass(frozen=True, slots=True)
class OrderRows:
    """The rows of an order, each list oldest first, and what the types of its events mean."""

    lines: list[Any]
    sources: list[Any]
    transactions: list[Any]
    payment_events: list[Any]
    shipping_events: list[Any]
    shipped_lines: list[Any]
    # By the primary key of the event type.
    payment_kinds: Mapping[Any, str]
    shipping_kinds: Mapping[Any, str]
    type_names: Mapping[tuple[str, Any], str]

    @classmethod
    def read(cls, order: Any, payment: Mapping[str, str], shipping: Mapping[str, str]) -> "OrderRows":
        """The rows as the order holds them, otherwise from its database. `payment`, `shipping`: kinds by code."""
        using = order._state.db
        types = {
            model: list(plain(apps.get_model(model), using).all())
            for model in ("order.PaymentEventType", "order.ShippingEventType", "payment.SourceType")
        }

        return cls(
            lines=held(order, "lines"),
            sources=held(order, "sources"),
            transactions=beside(order, "payment.Transaction", "source__order"),
            payment_events=held(order, "payment_events"),
            shipping_events=held(order, "shipping_events"),
            shipped_lines=beside(order, "order.ShippingEventQuantity", "event__order"),
            payment_kinds={one.pk: payment.get(one.code, "") for one in types["order.PaymentEventType"]},
            shipping_kinds={one.pk: shipping.get(one.code, "") for one in types["order.ShippingEventType"]},
            type_names={(model, one.pk): one.name for model, found in types.items() for one in found},
        )

    def type_name(self, model: str, pk: Any) -> str:
        """The name of an event type or of a source type."""
        return self.type_names.get((model, pk), "")

    def events_of(self, kind: str) -> list[Any]:
        """The payment events of a kind: `paid` or `refunded`."""
        return [event for event in self.payment_events if self.payment_kinds.get(event.event_type_id) == kind]


def held(order: Any, relation: str) -> list[Any]:
    """The rows as they were committed if the order holds them, and otherwise as the database has them now."""
    return sorted(related_rows(order, relation), key=lambda row: row.pk)


def beside(order: Any, model: str, path: str) -> list[Any]:
    """The rows of that model whose path leads to the order, as the database has them now."""
    return list(plain(apps.get_model(model), order._state.db).filter(**{path: order}).order_by("pk"))
