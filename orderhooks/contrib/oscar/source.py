"""The order source for orders of django-oscar, and of shops that have forked its apps."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.apps import apps

from orderhooks.contrib.oscar import statuses
from orderhooks.contrib.oscar.payload import MONEY, order_payload
from orderhooks.contrib.oscar.progress import (
    FULFILLMENT_TOPICS,
    PAYMENT_TOPICS,
    Money,
    Rows,
    fulfillment_status,
    payment_status,
    rows_before,
)
from orderhooks.contrib.oscar.rows import OrderRows
from orderhooks.contrib.oscar.schema import order_example, order_schema
from orderhooks.currencies import decimal_text
from orderhooks.sources import Lines, OrderSource, Related, as_json, watched_values

__all__ = ["OscarOrders"]

ADDRESS = ("title", "first_name", "last_name", "line1", "line2", "line3", "line4", "state", "postcode", "country")
# The keys of `changes` that payments and shipments go by.
COUNTED = frozenset(
    {"total_incl_tax", "lines", "payment_sources", "payment_events", "shipping_events", "shipping_event_lines"}
)
NO_CHANGE: Sequence[Sequence[Mapping[str, Any]]] = ((), ())


@dataclass(frozen=True, slots=True)
class _State:
    """What an order's rows come to, at one time."""

    money: Money
    payment: str
    fulfillment: str


