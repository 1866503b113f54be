"""`publishing.track` and tracked querysets: values, bounds, nesting, and errors that never reach the store."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from orderhooks import publishing, signal_handlers, sources
from orderhooks.models import CaptureFailure, Change, Event, Order, OrderLine, Subscription
from orderhooks.outbox import tracking
from orderhooks.publishing import track
from tests.factories import make_order, make_subscription
from tests.shapes import sources as shapes_sources
from tests.shapes.models import (
    Address,
    CompositeOrder,
    Customer,
    DocumentLine,
    InvoiceOrder,
    NumberedLine,
    NumberedOrder,
    Purchase,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _subscribed() -> None:
    make_subscription()


@pytest.fixture
def shapes(settings: Any) -> Iterator[None]:
    settings.ORDERHOOKS = {
        **settings.ORDERHOOKS,
        "SOURCES": shapes_sources.PATHS,
        "TOPICS": shapes_sources.TOPICS,
    }
    signal_handlers.connect()
    yield
    signal_handlers.connect()


def make(**values: Any) -> Order:
    order = make_order(**values)
    Event.objects.all().delete()
    return order


def events() -> list[tuple[str, dict[str, Any]]]:
    assert not Change.objects.exists()
    found = [(event.topic, event.changes) for event in Event.objects.order_by("sequence")]
    Event.objects.all().delete()
    return found


class TestTheBuiltInManagers:
    def test_an_update_is_a_change_like_a_save(self) -> None:
        order = make(total="10")
        Order.objects.filter(pk=order.pk).update(payment_status="paid", total=F("total") * 2)
        changes = {"payment_status": ["pending", "paid"], "total": ["10.00", "20.00"]}
        assert events() == [("order.updated", changes), ("order.paid", changes)]

    def test_what_touches_no_watched_field_reads_nothing(self) -> None:
        make()
        with CaptureQueriesContext(connection) as queries:
            Order.objects.update(updated_at=F("created_at"))
        assert len(queries) == 1

    def test_lines_by_the_orders_own_manager(self) -> None:
        order = make()
        order.lines.all().delete()
        line = OrderLine.objects.create(order=order, sku="TEA", name="Tea", unit_price="2")
        Event.objects.all().delete()
        order.lines.update(quantity=3)
        [(topic, changes)] = events()
        assert topic == "order.updated"
        assert [[row["quantity"] for row in rows] for rows in changes["lines"]] == [[1], [3]]
        assert changes["lines"][0][0]["id"] == line.pk
        assert changes["lines"][0][0]["unit_price"] == "2.00"

    def test_a_line_that_is_added_to_another_order(self) -> None:
        one, other = make(), make()
        line = OrderLine.objects.create(order=one, sku="TEA", name="Tea", unit_price="2")
        Event.objects.all().delete()
        other.lines.add(line)
        events = Event.objects.values_list("order_pk", "topic")
        assert sorted(events) == sorted((str(order.pk), "order.updated") for order in (one, other))

    def test_upserts_report_what_is_new_and_what_has_changed(self) -> None:
        order = make(number="1", note="old")
        rows = [Order(number="1", note="new"), Order(number="2", note="new")]
        unique: dict[str, Any] = {} if connection.vendor == "mysql" else {"unique_fields": ["store", "number"]}
        Order.objects.bulk_create(rows, update_conflicts=True, update_fields=["note"], **unique)
        found = {(event.order_number, event.topic): event.changes for event in Event.objects.all()}
        assert found == {("1", "order.updated"): {"note": ["old", "new"]}, ("2", "order.created"): {}}
        order.refresh_from_db()
        assert order.note == "new"

    def test_inserts_that_may_be_ignored_report_what_is_new(self) -> None:
        make(number="1")
        Order.objects.bulk_create([Order(number="1"), Order(number="2")], ignore_conflicts=True)
        assert [(event.order_number, event.topic) for event in Event.objects.all()] == [("2", "order.created")]

    def test_nothing_is_read_while_nobody_has_subscribed(self) -> None:
        order = make()
        Subscription.objects.all().delete()
        with CaptureQueriesContext(connection) as queries:
            Order.objects.filter(pk=order.pk).update(note="x")
        assert len(queries) == 2
        assert events() == []


class TestBounds:
    # The rows' keys, the rows before and after, and one statement that writes their changes; then savepoints.
    @pytest.mark.by_hand
    @pytest.mark.parametrize("rows", [20, 120])
    def test_the_statements_do_not_grow_with_the_rows(self, shapes: None, rows: int, monkeypatch: Any) -> None:
        Purchase.objects.bulk_create([Purchase() for _ in range(rows)])
        monkeypatch.setattr("orderhooks.outbox.transaction_batch.TransactionBatch.coalesce", lambda _batch: [])
        with CaptureQueriesContext(connection) as queries, track(Purchase.objects.all()):
            Purchase.objects.update(state="paid")
        assert Change.objects.count() == rows
        statements = [query["sql"] for query in queries if not query["sql"].startswith(("SAVEPOINT", "RELEASE"))]
        assert len(statements) <= 12, statements

    @pytest.mark.by_hand
    @pytest.mark.parametrize("rows", [5, 40])
    def test_orders_that_point_elsewhere_are_read_together(self, shapes: None, rows: int, monkeypatch: Any) -> None:
        old, new = (Address.objects.create(city=city) for city in ("Oslo", "Rome"))
        Purchase.objects.bulk_create([Purchase(delivery=old) for _ in range(rows)])
        monkeypatch.setattr("orderhooks.outbox.transaction_batch.TransactionBatch.coalesce", lambda _batch: [])
        with CaptureQueriesContext(connection) as queries, track(Purchase.objects.all()):
            Purchase.objects.update(delivery=new)
        # Of each order: itself, the row that it left, the row to which it points now.
        assert Change.objects.count() == 3 * rows
        assert len([query for query in queries if Address._meta.db_table in query["sql"]]) == 1

    def test_a_row_of_very_many_orders_is_no_part_of_each(self, shapes: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("orderhooks.sources.related.MOST_ORDERS", 2)
        address = Address.objects.create(city="Oslo")
        Purchase.objects.bulk_create([Purchase(delivery=address) for _ in range(3)])
        with track(Address.objects.all()):
            Address.objects.update(city="Rome")
        assert events() == []
        assert CaptureFailure.objects.get().error.startswith("TooManyOrdersError: More than 2 orders")
        assert Address.objects.get().city == "Rome"

    def test_more_rows_than_one_statement_takes(self, shapes: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tracking, "AT_ONCE", 2)
        Purchase.objects.bulk_create([Purchase() for _ in range(5)])
        with track(Purchase.objects.all()):
            Purchase.objects.update(total=3)
        assert events() == [("order.updated", {"total": ["0.00", "3.00"]})] * 5

    def test_more_rows_than_fit_into_memory_are_changed_and_counted_as_missed(
        self, shapes: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tracking, "MOST_ROWS", 2)
        Purchase.objects.bulk_create([Purchase() for _ in range(3)])
        with track(Purchase.objects.all()):
            Purchase.objects.update(state="paid")
        assert set(Purchase.objects.values_list("state", flat=True)) == {"paid"}
        assert events() == []
        failure = CaptureFailure.objects.get()
        assert failure.error.startswith("TooManyRowsError: A statement may change more than 2 rows")

    def test_the_first_rows_of_a_sorted_queryset(self, shapes: None) -> None:
        Purchase.objects.bulk_create([Purchase(total=one) for one in (1, 2, 3)])
        with track(Purchase.objects.order_by("-total")[:1]):
            Purchase.objects.update(state="paid")
        (event,) = Event.objects.filter(topic="order.paid")
        assert event.order_pk == str(Purchase.objects.get(total=3).pk)

    def test_lines_that_point_at_a_number_or_at_a_parent_model(self, shapes: None) -> None:
        numbered, other = (NumberedOrder.objects.create(number=number) for number in ("N-1", "N-2"))
        line = NumberedLine.objects.create(order=numbered, sku="TEA")
        invoice = InvoiceOrder.objects.create(reference="A")
        DocumentLine.objects.create(document=invoice, sku="TEA")
        Event.objects.all().delete()
        with track(NumberedLine.objects.all()):
            NumberedLine.objects.update(order=other)
        row = {"id": line.pk, "sku": "TEA"}
        assert {event.order_pk: event.changes for event in Event.objects.all()} == {
            str(numbered.pk): {"lines": [[row], []]},
            str(other.pk): {"lines": [[], [row]]},
        }
        Event.objects.all().delete()
        with track(DocumentLine.objects.all()):
            DocumentLine.objects.update(sku="JAM")
        (event,) = Event.objects.all()
        assert (event.source, event.order_pk) == ("InvoiceOrder", str(invoice.pk))

    def test_composite_keys(self, shapes: None) -> None:
        CompositeOrder.objects.bulk_create([CompositeOrder(tenant="north", number=1)])
        with track(CompositeOrder.objects.all()):
            CompositeOrder.objects.update(state="paid")
        assert [topic for topic, _changes in events()] == ["order.updated", "order.paid"]


class TestNesting:
    def test_a_block_in_a_block_is_one_change(self, shapes: None) -> None:
        order = Purchase.objects.create()
        Event.objects.all().delete()
        with track(Purchase.objects.all()):
            Purchase.objects.update(state="held")
            with track(Purchase.objects.all()):
                Purchase.objects.update(state="paid")
                order.refresh_from_db()
                order.total = Decimal(4)
                order.save()
            Purchase.objects.update(total=5)
        changes = {"state": ["open", "paid"], "total": ["0.00", "5.00"]}
        assert events() == [("order.updated", changes), ("order.paid", changes)]

    def test_what_was_captured_before_the_block_stays(self, shapes: None) -> None:
        order = Purchase.objects.create()
        Event.objects.all().delete()
        with transaction.atomic():
            order.total = Decimal(1)
            order.save()
            with track(Purchase.objects.all()):
                Purchase.objects.update(total=2)
        assert events() == [("order.updated", {"total": ["0.00", "2.00"]})]

    def test_a_change_that_is_taken_back_in_the_block_is_none(self, shapes: None) -> None:
        order = Purchase.objects.create()
        Event.objects.all().delete()
        with track(Purchase.objects.all()):
            order.state = "paid"
            order.save()
            Purchase.objects.update(state="open")
        assert events() == []

    def test_a_block_that_raises_leaves_nothing(self, shapes: None) -> None:
        Purchase.objects.create()
        Event.objects.all().delete()
        with pytest.raises(ZeroDivisionError), track(Purchase.objects.all()):
            Purchase.objects.update(state="paid")
            _ = 1 / 0
        assert events() == []
        assert Purchase.objects.get().state == "open"


class TestErrors:
    def test_rows_that_no_source_watches(self) -> None:
        refusal = pytest.raises(
            TypeError, match=r"track\(\) takes rows of a model that an order source watches, not of"
        )
        with refusal, track(Customer.objects.all()):
            pass

    def test_an_order_that_a_statement_deletes_is_shown_without_its_last_state(self, shapes: None) -> None:
        Purchase.objects.create()
        Event.objects.all().delete()
        with track(Purchase.objects.all()):
            Purchase.objects.all()._raw_delete("default")
        event = Event.objects.get()
        assert (event.topic, event.payload, event.error) == ("order.deleted", None, tracking.GONE)

    @pytest.mark.parametrize("step", ["_read_before", "_write"])
    def test_an_error_of_ours_is_counted_and_the_store_goes_on(self, step: str, monkeypatch: Any) -> None:
        def fail(*_arguments: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT missing FROM nowhere")

        order = make()
        monkeypatch.setattr(tracking, step, fail)
        assert Order.objects.filter(pk=order.pk).update(note="x") == 1
        order.refresh_from_db()
        assert order.note == "x"
        assert events() == []
        failure = CaptureFailure.objects.get()
        assert "nowhere" in failure.error

    def test_an_error_of_the_store_is_the_stores(self) -> None:
        order = make(number="1")
        make(number="2")
        with pytest.raises(DatabaseError):
            Order.objects.filter(pk=order.pk).update(number="2")
        assert events() == []

    def test_a_wrong_setting_does_not_stop_the_store(self, settings: Any) -> None:
        order = make()
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": ["nowhere.Orders"]}
        assert Order.objects.filter(pk=order.pk).update(note="x") == 1


@pytest.mark.by_hand
def test_a_worker_coalesces_what_would_keep_the_store(shapes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading each order of a large update would take the store's process minutes."""
    monkeypatch.setattr("orderhooks.outbox.transaction_batch.MOST_ORDERS", 3)
    announced: list[int] = []
    monkeypatch.setattr(publishing, "announce_events", lambda made: announced.append(len(made)))
    Purchase.objects.bulk_create([Purchase() for _ in range(4)])
    with track(Purchase.objects.all()):
        Purchase.objects.update(state="paid")
    assert (announced, Event.objects.count(), Change.objects.count()) == ([0], 0, 4)
    assert sources.watched_models_of(Purchase)
