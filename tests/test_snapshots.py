"""P3: each event shows the order as its own transaction committed it, however close others follow."""

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orderhooks import outbox
from orderhooks.models import Change, Event, Order, OrderLine
from orderhooks.sources import BuiltInOrders
from tests.factories import make_fulfillment, make_order, make_payment, make_refund, make_subscription
from tests.publications import payload_of
from tests.test_crashes import machine  # noqa: F401

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.by_hand]


@pytest.fixture
def order() -> Order:
    make_subscription()
    order = make_order(lines=[{"sku": "A", "quantity": 1}, {"sku": "B", "quantity": 2}])
    make_fulfillment(order)
    make_payment(order)
    make_refund(order)
    Event.objects.all().delete()
    return order


@pytest.fixture
def dead(monkeypatch) -> Iterator[Callable[[], list[Event]]]:
    """Processes die between commit and coalescing; the call coalesces what they left behind."""
    with monkeypatch.context() as patch:
        patch.setattr(outbox.transaction_batch, "coalesce", lambda *_args, **_options: [])
        patch.setattr(outbox.transaction_batch, "coalesce_many", lambda *_args, **_options: [])

        def coalesce() -> list[Event]:
            patch.undo()
            [(source, order_pk)] = Change.objects.order_by().values_list("source", "order_pk").distinct()
            return outbox.coalesce(source, order_pk, now=timezone.now())

        yield coalesce


def told(event: Event) -> dict[str, Any]:
    order = payload_of(event)["order"]
    return {
        "note": order["note"],
        "total": order["total"],
        "placed_at": order["placed_at"],
        "metadata": order["metadata"],
        "lines": [(line["sku"], line["quantity"], line["unit_price"]) for line in order["lines"]],
    }


def as_committed(order: dict[str, Any]) -> dict[str, Any]:
    """Without `updated_at`, which is not watched, and the lines of fulfillments, which two foreign keys lead to."""
    fulfillments = [{**one, "lines": None} for one in order["fulfillments"]]
    return {name: value for name, value in order.items() if name != "updated_at"} | {"fulfillments": fulfillments}


def save(row: Any, **values: Any) -> None:
    for name, value in values.items():
        setattr(row, name, value)
    row.save()


def move(line: OrderLine) -> None:
    line.order = make_order(lines=[])
    line.save()


def change_line(order: Order) -> None:
    line = order.lines.get(sku="A")
    save(line, quantity=7, unit_price="5.5")


def change_and_delete_line(order: Order) -> None:
    change_line(order)
    order.lines.get(sku="A").delete()


LATER: dict[str, Callable[[Order], object]] = {
    "fields": lambda order: save(
        order, note="later", total=9, placed_at=timezone.now(), metadata={"a": [1, None]}, store="Kiel", is_test=True
    ),
    "a changed line": change_line,
    "an added line": lambda order: OrderLine.objects.create(order=order, sku="C", name="c", unit_price=3),
    "a deleted line": lambda order: order.lines.get(sku="A").delete(),
    "a line changed, then deleted": change_and_delete_line,
    "a line added, then deleted": lambda order: OrderLine.objects.create(
        order=order, sku="C", name="c", unit_price=3
    ).delete(),
    "a line moved away": lambda order: move(order.lines.get(sku="A")),
    "a changed fulfillment": lambda order: save(order.fulfillments.get(), delivered_at=timezone.now(), carrier="UPS"),
    "a new fulfillment": make_fulfillment,
    "a deleted fulfillment": lambda order: order.fulfillments.get().delete(),
    "another payment and refund": lambda order: (make_payment(order, amount=1), make_refund(order, amount=1)),
    "a changed payment": lambda order: save(order.payments.get(), amount=3, received_at=timezone.now()),
    "a deleted refund": lambda order: order.refunds.get().delete(),
}


@pytest.mark.parametrize("later", LATER.values(), ids=LATER)
def test_what_a_later_transaction_did_is_not_in_an_earlier_event(order: Order, dead, later) -> None:
    with transaction.atomic():
        save(order, note="first", metadata={"b": 1})
        expected = BuiltInOrders().payload(Order.objects.get())
    later(order)
    expected_later = BuiltInOrders().payload(Order.objects.get(pk=order.pk))
    Change.objects.exclude(order_pk=str(order.pk)).delete()
    events = dead()
    first, last = payload_of(events[0])["order"], payload_of(events[-1])["order"]
    assert as_committed(first) == as_committed(expected)
    assert last == expected_later
    assert [event.error for event in events] == [""] * len(events)


