"""Events as receivers get them. `verify` returns one for a request whose signature is valid."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from orderhooks.formats import FormText
from orderhooks.receiver.alarms import ReceivedAlarm
from orderhooks.receiver.values import (
    Fields,
    a_bool,
    a_dict,
    a_str,
    a_time,
    a_time_or_none,
    an_int,
    money,
    read_fields,
    read_rows,
    typed,
)

__all__ = [
    "Change",
    "Customer",
    "Fulfillment",
    "FulfillmentLine",
    "InvalidWebhookError",
    "Line",
    "Payment",
    "ReceivedEvent",
    "ReceivedOrder",
    "Refund",
    "UnknownOrderShapeError",
]


class InvalidWebhookError(Exception):
    """The request is not a valid webhook. The text says what is wrong and what to do, and never holds the secret."""


class UnknownOrderShapeError(ValueError):
    """The order lacks a built-in field, or has one of another type. It comes from an order source of the store."""


class Change(NamedTuple):
    """A field's value before the transaction and after it."""

    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Customer:
    """Who ordered. A text that the store does not have is empty."""

    name: str
    email: str
    phone: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an order. Its `id` never changes; `unit_price` is in the order's currency."""

    id: int
    sku: str
    name: str
    quantity: int
    fulfilled_quantity: int
    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class FulfillmentLine:
    """How many pieces of an order's line are in a fulfillment. `line` is the `id` of that line."""

    id: int
    line: int
    quantity: int


@dataclass(frozen=True, slots=True)
class Fulfillment:
    """A shipment of an order or of a part of it. Its `id` never changes. Times are None until they are known."""

    id: int
    carrier: str
    tracking_number: str
    tracking_url: str
    shipped_at: datetime | None
    delivered_at: datetime | None
    lines: tuple[FulfillmentLine, ...]


@dataclass(frozen=True, slots=True)
class Payment:
    """Money that arrived. Its `id` never changes; `amount` is in the order's currency."""

    id: int
    amount: Decimal
    method: str
    reference: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Refund:
    """Money that went back to the customer. Its `id` never changes; `amount` is in the order's currency."""

    id: int
    amount: Decimal
    method: str
    reference: str
    reason: str
    refunded_at: datetime


