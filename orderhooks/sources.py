"""What an order is: which model, which fields are watched, which topic a change means, what receivers are told.

`signal_handlers` connects each source's models, `outbox` asks it to read orders. Outside this module, the admin and the
API, nothing knows the fields of the built-in order.
"""

import functools
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from django.apps import apps
from django.db import models
from django.utils.module_loading import import_string

from orderhooks import conf
from orderhooks.currencies import decimal_text

__all__ = ["BuiltInOrders", "Lines", "OrderSource", "UnknownSourceError", "configured"]


logger = logging.getLogger(__name__)


class UnknownSourceError(LookupError):
    """A source that is not (or no longer) in the setting SOURCES."""


@dataclass(frozen=True, slots=True)
class Lines:
    """The rows that belong to an order: their model, the foreign key to the order, and the fields watched."""

    model: str
    order_field: str
    watched: tuple[str, ...]

    def get_model(self) -> type[models.Model]:
        return apps.get_model(self.model)


class OrderSource:
    """Describes one kind of order; subclass it and name the subclass in ORDERHOOKS["SOURCES"].

    `name` marks the source's events and must not change. `watched` are the model fields whose change is an event.
    `transitions` says which topic a field's new value stands for, beside `order.updated`.
    """

    name: str
    model: str
    watched: tuple[str, ...] = ()
    transitions: Mapping[str, Mapping[str, str]] = {}
    lines: Lines | None = None

    def get_model(self) -> type[models.Model]:
        return apps.get_model(self.model)

    def fetch(self, order_pk: str, *, using: str) -> Any:
        """The order as the database has it now, or None."""
        return self.get_model()._base_manager.using(using).filter(pk=order_pk).first()

    def number(self, order: Any) -> str:
        """What people call the order."""
        return str(order.pk)

    def store(self, order: Any) -> str:
        """The store that it belongs to; blank where there is only one."""
        return ""

    def payload(self, order: Any) -> dict[str, Any]:
        """The `order` object that receivers get: JSON values only. What it raises never reaches the save."""
        raise NotImplementedError(f"{type(self).__name__} needs a method payload(order).")

    def present(self, order: Any, field: str, value: Any) -> Any:
        """How `changes` shows a watched field's value."""
        return value


class BuiltInOrders(OrderSource):
    """The `Order` and `OrderLine` that come with orderhooks."""

    name = "orderhooks"
    model = "orderhooks.Order"
    money = ("subtotal", "discount", "shipping", "tax", "total")
    watched = (
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
                    "sku": line.sku,
                    "name": line.name,
                    "quantity": line.quantity,
                    "fulfilled_quantity": line.fulfilled_quantity,
                    "unit_price": decimal_text(line.unit_price, order.currency),
                }
                for line in order.lines.all()
            ],
        }

    def present(self, order: Any, field: str, value: Any) -> Any:
        if value is not None and (field in self.money or field == "unit_price"):
            return decimal_text(Decimal(value), order.currency)
        return value


def configured() -> dict[str, OrderSource]:
    """The sources of the setting SOURCES, by name."""
    return {source.name: source for source in (import_string(path)() for path in conf.current().sources)}


def by_name(name: str) -> OrderSource:
    """Raises UnknownSourceError."""
    try:
        return configured()[name]
    except KeyError:
        raise UnknownSourceError(
            f'The order source {name!r} is not in ORDERHOOKS["SOURCES"]. Put it back and publish the event again.'
        ) from None


@dataclass(frozen=True, slots=True)
class Role:
    """What a saved instance is to a source: its order, or a line of one."""

    source: OrderSource
    lines: Lines | None = None

    @property
    def watched(self) -> tuple[str, ...]:
        return (*self.lines.watched, self.lines.order_field) if self.lines else self.source.watched

    def order_pk(self, instance: models.Model) -> Any:
        if self.lines is None:
            return instance.pk
        field = instance._meta.get_field(self.lines.order_field)
        return getattr(instance, field.attname)  # type: ignore[union-attr]

    def subject(self, instance: models.Model) -> str:
        return str(instance.pk) if self.lines else ""

    def defaults(self) -> dict[str, Any]:
        """The values of the fields with transitions that a new order has unless told otherwise."""
        names = tuple(self.source.transitions)
        return watched_values(self.source.get_model()(), names)


def role_of(instance: models.Model) -> Role | None:
    """The role of a model instance, also of a proxy or a child model; None if no source watches it."""
    for model, role in _roles(conf.current().sources):
        if isinstance(instance, model):
            return role
    return None


def watched_models() -> list[type[models.Model]]:
    """The models of orders and lines, with their proxies and child models. Empty while SOURCES is wrong."""
    try:
        roots = tuple(model for model, _role in _roles(conf.current().sources))
    except Exception:
        logger.exception("no order is watched: the setting SOURCES is wrong")
        return []
    return [model for model in apps.get_models() if issubclass(model, roots)]


@functools.cache
def _roles(paths: tuple[str, ...]) -> tuple[tuple[type[models.Model], Role], ...]:
    roles = []
    for source in configured().values():
        roles.append((source.get_model(), Role(source)))
        if source.lines:
            roles.append((source.lines.get_model(), Role(source, source.lines)))
    return tuple(roles)


def watched_values(instance: models.Model, names: tuple[str, ...]) -> dict[str, Any]:
    """The named fields of a model instance as JSON values that compare equal when the database would store the same."""
    values = {}
    for name in names:
        field = instance._meta.get_field(name)
        values[name] = as_json(_as_stored(field, getattr(instance, field.attname)))  # type: ignore[union-attr,arg-type]
    return values


def _as_stored(field: "models.Field[Any, Any]", value: Any) -> Any:
    value = field.to_python(value)
    if isinstance(field, models.DecimalField) and isinstance(value, Decimal):
        return value.quantize(Decimal(1).scaleb(-field.decimal_places))
    if isinstance(field, models.JSONField) and value is not None:
        return json.loads(json.dumps(value, cls=field.encoder), cls=field.decoder)  # tuples become lists
    return value


def as_json(value: Any) -> Any:
    """Moments in UTC with `Z`, decimals and whatever else JSON lacks as text; the rest as it is."""
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case None | bool() | int() | float() | str() | dict() | list():
            return value
        case datetime():
            return moment_text(value)
        case date() | time():
            return value.isoformat()
        case _:
            return str(value)


def moment_text(moment: datetime) -> str:
    """ISO 8601 in UTC: `2026-11-23T10:00:00.000000Z`. A moment without a zone is taken for UTC already."""
    return (moment.replace(tzinfo=None) - (moment.utcoffset() or datetime.resolution * 0)).isoformat(
        timespec="microseconds"
    ) + "Z"