def test_an_order_that_is_deleted_later_is_published_as_it_was_before(order: Order, dead) -> None:
    save(order, note="first")
    expected = BuiltInOrders().payload(Order.objects.get())
    save(order, note="second")
    order.delete()
    events = dead()
    assert [(event.topic, event.error) for event in events] == [
        ("order.updated", ""),
        ("order.updated", ""),
        ("order.deleted", ""),
    ]
    assert [payload_of(event)["order"]["note"] for event in events] == ["first", "second", "second"]
    shown = [[line["sku"] for line in payload_of(event)["order"]["lines"]] for event in events]
    assert shown == [["A", "B"]] * 3
    assert payload_of(events[0])["order"]["lines"] == expected["lines"]


def test_a_transaction_that_commits_while_the_order_is_read_is_undone(order: Order, monkeypatch) -> None:
    fetch = BuiltInOrders.fetch
    followed: list[int] = []

    @functools.wraps(fetch)
    def fetch_late(self, order_pk: str, *, using: str) -> Any:
        if not followed:
            followed.append(1)
            follow()
        return fetch(self, order_pk, using=using)

    def follow() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(outbox.transaction_batch, "coalesce", lambda *_args, **_options: [])
            other = Order.objects.get(pk=order.pk)
            with transaction.atomic():
                save(other, note="second")
                change_line(other)

    monkeypatch.setattr(BuiltInOrders, "fetch", fetch_late)
    save(order, note="first")
    shown = [told(event) for event in Event.objects.order_by("sequence")]
    assert [one["note"] for one in shown] == ["first", "second"]
    assert [one["lines"][0] for one in shown] == [("A", 1, "9.95"), ("A", 7, "5.50")]


def test_the_stores_own_hook_that_saves_again_is_an_event_of_its_own(order: Order) -> None:
    with transaction.atomic():
        transaction.on_commit(lambda: save(order, note="by the hook", total=5))
        save(order, note="first")
    events = Event.objects.order_by("sequence")
    assert [(told(event)["note"], told(event)["total"]) for event in events] == [
        ("first", "0.00"),
        ("by the hook", "5.00"),
    ]


def test_a_savepoint_that_takes_a_deletion_back_leaves_the_order_as_it_is(order: Order) -> None:
    with transaction.atomic():
        save(order, note="first")
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            Order.objects.get(pk=order.pk).delete()
            raise ZeroDivisionError
        order.note = "last"
        order.save()
    [event] = Event.objects.all()
    assert (event.topic, payload_of(event)["order"]["note"]) == ("order.updated", "last")


@pytest.mark.slow
def test_four_writers_of_one_order_make_no_event_with_anothers_state(machine) -> None:  # noqa: F811
    machine.module = "tests.writers_child"
    machine.run("prepare")
    writers = [machine.start("write", sku) for sku in ("A", "B", "C", "D")]
    for writer in writers:
        _output, errors = writer.communicate(timeout=100)
        assert writer.returncode == 0, errors
    count, wrong = map(int, machine.run("report").split())
    assert count > 600
    assert wrong == 0


def test_a_save_costs_no_query_more_where_nobody_comes_between(order: Order) -> None:
    order.note = "x"
    with CaptureQueriesContext(connection) as queries:
        order.save()
    # A savepoint that goes with its statement counts as that statement.
    texts = [re.sub(r"^SAVEPOINT \S+; ", "", query["sql"]) for query in queries]
    statements = [sql for sql in texts if not sql.startswith(("BEGIN", "COMMIT", "SAVE", "RELEASE"))]
    # What was stored, the update, the change; the order, its lines, fulfillments with their lines, payments, refunds;
    # then the changes against the events, in one statement on PostgreSQL, after asking MariaDB for the time; and who is
    # to be woken.
    before_waking = statements[: next(n for n, sql in enumerate(statements) if "orderhooks_pump" in sql)]
    assert len(before_waking) == {"postgresql": 10, "mysql": 13}.get(connection.vendor, 12)
