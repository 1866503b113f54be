"""Typed events, and the guard against events that are older than what was acted on."""

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.cache import caches
from django.db import DatabaseError, IntegrityError, OperationalError, connection, transaction
from django.http import HttpResponse
from django.test import RequestFactory
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orderhooks import catalogue, retention, signing, topics
from orderhooks.models import LatestSequence, Receipt
from orderhooks.receiver import (
    CacheDeduplicator,
    CacheSequenceGuard,
    Change,
    Customer,
    DatabaseDeduplicator,
    DatabaseSequenceGuard,
    Fulfillment,
    FulfillmentLine,
    Line,
    Payment,
    ReceivedEvent,
    ReceivedOrder,
    Refund,
    UnknownOrderShapeError,
    staleness,
    verify,
    webhook,
)
from orderhooks.sources import BuiltInOrders
from tests.test_races import wait_until_somebody_waits_for_a_lock

SECRET = signing.generate_secret()
TOPICS = [name for name in topics.catalogue() if name != catalogue.TEST]


def body_of(topic: str = "order.paid", **changes: Any) -> bytes:
    return json.dumps({**catalogue.example(topic, BuiltInOrders()), **changes}).encode()


def headers_of(body: bytes, webhook_id: str = "evt_1") -> dict[str, str]:
    now = int(datetime.now(UTC).timestamp())
    signature = signing.signature_header([SECRET], webhook_id, now, body)
    return {"webhook-id": webhook_id, "webhook-timestamp": str(now), "webhook-signature": signature}


def event_of(body: bytes) -> ReceivedEvent:
    return verify(body, headers_of(body), SECRET)


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
FEW = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


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
    return {name: as_dicts(one) for name, one in asdict(value).items()} if is_dataclass(value) else value


class TestTypedEvents:
    @pytest.mark.parametrize("topic", TOPICS)
    def test_every_topic_brings_an_order(self, topic: str) -> None:
        event = event_of(body_of(topic))
        assert event.order.number == "1001"
        assert all(isinstance(change, Change) for change in event.changes.values())

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
    def test_whatever_the_schema_allows_is_told_as_it_is(self, order: dict[str, Any], more: dict[str, Any]) -> None:
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


class Copy:
    """A receiver's view that keeps the sequences that it acted on."""

    def __init__(self) -> None:
        self.acted_on: list[int] = []
        self.response: Callable[[], HttpResponse | None] = lambda: None

    def __call__(self, request: Any, event: ReceivedEvent) -> HttpResponse | None:
        self.acted_on.append(event.sequence)
        return self.response()


def post(endpoint: Any, sequence: int, *, order: Any = "ord_1", webhook_id: str = "") -> Any:
    body = body_of(sequence=sequence, data={"order": {"id": order}, "changes": {}})
    headers = headers_of(body, webhook_id or f"evt_{sequence}")
    return endpoint(RequestFactory().post("/hooks/", body, content_type="application/json", headers=headers))


@pytest.fixture(params=[DatabaseSequenceGuard, CacheSequenceGuard])
def guard(request: Any, settings: Any, transactional_db: None) -> Any:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "sequences"}}
    yield request.param
    caches["default"].clear()


