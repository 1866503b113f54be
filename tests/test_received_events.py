"""Typed events: what was received, as values that one works with, or an error that names the way to the plain data."""

from contextlib import suppress
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orderhooks import catalogue, payloads, topics
from orderhooks.receiver import (
    Change,
    Customer,
    Fulfillment,
    FulfillmentLine,
    Line,
    Payment,
    ReceivedEvent,
    ReceivedOrder,
    Refund,
    UnknownOrderShapeError,
    verify,
)
from orderhooks.sources import BuiltInOrders
from tests.signed_webhooks import NOW, SECRET, body_of, signed

TOPICS = [name for name in topics.catalogue() if name != catalogue.TEST]


def event_of(body: bytes) -> ReceivedEvent:
    return verify(body, signed(body), SECRET, now=NOW)


# Any JSON.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
SCHEMA = BuiltInOrders().schema()
LINE, FULFILLMENT, PAYMENT, REFUND = (
    BuiltInOrders().example()[key][0] for key in ("lines", "fulfillments", "payments", "refunds")
)
FEW = settings(max_examples=50)


def values_of(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """JSON that fits a schema, as far as the schemas of orders go."""
    match schema:
        case {"enum": choices}:
            return st.sampled_from(choices)
        case {"type": [kind, "null"]}:
            return st.none() | values_of({**schema, "type": kind})
        case {"type": "string", "format": "date-time"}:
            return st.datetimes().map(lambda moment: moment.isoformat(timespec="microseconds") + "Z")
        case {"type": "string", "pattern": pattern}:
            return st.from_regex(pattern, fullmatch=True)
        case {"type": "string"}:
            return st.text()
        case {"type": "integer", "minimum": least}:
            return st.integers(least)
        case {"type": "integer"}:
            return st.integers()
        case {"type": "boolean"}:
            return st.booleans()
        case {"type": "array", "items": items}:
            return st.lists(values_of(items), max_size=3)
        case {"type": "object", "properties": properties}:
            return st.fixed_dictionaries({name: values_of(one) for name, one in properties.items()})
        case {"type": "object"}:
            return st.dictionaries(st.text(), JSON, max_size=3)
    raise AssertionError(f"no values of {schema}")


def typed(schema: dict[str, Any], value: Any) -> Any:
    """What a receiver gets for JSON that fits a schema; objects as dicts."""
    match schema:
        case {"type": "array", "items": items}:
            return [typed(items, one) for one in value]
        case {"type": "object", "properties": properties}:
            return {name: typed(properties[name], one) for name, one in value.items()}
        case {"format": "date-time"} if value is not None:
            return datetime.fromisoformat(value)
        case {"type": "string", "description": "In `currency`, as a decimal number."}:
            return Decimal(value)
    return value


def as_dicts(value: Any) -> Any:
    if isinstance(value, tuple):
        return [as_dicts(one) for one in value]
    return (
        {name: as_dicts(one) for name, one in asdict(value).items()}
        if is_dataclass(value) and not isinstance(value, type)
        else value
    )


class TestTypedEvents:
    @pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic != payloads.REDACTED])
    def test_every_topic_brings_an_order(self, topic: str) -> None:
        event = event_of(body_of(topic))
        assert event.order.number == "1001"
        assert all(isinstance(change, Change) for change in event.changes.values())

    def test_an_erasure_brings_the_ids_alone(self) -> None:
        event = event_of(body_of(payloads.REDACTED))
        assert event.data["order"] == {"id": "ord_01KAR58K00W5QZ4N3XJ7T2M9CE", "number": "1001", "store": ""}
        assert "note" not in event.data["redacted"]
        assert "customer" in event.data["redacted"]
        with pytest.raises(UnknownOrderShapeError):
            _ = event.order

    def test_its_values_have_the_types_that_one_works_with(self) -> None:
        event = event_of(body_of())
        order = event.order
        assert order.total == Decimal("24.80")
        assert order.total - order.shipping == order.subtotal
        assert order.customer == Customer("Ada Byron", "ada@example.com", "")
        assert order.lines == (Line(1, "TEA-1", "Green tea", 2, 0, Decimal("9.95")),)
        assert order.placed_at == datetime(2026, 11, 23, 9, 58, 30, tzinfo=UTC)
        assert (order.paid_at, order.cancelled_at, order.cancel_reason) == (None, None, "")
        assert order.fulfillments == (
            Fulfillment(
                1,
                "DHL",
                "00340434161094015902",
                "https://www.dhl.com/track?id=00340434161094015902",
                datetime(2026, 11, 23, 9, 59, 30, tzinfo=UTC),
                None,
                (FulfillmentLine(1, 1, 1),),
            ),
        )
        assert order.payments == (
            Payment(1, Decimal("24.80"), "card", "ch_3P2", datetime(2026, 11, 23, 9, 59, tzinfo=UTC)),
        )
        assert order.refunds == (
            Refund(
                1, Decimal("4.90"), "card", "re_7K1", "The parcel was late.", datetime(2026, 11, 23, 10, tzinfo=UTC)
            ),
        )
        assert order.shipping_address == {"city": "London"}
        assert (order.is_test, order.payment_status) == (True, "paid")
        assert event.changes == {"payment_status": Change("pending", "paid")}
        assert event.changes["payment_status"].new == "paid"

    def test_what_a_later_version_or_the_store_adds_is_kept_aside(self) -> None:
        data = catalogue.example("order.paid", BuiltInOrders())["data"]
        more = {"order": {**data["order"], "colour": "red"}, "changes": {}, "mood": "good"}
        event = event_of(body_of(data=more))
        assert event.order == ReceivedOrder.from_data(data["order"])
        assert event.order.raw["colour"] == "red"

    @pytest.mark.parametrize(
        ("spoilt", "why"),
        [
            ({"total": None}, "total: expected str, got NoneType"),
            ({"total": "much"}, "total: not a valid decimal number"),
            ({"total": "NaN"}, "total: not a valid decimal number"),
            ({"total": 19.9}, "total: expected str, got float"),
            ({"number": 1001}, "number: expected str, got int"),
            ({"number": ...}, "number is missing"),
            ({"is_test": 0}, "is_test: expected bool, got int"),
            ({"metadata": None}, "metadata: expected dict, got NoneType"),
            ({"placed_at": "yesterday"}, "placed_at: not a valid date and time"),
            ({"placed_at": "2026-11-23T10:00:00"}, "placed_at: the time has no zone"),
            ({"customer": "Ada"}, "customer: expected dict, got str"),
            ({"customer": {"name": "Ada"}}, "customer: email is missing"),
            ({"lines": [{}]}, "lines: id is missing"),
            ({"lines": 3}, "lines: expected list, got int"),
            ({"lines": [{**LINE, "quantity": True}]}, "lines: quantity: expected int, got bool"),
            ({"paid_at": "yesterday"}, "paid_at: not a valid date and time"),
            ({"fulfillments": ...}, "fulfillments is missing"),
            ({"fulfillments": [{**FULFILLMENT, "shipped_at": 3}]}, "fulfillments: shipped_at: expected str, got int"),
            ({"fulfillments": [{**FULFILLMENT, "lines": [{}]}]}, "fulfillments: lines: id is missing"),
            ({"payments": [{**PAYMENT, "amount": 24.8}]}, "payments: amount: expected str, got float"),
            ({"refunds": [{**REFUND, "refunded_at": None}]}, "refunds: refunded_at: expected str, got NoneType"),
        ],
    )
    def test_an_order_of_another_shape_is_read_as_data(self, spoilt: dict[str, Any], why: str) -> None:
        order = {**catalogue.example("order.paid", BuiltInOrders())["data"]["order"], **spoilt}
        order = {name: one for name, one in order.items() if one is not ...}
        event = event_of(body_of(data={"order": order, "changes": {}}))
        with pytest.raises(UnknownOrderShapeError, match=rf'\({why}\).*Read event\.data\["order"\]'):
            _ = event.order
        assert event.changes == {}
        assert event.data["order"]["currency"] == "EUR"

    @pytest.mark.parametrize("changes", [None, [], 3, {"note": "ab"}, {"note": ["a"]}, {"note": ["a", "b", "c"]}])
    def test_changes_of_another_shape_are_read_as_data(self, changes: Any) -> None:
        event = event_of(body_of(data={"order": {}, "changes": changes}))
        with pytest.raises(UnknownOrderShapeError, match=r'Read event\.data\["changes"\]'):
            _ = event.changes

    @FEW
    @given(order=values_of(SCHEMA), more=st.dictionaries(st.text(), JSON, max_size=3))
    def test_a_value_that_the_schema_allows_is_read_unchanged(
        self, order: dict[str, Any], more: dict[str, Any]
    ) -> None:
        told = event_of(body_of(data={"order": {**more, **order}, "changes": {}})).order
        for name, value in order.items():
            assert as_dicts(getattr(told, name)) == typed(SCHEMA["properties"][name], value), name
            if isinstance(getattr(told, name), datetime):
                assert getattr(told, name).utcoffset() == timedelta(0)

    @FEW
    @given(order=JSON, changes=JSON, spoilt=st.dictionaries(st.sampled_from(sorted(SCHEMA["properties"])), JSON))
    def test_whatever_else_comes_raises_that_error_or_has_its_types(
        self, order: Any, changes: Any, spoilt: dict[str, Any]
    ) -> None:
        example = catalogue.example("order.paid", BuiltInOrders())["data"]["order"]
        for content in (order, {**example, **spoilt}):
            event = event_of(body_of(data={"order": content, "changes": changes}))
            with suppress(UnknownOrderShapeError):
                told = event.order
                assert isinstance(told.total, Decimal) and isinstance(told.number, str)  # noqa: PT018
                assert told.placed_at.tzinfo is not None
                assert all(isinstance(line, Line) for line in told.lines)
            with suppress(UnknownOrderShapeError):
                assert all(isinstance(change, Change) for change in event.changes.values())
