"""How far an order's payment and shipping have come: now, and before the changes of a transaction. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

__all__ = [
    "FULFILLMENT_TOPICS",
    "PAYMENT_TOPICS",
    "Money",
    "Rows",
    "fulfillment_status",
    "payment_status",
    "rows_before",
]

# Rows by their primary key, with the values of their watched fields.
Rows = Mapping[Any, Mapping[str, Any]]
NOTHING = Decimal(0)
# The topics of the statuses, in the order in which an order goes through them.
PAYMENT_TOPICS = {
    "pending": "",
    "authorized": "order.authorized",
    "partially_paid": "order.partially_paid",
    "paid": "order.paid",
    "partially_refunded": "order.partially_refunded",
    "refunded": "order.refunded",
}
FULFILLMENT_TOPICS = {
    "unfulfilled": "",
    "partially_fulfilled": "order.partially_fulfilled",
    "fulfilled": "order.fulfilled",
    "returned": "order.returned",
}


@dataclass(frozen=True, slots=True)
class Money:
    """What was reserved, what arrived, and what went back, in the order's currency."""

    authorized: Decimal = NOTHING
    paid: Decimal = NOTHING
    refunded: Decimal = NOTHING

    @classmethod
    def of_sources(cls, sources: Rows) -> "Money":
        """What the payment sources hold."""
        return cls(*(_sum(sources.values(), f"amount_{name}") for name in ("allocated", "debited", "refunded")))

    @classmethod
    def of_events(cls, events: Rows, kinds: Mapping[Any, str]) -> "Money":
        """What the payment events come to. `kinds`: what each event type means, as a name of this class's fields."""
        of_kind: dict[str, list[Mapping[str, Any]]] = {}
        for event in events.values():
            of_kind.setdefault(kinds.get(event["event_type"], ""), []).append(event)
        return cls(*(_sum(of_kind.get(name, ()), "amount") for name in ("authorized", "paid", "refunded")))

    def or_more(self, other: "Money") -> "Money":
        """The higher of each. A shop may enter the same money as a payment source and as a payment event."""
        return Money(
            max(self.authorized, other.authorized), max(self.paid, other.paid), max(self.refunded, other.refunded)
        )


def payment_status(money: Money, total: Decimal) -> str:
    """The status of an order of that total, as in PAYMENT_TOPICS."""
    if money.refunded > 0:
        return "refunded" if money.refunded >= (money.paid or total) else "partially_refunded"
    if money.paid >= total:
        return "paid"
    if money.paid > 0:
        return "partially_paid"
    return "authorized" if money.authorized >= total else "pending"


def fulfillment_status(lines: Rows, shipped: Counter[Any], returned: Counter[Any]) -> str:
    """The status of an order with these lines, of which these quantities were shipped and returned, by line."""
    wanted = {line: row["quantity"] for line, row in lines.items() if row["quantity"]}
    if wanted and all(returned[line] >= quantity for line, quantity in wanted.items()):
        return "returned"
    if wanted and all(shipped[line] >= quantity for line, quantity in wanted.items()):
        return "fulfilled"
    return "partially_fulfilled" if any(shipped[line] for line in wanted) else "unfulfilled"


def rows_before(after: Rows, change: Sequence[Sequence[Mapping[str, Any]]] = ((), ())) -> Rows:
    """The rows as they were before a transaction, from its `[old rows, new rows]`."""
    old, new = change
    added = {row["id"] for row in new}
    return {**{key: row for key, row in after.items() if key not in added}, **{row["id"]: row for row in old}}


def _sum(rows: Iterable[Mapping[str, Any]], name: str) -> Decimal:
    return sum((Decimal(row[name]) for row in rows), NOTHING)
