"""Events as receivers get them: `verify` makes them of requests whose signature holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

__all__ = [
    "Change",
    "Customer",
    "InvalidWebhookError",
    "Line",
    "ReceivedEvent",
    "ReceivedOrder",
    "UnknownOrderShapeError",
]


class InvalidWebhookError(Exception):
    """A request that is no webhook of ours; the text says what is wrong and what to do, and never holds the secret."""


class UnknownOrderShapeError(ValueError):
    """An order that is not shaped like the built-in one: it comes from an order source of the store's own."""


class Change(NamedTuple):
    """What a field was before the transaction, and what it is since."""

    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Customer:
    name: str
    email: str
    phone: str


@dataclass(frozen=True, slots=True)
class Line:
    """One article of an order. The price is in the order's currency."""

    sku: str
    name: str
    quantity: int
    fulfilled_quantity: int
    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class ReceivedOrder:
    """The order as the transaction committed it. Money is in `currency`, times are in UTC."""

    id: str
    number: str
    store: str
    status: str
    payment_status: str
    fulfillment_status: str
    currency: str
    subtotal: Decimal
    discount: Decimal
    shipping: Decimal
    tax: Decimal
    total: Decimal
    customer: Customer
    billing_address: Mapping[str, Any]
    shipping_address: Mapping[str, Any]
    note: str
    metadata: Mapping[str, Any]
    is_test: bool
    placed_at: datetime
    created_at: datetime
    updated_at: datetime
    lines: tuple[Line, ...]

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "ReceivedOrder":
        """From `data["order"]` of an event; fields that a later version adds are passed over.

        Raises UnknownOrderShapeError.
        """
        try:
            customer, lines = data["customer"], data["lines"]
            fields: dict[str, Any] = {name: data[name] for name in AS_THEY_ARE}
            fields |= {name: Decimal(data[name]) for name in MONEY}
            fields |= {name: datetime.fromisoformat(data[name]) for name in MOMENTS}
            fields["customer"] = Customer(customer["name"], customer["email"], customer["phone"])
            fields["lines"] = tuple(_line(line) for line in lines)
            return cls(**fields)
        except (LookupError, TypeError, ValueError, InvalidOperation) as error:
            raise UnknownOrderShapeError(
                f"This order is not shaped like the built-in one ({type(error).__name__}: {error}): it comes from an "
                'order source of the store\'s own. Read event.data["order"].'
            ) from error


MONEY = ("subtotal", "discount", "shipping", "tax", "total")
MOMENTS = ("placed_at", "created_at", "updated_at")
AS_THEY_ARE = tuple(
    name for name in ReceivedOrder.__dataclass_fields__ if name not in {*MONEY, *MOMENTS, "customer", "lines"}
)


def _line(data: Mapping[str, Any]) -> Line:
    rest = {name: data[name] for name in ("sku", "name", "quantity", "fulfilled_quantity")}
    return Line(**rest, unit_price=Decimal(data["unit_price"]))


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event whose signature holds. All of it was signed except `attempt`, which serves logs alone."""

    id: str
    topic: str
    occurred_at: datetime
    sequence: int
    store: str
    api_version: str
    data: dict[str, Any]
    attempt: int

    @property
    def order(self) -> ReceivedOrder:
        """The order, typed. Raises UnknownOrderShapeError for one that is not shaped like the built-in one."""
        return ReceivedOrder.of(self.data.get("order") or {})

    @property
    def changes(self) -> dict[str, Change]:
        """What the transaction changed, by field; of lines, all that were and all that are."""
        return {field: Change(*pair) for field, pair in (self.data.get("changes") or {}).items()}