@dataclass(frozen=True, slots=True)
class ReceivedOrder:
    """The order as the transaction committed it. Amounts are in `currency` (ISO 4217), times are in UTC.

    `paid_at` and `cancelled_at` are None unless the order was paid in full, or is cancelled.
    """

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
    paid_at: datetime | None
    cancelled_at: datetime | None
    cancel_reason: str
    created_at: datetime
    updated_at: datetime
    lines: tuple[Line, ...]
    fulfillments: tuple[Fulfillment, ...]
    payments: tuple[Payment, ...]
    refunds: tuple[Refund, ...]
    # The whole order as it came, with fields of a later version and fields that the store adds.
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def from_data(cls, data: Any) -> "ReceivedOrder":
        """The order in `event.data["order"]`, a dict of JSON values.

        Raises UnknownOrderShapeError if a built-in field is missing or has another type.
        """
        try:
            return cls(**read_fields(data, ORDER), raw=data)
        except (TypeError, ValueError) as error:
            raise UnknownOrderShapeError(
                f"This order does not have the built-in fields and types ({error}): it comes from an order source of "
                'the store. Read event.data["order"] instead.'
            ) from error


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event whose signature is valid.

    `source` is the name of the order source that describes the order: a store may have several kinds of orders, and
    their ids may be equal. It is blank for `webhook.test` and for alarms. `sequence` grows with each change of an
    order: of two events of one order, the newer has the higher one. `attempt` counts how often the sender has tried,
    from 1.

    `deprecated_at` and `sunset_at` say since when the `api_version` is deprecated, and when it ends; None if the sender
    has set no date. They and `attempt` are not signed, so use them only for logs.
    """

    id: str
    topic: str
    occurred_at: datetime
    sequence: int
    source: str
    store: str
    api_version: str
    data: dict[str, Any]
    attempt: int
    deprecated_at: datetime | None = None
    sunset_at: datetime | None = None

    @property
    def order(self) -> ReceivedOrder:
        """The order with types. Raises UnknownOrderShapeError if a built-in field is missing or has another type."""
        return ReceivedOrder.from_data(self.data.get("order"))

    @property
    def alarm(self) -> ReceivedAlarm:
        """The alarm of an operational event with types. Raises UnknownAlarmShapeError if the event is none."""
        return ReceivedAlarm.from_data(self.data)

    @property
    def changes(self) -> dict[str, Change]:
        """What the transaction changed, by the field's name. Values are JSON values: money and times are text. For
        `lines`, `fulfillments`, `fulfillment_lines`, `payments` and `refunds` they are the changed rows, before and
        after.

        Raises UnknownOrderShapeError if the changes are not pairs of old and new.
        """
        try:
            changes = typed(dict, self.data.get("changes"))
            return {
                name: Change(*(_as_json(name, value, CHANGED) for value in typed(list, pair)))
                for name, pair in changes.items()
            }
        except TypeError as error:
            raise UnknownOrderShapeError(
                f'These changes are not pairs of old and new ({error}). Read event.data["changes"] instead.'
            ) from error


CUSTOMER: Fields = dict.fromkeys(("name", "email", "phone"), a_str)
LINE: Fields = {
    "id": an_int,
    "sku": a_str,
    "name": a_str,
    "quantity": an_int,
    "fulfilled_quantity": an_int,
    "unit_price": money,
}
FULFILLMENT_LINE: Fields = dict.fromkeys(("id", "line", "quantity"), an_int)
FULFILLMENT: Fields = {
    "id": an_int,
    **dict.fromkeys(("carrier", "tracking_number", "tracking_url"), a_str),
    **dict.fromkeys(("shipped_at", "delivered_at"), a_time_or_none),
    "lines": lambda value: read_rows(FulfillmentLine, value, FULFILLMENT_LINE),
}
PAYMENT: Fields = {
    "id": an_int,
    "amount": money,
    **dict.fromkeys(("method", "reference"), a_str),
    "received_at": a_time,
}
REFUND: Fields = {
    "id": an_int,
    "amount": money,
    **dict.fromkeys(("method", "reference", "reason"), a_str),
    "refunded_at": a_time,
}
ORDER: Fields = {
    **dict.fromkeys(("id", "number", "store", "status", "payment_status", "fulfillment_status"), a_str),
    **dict.fromkeys(("currency", "note", "cancel_reason"), a_str),
    **dict.fromkeys(("subtotal", "discount", "shipping", "tax", "total"), money),
    **dict.fromkeys(("billing_address", "shipping_address", "metadata"), a_dict),
    **dict.fromkeys(("placed_at", "created_at", "updated_at"), a_time),
    **dict.fromkeys(("paid_at", "cancelled_at"), a_time_or_none),
    "is_test": a_bool,
    "customer": lambda value: Customer(**read_fields(value, CUSTOMER)),
    "lines": lambda value: read_rows(Line, value, LINE),
    "fulfillments": lambda value: read_rows(Fulfillment, value, FULFILLMENT),
    "payments": lambda value: read_rows(Payment, value, PAYMENT),
    "refunds": lambda value: read_rows(Refund, value, REFUND),
}


CHANGED: Fields = {**ORDER, "fulfillment_lines": a_str}
# The rows of a list among the changes, and of one inside such a row.
ROWS: Mapping[str, Fields] = {
    "lines": LINE,
    "fulfillments": FULFILLMENT,
    "fulfillment_lines": FULFILLMENT_LINE,
    "payments": PAYMENT,
    "refunds": REFUND,
}


def _as_json(name: str, value: Any, fields: Fields) -> Any:
    """A changed value as JSON has it. Only one that came in a form is another; of an unknown field that is a text."""
    is_list = name in ROWS and name in fields
    if is_list and type(value) is FormText and not value:
        return []
    if is_list and isinstance(value, list):
        inner = FULFILLMENT_LINE if fields is FULFILLMENT else ROWS[name]
        return [_row_as_json(row, inner) for row in value]
    if type(value) is not FormText:
        return value
    read = fields.get(name)
    if read is a_time_or_none and not value:
        return None
    try:
        return read(value) if read in (an_int, a_bool, a_dict) and read is not None else str(value)
    except TypeError:
        return str(value)


def _row_as_json(row: Any, fields: Fields) -> Any:
    return {name: _as_json(name, value, fields) for name, value in row.items()} if isinstance(row, dict) else row
