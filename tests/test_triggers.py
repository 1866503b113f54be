"""Triggers of PostgreSQL capture the same values as signals, and what signals can't see."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from orderhooks import outbox, publishing
from orderhooks.models import Change, Event, Subscription
from orderhooks.testing import capture
from tests.publications import payload_of
from tests.shapes import models as shapes
from tests.shapes.models import Payment, Purchase, PurchaseLine
from tests.triggered import (  # noqa: F401
    ORDERS,
    SOURCES,
    TABLE,
    _triggers,
    events,
    forget,
    order_of_the_shop,
    sql,
    triggered,
    use,
)

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="triggers are PostgreSQL's"),
]

VALUES: list[tuple[str, dict[str, Any]]] = [
    ("OddOrder", {"secret": "x"}),
    ("OddOrder", {"details": {"a": [1, {"b": None}], "c": 1.5}}),
    ("OddOrder", {"photo": b"\x00\xff"}),
    ("OddOrder", {"weight": Decimal("1.5")}),
    ("OddOrder", {"due_on": timezone.now()}),
    ("OddOrder", {"origin": "Köln 'x' \\"}),
    ("ListOrder", {"tags": ["a", "b,c"], "prices": [Decimal("1.5"), Decimal(2)]}),
    ("ListOrder", {"matrix": [[Decimal("1.5"), None], [Decimal(3), Decimal(4)]]}),
    ("ListOrder", {"pair": [Decimal("1.5"), Decimal(2)]}),
    ("ListOrder", {"ticks": [True, False, None]}),
    ("ListOrder", {"details": [{"a": [1]}, [2], "x", None]}),
    ("ListOrder", {"times": [timezone.now(), None]}),
    ("PricedOrder", {"total": shapes.PricedOrder._meta.get_field("total").to_python("7.5")}),
    ("CompositeOrder", {"state": "paid"}),
    ("UuidOrder", {"state": "paid"}),
    ("TextOrder", {"state": "it's"}),
    ("NumberedOrder", {"state": "paid"}),
]


def make(name: str) -> Any:
    keys: dict[str, dict[str, Any]] = {
        "CompositeOrder": {"tenant": 'no"rth', "number": 7},
        "TextOrder": {"code": "T'1"},
        "NumberedOrder": {"number": "N-1"},
    }
    order = getattr(shapes, name)(**keys.get(name, {}))
    order.save()
    return order


@pytest.mark.parametrize(("name", "values"), VALUES, ids=[f"{name}-{next(iter(values))}" for name, values in VALUES])
def test_values_are_those_that_signals_capture(name: str, values: dict[str, Any], settings: Any) -> None:
    found = []
    for path in (f"tests.shapes.sources.{name}", f"{SOURCES}.Triggered{name}"):
        use(settings, path)
        order = make(name)
        forget()
        for field, value in values.items():
            setattr(order, field, value)
        order.save()
        found.append(events())
        type(order)._base_manager.filter(pk=order.pk).delete()
        forget()
    assert found[0] == found[1]
    assert found[0]


def test_an_order_that_is_created_as_paid() -> None:
    sql(f"INSERT INTO {TABLE} (state, total) VALUES ('paid', 3)")
    changes = {"state": ["open", "paid"]}
    assert events() == [("order.created", changes), ("order.paid", changes)]


def test_an_order_that_a_statement_deletes_is_published_with_its_last_state(order: Any) -> None:
    Payment.objects.create(order=order, amount=4)
    forget()
    with transaction.atomic():
        sql("DELETE FROM shapes_payment")
        sql(f"DELETE FROM {TABLE}")
    outbox.coalesce_left_behind(now=timezone.now())
    (event,) = Event.objects.all()
    assert (event.topic, event.error) == ("order.deleted", "")
    assert payload_of(event)["order"] == {
        "pk": str(order.pk),
        "class": "Purchase",
        "state": "open",
        "paid": ["4.00"],
        "city": "Oslo",
    }


def test_a_line_that_moves_to_another_order(order: Any) -> None:
    other = Purchase.objects.create()
    line = PurchaseLine.objects.create(order=order, sku="TEA")
    forget()
    sql("UPDATE shapes_purchaseline SET order_id = %s", other.pk)
    outbox.coalesce_left_behind(now=timezone.now())
    row = {"id": line.pk, "sku": "TEA"}
    assert {event.order_pk: event.changes for event in Event.objects.all()} == {
        str(order.pk): {"lines": [[row], []]},
        str(other.pk): {"lines": [[], [row]]},
    }


def test_what_the_store_publishes_belongs_to_the_transaction_of_the_triggers(order: Any) -> None:
    with transaction.atomic():
        Purchase.objects.update(state="paid")
        publishing.publish("order.paid", order)
        publishing.publish("parcel.made", order)
    changes = {"state": ["open", "paid"]}
    assert [(topic, found) for topic, found in events()] == [
        ("order.updated", changes),
        ("order.paid", changes),
        ("parcel.made", changes),
    ]


def test_a_save_is_coalesced_by_its_own_process(order: Any) -> None:
    order.total = Decimal(11)
    order.save()
    assert [event.topic for event in Event.objects.all()] == ["order.updated"]
    assert not Change.objects.exists()


def test_a_rollback_takes_the_captured_changes_back(order: Any) -> None:
    with transaction.atomic():
        Purchase.objects.update(state="paid")
        transaction.set_rollback(True)
    assert events() == []


def test_nothing_is_captured_while_nobody_has_subscribed(order: Any) -> None:
    Subscription.objects.all().delete()
    Purchase.objects.update(state="paid")
    assert not Change.objects.exists()


@pytest.mark.by_hand
def test_a_row_that_does_not_name_its_order_wakes_a_worker(order: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[int] = []
    monkeypatch.setattr("orderhooks.tasks.wake", lambda: woken.append(1))
    address = order.delivery
    address.city = "Rome"
    address.save()
    assert woken == [1]
    assert [topic for topic, _changes in events()] == ["order.updated"]


def test_tests_of_a_store_see_what_triggers_capture(order: Any) -> None:
    with capture() as captured, transaction.atomic():
        Purchase.objects.update(state="paid")
        sql("UPDATE shapes_address SET city = 'Rome'")
        assert captured.topics == ["order.updated", "order.paid"]


def test_many_orders_are_coalesced_together_by_a_worker(order: Any, django_assert_max_num_queries: Any) -> None:
    Purchase.objects.bulk_create([Purchase(total=1) for _ in range(50)])
    forget()
    Purchase.objects.update(state="paid")
    # The orders are read together, with their payments and their addresses; the lines of each by themselves, as their
    # manager has a window.
    with django_assert_max_num_queries(51 + 20):
        outbox.coalesce_left_behind(now=timezone.now())
    assert not Change.objects.exists()
    assert Event.objects.filter(topic="order.paid").count() == 51