class TestSkippingStaleEvents:
    def test_an_older_event_of_the_order_is_passed_over(self, guard: Any) -> None:
        copy = Copy()
        endpoint = webhook(SECRET, skip_stale=guard("crm"))(copy)
        assert [post(endpoint, sequence).status_code for sequence in (5, 9, 7)] == [204, 204, 200]
        assert copy.acted_on == [5, 9]
        assert json.loads(post(endpoint, 9).content) == {
            "status": "This event, or a newer one of its order, was already acted on."
        }, "the same again is no newer"

    def test_other_orders_and_receivers_are_nothing_to_it(self, guard: Any) -> None:
        copy = Copy()
        endpoint, other = (webhook(SECRET, skip_stale=guard(name))(copy) for name in ("crm", "shelf"))
        post(endpoint, 9)
        assert post(endpoint, 7, order="ord_2").status_code == 204
        assert post(other, 7).status_code == 204

    @pytest.mark.parametrize("status", [400, 503])
    def test_one_that_was_not_taken_leaves_no_mark(self, guard: Any, status: int) -> None:
        copy = Copy()
        endpoint = webhook(SECRET, skip_stale=guard("crm"))(copy)
        copy.response = lambda: HttpResponse(status=status)
        assert post(endpoint, 9).status_code == status
        copy.response = lambda: None
        assert post(endpoint, 7).status_code == 204
        assert post(endpoint, 9).status_code == 204
        assert copy.acted_on == [9, 7, 9]

    def test_one_whose_view_raised_leaves_no_mark(self, guard: Any) -> None:
        copy = Copy()
        endpoint = webhook(SECRET, skip_stale=guard("crm"))(copy)

        def fail() -> None:
            raise RuntimeError("no")

        copy.response = fail
        with pytest.raises(RuntimeError):
            post(endpoint, 9)
        copy.response = lambda: None
        assert post(endpoint, 7).status_code == 204

    def test_orders_of_another_shape_need_a_key(self, guard: Any) -> None:
        with pytest.raises(UnknownOrderShapeError, match="key="):
            post(webhook(SECRET, skip_stale=guard("crm"))(Copy()), 9, order=17)
        copy = Copy()
        endpoint = webhook(SECRET, skip_stale=guard("crm", key=lambda event: str(event.data["order"]["id"])))(copy)
        assert [post(endpoint, sequence, order=17).status_code for sequence in (9, 7)] == [204, 200]

    def test_it_works_together_with_deduplication(self, guard: Any) -> None:
        copy = Copy()
        deduplicator = {DatabaseSequenceGuard: DatabaseDeduplicator, CacheSequenceGuard: CacheDeduplicator}[guard](
            "crm"
        )
        endpoint = webhook(SECRET, deduplicate=deduplicator, skip_stale=guard("crm"))(copy)
        assert [post(endpoint, sequence).status_code for sequence in (9, 9, 7, 7)] == [204, 200, 200, 200]
        assert copy.acted_on == [9]

    @pytest.mark.parametrize("deduplicator", [DatabaseDeduplicator, CacheDeduplicator])
    def test_what_was_not_committed_is_acted_on_again(
        self, guard: Any, deduplicator: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if (guard, deduplicator) == (CacheSequenceGuard, CacheDeduplicator):
            pytest.skip("nothing is committed here")
        copy = Copy()
        endpoint = webhook(SECRET, deduplicate=deduplicator("crm"), skip_stale=guard("crm"))(copy)

        def lose_the_database() -> None:
            raise OperationalError("the database went away")

        with monkeypatch.context() as patch:
            copy.response = lambda: patch.setattr(connection, "_commit", lose_the_database)
            with pytest.raises(OperationalError):
                post(endpoint, 9)
        copy.response = lambda: None
        assert [post(endpoint, 9).status_code for _ in range(2)] == [204, 200]
        assert copy.acted_on == [9, 9]

    def test_a_test_of_the_endpoint_tells_of_no_order(self, guard: Any) -> None:
        copy = Copy()
        endpoint = webhook(SECRET, skip_stale=guard("crm"))(copy)
        body = body_of(catalogue.TEST, sequence=3, data={"order": {}, "changes": {}})
        request = RequestFactory().post("/", body, content_type="application/json", headers=headers_of(body))
        assert endpoint(request).status_code == 204
        assert copy.acted_on == [3]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("savepoint", [True, False])
def test_a_view_that_swallows_a_database_error_is_never_acknowledged_with_nothing_saved(savepoint: bool) -> None:
    @webhook(SECRET, skip_stale=DatabaseSequenceGuard("crm"))
    def view(request: Any, event: ReceivedEvent) -> None:
        Receipt.objects.create(receiver="the view", webhook_id=event.id)
        try:
            with transaction.atomic(savepoint=savepoint):
                Receipt.objects.create(receiver="the view", webhook_id=event.id)
        except IntegrityError:
            pass

    if savepoint:
        assert post(view, 9).status_code == 204
    else:
        with pytest.raises((transaction.TransactionManagementError, DatabaseError)):
            post(view, 9)
    assert Receipt.objects.count() == LatestSequence.objects.count() == savepoint


def test_a_view_that_outlived_its_turn_does_not_take_the_order_back(settings: Any, monkeypatch: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "slow"}}
    # A turn that is over at once stands for one that lasted too long.
    monkeypatch.setattr(staleness, "PROCESSING_SECONDS", 0)
    acted_on = []

    @webhook(SECRET, skip_stale=CacheSequenceGuard("crm"))
    def view(request: Any, event: ReceivedEvent) -> None:
        acted_on.append(event.sequence)
        if event.sequence == 7:
            assert post(view, 9).status_code == 204

    assert [post(view, sequence).status_code for sequence in (7, 8)] == [204, 200]
    assert acted_on == [7, 9]
    caches["default"].clear()


