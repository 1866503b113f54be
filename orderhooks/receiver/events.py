"""Events as receivers get them: `verify` makes them of requests whose signature holds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, NamedTuple, TypeVar

__all__ = [
    "Change",
    "Customer",
    "InvalidWebhookError",
    "Line",
    "ReceivedEvent",
    "ReceivedOrder",
    "UnknownOrderShapeError",
]

T = TypeVar("T")


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
    # All that came, with what this class does not know: fields of a later version, or that the store adds.
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, data: Any) -> "ReceivedOrder":
        """From `data["order"]` of an event: a dict as JSON has it. Raises UnknownOrderShapeError."""
        try:
            return cls(**_read(data, ORDER), raw=data)
        except (TypeError, ValueError) as error:
            raise UnknownOrderShapeError(
                f"This order is not shaped like the built-in one ({error}): it comes from an order source of the "
                'store\'s own. Read event.data["order"].'
            ) from error


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
        return ReceivedOrder.of(self.data.get("order"))

    @property
    def changes(self) -> dict[str, Change]:
        """What the transaction changed, by field, as JSON has it: money and times are text. Of lines, all that were and
        all that are. Raises UnknownOrderShapeError.
        """
        try:
            changes = _a(dict, self.data.get("changes"))
            return {name: Change(*_a(list, pair)) for name, pair in changes.items()}
        except TypeError as error:
            raise UnknownOrderShapeError(
                f'These changes are no pairs of old and new ({error}). Read event.data["changes"].'
            ) from error


# Nothing is taken for what it is not: a sum of floats, or a time of no zone, would be found out much later. Errors tell
# no values, as those may be a customer's.


def _a(kind: type[T], value: Any) -> T:
    # Not isinstance, as True is an int too.
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} in place of {kind.__name__}")
    return value


def _money(value: Any) -> Decimal:
    try:
        amount = Decimal(_a(str, value))
    except InvalidOperation:
        raise ValueError("no decimal number") from None
    if not amount.is_finite():
        raise ValueError("no decimal number")
    return amount


def _moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(_a(str, value))
    except ValueError:
        raise ValueError("no time") from None
    if moment.tzinfo is None:
        raise ValueError("a time of no zone")
    return moment


Fields = Mapping[str, Callable[[Any], object]]
_text, _whole, _flag, _mapping = (partial(_a, kind) for kind in (str, int, bool, dict))
CUSTOMER: Fields = dict.fromkeys(("name", "email", "phone"), _text)
LINE: Fields = {"sku": _text, "name": _text, "quantity": _whole, "fulfilled_quantity": _whole, "unit_price": _money}
ORDER: Fields = {
    **dict.fromkeys(("id", "number", "store", "status", "payment_status", "fulfillment_status"), _text),
    **dict.fromkeys(("currency", "note"), _text),
    **dict.fromkeys(("subtotal", "discount", "shipping", "tax", "total"), _money),
    **dict.fromkeys(("billing_address", "shipping_address", "metadata"), _mapping),
    **dict.fromkeys(("placed_at", "created_at", "updated_at"), _moment),
    "is_test": _flag,
    "customer": lambda value: Customer(**_read(value, CUSTOMER)),
    "lines": lambda value: tuple(Line(**_read(line, LINE)) for line in _a(list, value)),
}


def _read(data: Any, fields: Fields) -> dict[str, Any]:
    given, values = _a(dict, data), {}
    for name, read in fields.items():
        if name not in given:
            raise ValueError(f"{name} is missing")
        try:
            values[name] = read(given[name])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from None
    return values