class OscarOrders(OrderSource):
    """Describes the orders of django-oscar. Subclass it to say more about your shop:

        class ShopOrders(OscarOrders):
            status_topics = {**OscarOrders.status_topics, "storniert": "order.cancelled"}
            payment_event_types = {**OscarOrders.payment_event_types, "bank-transfer": "paid"}
            shipping_event_types = {**OscarOrders.shipping_event_types, "handed-over": "shipped"}

    `status_topics`: the topics of statuses, by the status in lower case. Every other status to which the pipeline leads
    has a topic of its own: `order.status_being_processed`, and of a line `order.line_status_shipped`.
    `payment_event_types`: what an event type means by its code: "authorized", "paid" or "refunded".
    `shipping_event_types`: what an event type means by its code: "shipped" or "returned".
    """

    name = "oscar"
    model = "order.Order"
    status_topics: Mapping[str, str] = statuses.BUILT_IN
    payment_event_types: Mapping[str, str] = {
        **dict.fromkeys(("authorise", "authorised", "authorize", "authorized", "pre-auth"), "authorized"),
        **dict.fromkeys(("paid", "payment", "debit", "debited", "settle", "settled", "capture", "captured"), "paid"),
        **dict.fromkeys(("charge", "charged", "purchase", "received"), "paid"),
        **dict.fromkeys(("refund", "refunded"), "refunded"),
    }
    shipping_event_types: Mapping[str, str] = {
        **dict.fromkeys(("shipped", "dispatched", "despatched", "sent", "fulfilled"), "shipped"),
        **dict.fromkeys(("return", "returned"), "returned"),
    }
    money: tuple[str, ...] = ("total_incl_tax", "total_excl_tax", "shipping_incl_tax", "shipping_excl_tax")
    watched = ("number", "status", "currency", *money, "shipping_method", "shipping_code", "user", "guest_email")
    lines = Lines(
        "order.Line",
        "order",
        (
            "partner_sku",
            "upc",
            "title",
            "quantity",
            "status",
            *("unit_price_incl_tax", "line_price_incl_tax", "line_price_excl_tax"),
            *("line_price_before_discounts_incl_tax", "line_price_before_discounts_excl_tax"),
        ),
    )
    related = (
        Related(
            "shipping_address", "order.ShippingAddress", "order.shipping_address", (*ADDRESS, "phone_number", "notes")
        ),
        Related("billing_address", "order.BillingAddress", "order.billing_address", ADDRESS),
        Related("discounts", "order.OrderDiscount", "order", ("category", "offer_name", "voucher_code", "amount")),
        Related("surcharges", "order.Surcharge", "order", ("name", "code", "incl_tax", "excl_tax")),
        Related("vouchers", "voucher.VoucherApplication", "order", ("voucher",)),
        Related(
            "payment_sources",
            "payment.Source",
            "order",
            ("source_type", "amount_allocated", "amount_debited", "amount_refunded", "reference", "label"),
            topics={"created": "order.payment_source_created"},
        ),
        Related("transactions", "payment.Transaction", "source__order", ("txn_type", "amount", "reference", "status")),
        Related(
            "payment_events",
            "order.PaymentEvent",
            "order",
            ("event_type", "amount", "reference"),
            topics={"created": "order.payment_event_created"},
        ),
        Related("payment_event_lines", "order.PaymentEventQuantity", "event__order", ("line", "quantity")),
        Related(
            "shipping_events",
            "order.ShippingEvent",
            "order",
            ("event_type", "notes"),
            topics={"created": "order.shipping_event_created"},
        ),
        Related("shipping_event_lines", "order.ShippingEventQuantity", "event__order", ("line", "quantity")),
    )
    dated_by = "date_placed"

    def __init__(self) -> None:
        # Oscar reads the pipelines from the settings into the models, where a shop may have its own.
        of_order = self._statuses_of(self.model)
        of_lines = self._statuses_of("order.Line")
        named = {
            status: self.status_topics.get(status.lower()) or statuses.topic_of(status, "order.status_")
            for status in of_order
        }
        self.transitions = {"status": named}
        self._line_topics = {status: statuses.topic_of(status, "order.line_status_") for status in of_lines}
        self.computed_topics = (
            *(topic for topic in (*PAYMENT_TOPICS.values(), *FULFILLMENT_TOPICS.values()) if topic),
            *("order.payment_created", "order.refund_created", "order.fulfillment_created"),
            *dict.fromkeys(self._line_topics.values()),
        )
        own = {
            topic: f"The order's status became “{status}”."
            for status, topic in named.items()
            if topic.startswith("order.status_")
        }
        self.topics = {
            **own,
            **{topic: f"The status of a line became “{status}”." for status, topic in self._line_topics.items()},
            "order.payment_source_created": "A way of paying was added to an order: a card, an account, a gift card.",
            "order.payment_event_created": "A payment event of any type was entered.",
            "order.shipping_event_created": "A shipping event of any type was entered.",
        }

    @staticmethod
    def _statuses_of(model: str) -> list[str]:
        pipeline: Mapping[str, Iterable[str]] = getattr(apps.get_model(model), "pipeline", None) or {}
        return statuses.statuses_reached(pipeline)

    def number(self, order: Any) -> str:
        return str(order.number)

    def find(self, number: str, *, store: str, using: str) -> Any:
        return self.newest(using=using).filter(number=number).first() if store in ("", self.store(None)) else None

    def payload(self, order: Any) -> dict[str, Any]:
        rows = self._rows(order)
        state = self._state(order, rows)
        shown = order_payload(order, rows, payment_status=state.payment, fulfillment_status=state.fulfillment)
        if self.transitions["status"].get(order.status) == "order.cancelled":
            changes = order.status_changes.using(order._state.db).filter(new_status=order.status)
            shown["cancelled_at"] = as_json(changes.order_by("-pk").values_list("date_created", flat=True).first())
        return shown

    def schema(self) -> dict[str, Any]:
        return order_schema(payment_statuses=list(PAYMENT_TOPICS), fulfillment_statuses=list(FULFILLMENT_TOPICS))

    def example(self) -> dict[str, Any]:
        return order_example()

    def present(self, order: Any, field: str, value: Any) -> Any:
        if value is not None and field in MONEY:
            return decimal_text(Decimal(value), order.currency)
        return value

    def compute_topics(self, order: Any, changes: Mapping[str, list[Any]]) -> Iterable[str]:
        """Topics of payments, refunds and shipments, and of the statuses of lines."""
        if not COUNTED.intersection(changes):
            return
        rows = self._rows(order)
        after, before = self._state(order, rows), self._state(order, rows, changes)
        for topics, old, new in (
            (PAYMENT_TOPICS, before.payment, after.payment),
            (FULFILLMENT_TOPICS, before.fulfillment, after.fulfillment),
        ):
            steps = list(topics)
            # An order that costs nothing counts as paid, and nobody has paid it.
            if steps.index(new) > steps.index(old) and (topics[new] != "order.paid" or after.money.paid):
                yield topics[new]
        if after.money.paid > before.money.paid:
            yield "order.payment_created"
        if after.money.refunded > before.money.refunded:
            yield "order.refund_created"
        if any(rows.shipping_kinds.get(row["event_type"]) == "shipped" for row in _added(changes, "shipping_events")):
            yield "order.fulfillment_created"
        yield from self._topics_of_lines(changes)

    def _rows(self, order: Any) -> OrderRows:
        """The order's rows. Read once: `payload` and `compute_topics` get the same instance."""
        if not hasattr(order, "_orderhooks_rows"):
            order._orderhooks_rows = OrderRows.read(order, self.payment_event_types, self.shipping_event_types)
        rows: OrderRows = order._orderhooks_rows
        return rows

    def _topics_of_lines(self, changes: Mapping[str, list[Any]]) -> Iterable[str]:
        old, new = changes.get("lines", NO_CHANGE)
        former = {row["id"]: row["status"] for row in old}
        for row in new:
            if row["id"] in former and row["status"] != former[row["id"]] and row["status"] in self._line_topics:
                yield self._line_topics[row["status"]]

    def _state(self, order: Any, rows: OrderRows, changes: Mapping[str, list[Any]] | None = None) -> _State:
        """What the rows come to: now, or, with the `changes` of a transaction, before it."""

        def at(key: str, given: Iterable[Any], names: tuple[str, ...]) -> Rows:
            after = {row.pk: watched_values(row, names) for row in given}
            return rows_before(after, (changes or {}).get(key, NO_CHANGE))

        amounts = ("amount_allocated", "amount_debited", "amount_refunded")
        money = Money.of_sources(at("payment_sources", rows.sources, amounts)).or_more(
            Money.of_events(at("payment_events", rows.payment_events, ("event_type", "amount")), rows.payment_kinds)
        )
        total = Decimal((changes or {}).get("total_incl_tax", [order.total_incl_tax])[0])
        # The quantities of an event that is new are new too: a new order's `changes` do not list them.
        new_events = {row["id"] for row in _added(changes or {}, "shipping_events")}
        kept = [row for row in rows.shipped_lines if row.event_id not in new_events]
        moved: dict[str, Counter[Any]] = {"shipped": Counter(), "returned": Counter()}
        kinds = {event.pk: rows.shipping_kinds.get(event.event_type_id, "") for event in rows.shipping_events}
        events = {row.pk: row.event_id for row in rows.shipped_lines}
        for key, row in at("shipping_event_lines", kept, ("line", "quantity")).items():
            if kind := kinds.get(events.get(key), ""):
                moved[kind][row["line"]] += row["quantity"]
        lines = at("lines", rows.lines, ("quantity",))
        return _State(
            money, payment_status(money, total), fulfillment_status(lines, moved["shipped"], moved["returned"])
        )


def _added(changes: Mapping[str, list[Any]], key: str) -> list[Mapping[str, Any]]:
    """The rows that a transaction has added."""
    old, new = changes.get(key, NO_CHANGE)
    former = {row["id"] for row in old}
    return [row for row in new if row["id"] not in former]