def test_while_one_is_worked_on_another_of_the_order_is_told_to_come_again(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "busy"}}
    statuses: list[int] = []

    @webhook(SECRET, skip_stale=CacheSequenceGuard("crm"))
    def view(request: Any, event: ReceivedEvent) -> None:
        if event.sequence == 9:
            statuses.append(post(view, 7).status_code)
            statuses.append(post(view, 7, order="ord_2").status_code)

    assert post(view, 9).status_code == 204
    assert statuses == [409, 204]
    assert post(view, 7).status_code == 200
    caches["default"].clear()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("newer_is_taken", [True, False])
def test_an_older_event_waits_for_the_newer_ones_transaction(
    in_a_thread: Callable[[Callable[[], None]], threading.Thread], is_known: bool, newer_is_taken: bool
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("this database lets one writer in at a time; the run on PostgreSQL has these tests")
    answers: dict[int, int] = {}
    copy, began, go_on = Copy(), threading.Event(), threading.Event()
    endpoint = webhook(SECRET, skip_stale=DatabaseSequenceGuard("crm"))(copy)
    if is_known:
        post(endpoint, 1)
    copy.acted_on.clear()

    def hold() -> HttpResponse:
        copy.response = lambda: None
        began.set()
        assert go_on.wait(20)
        return HttpResponse(status=204 if newer_is_taken else 503)

    def come(sequence: int) -> None:
        answers[sequence] = post(endpoint, sequence).status_code

    copy.response = hold
    newer = in_a_thread(lambda: come(9))
    assert began.wait(20)
    older = in_a_thread(lambda: come(7))
    wait_until_somebody_waits_for_a_lock()
    assert copy.acted_on == [9]
    go_on.set()
    newer.join(20)
    older.join(20)
    assert answers == ({9: 204, 7: 200} if newer_is_taken else {9: 503, 7: 204})
    assert copy.acted_on == ([9] if newer_is_taken else [9, 7])
    assert LatestSequence.objects.get().sequence == (9 if newer_is_taken else 7)


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_the_newest_stays(in_a_thread: Callable[[Callable[[], None]], threading.Thread]) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("this database lets one writer in at a time; the run on PostgreSQL has these tests")
    copy = Copy()
    together = threading.Barrier(6, timeout=20)
    endpoint = webhook(SECRET, skip_stale=DatabaseSequenceGuard("crm"))(copy)

    def come(sequence: int) -> None:
        together.wait()
        # As a sender does: what is refused for the moment comes again.
        answers = (post(endpoint, sequence).status_code for _ in range(50))
        assert next(response for response in answers if response != 409) in (200, 204)

    threads = [in_a_thread(lambda sequence=sequence: come(sequence)) for sequence in (3, 1, 6, 2, 5, 4)]
    for thread in threads:
        thread.join(20)
    assert LatestSequence.objects.get().sequence == 6
    assert 6 in copy.acted_on


@pytest.mark.django_db
def test_what_is_old_is_pruned() -> None:
    now = timezone.now()
    LatestSequence.objects.create(receiver="crm", order="ord_1", sequence=1, updated_at=now - timedelta(days=2))
    LatestSequence.objects.create(receiver="crm", order="ord_2", sequence=1, updated_at=now)
    assert retention.prune(before=now - timedelta(days=1)) == 1
    assert LatestSequence.objects.get().order == "ord_2"
