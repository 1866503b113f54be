"""Order models of other shapes: whatever the store's model is, the right events, and its save never raises."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction

from orderhooks import checks, signal_handlers
from orderhooks.models import CaptureFailure, Change, Event
from orderhooks.sources import OrderSource
from tests.factories import make_subscription
from tests.publications import payload_of
from tests.shapes import models as shapes
from tests.shapes import sources
from tests.shapes.fields import Amount, next_number

pytestmark = pytest.mark.django_db(transaction=True)

_numbers = itertools.count(1)


class Documents(OrderSource):
    """Of the parent's model."""

    name = "documents"
    model = "shapes.Document"
    watched = ("state",)

    def payload(self, order: Any) -> dict[str, Any]:
        return {"pk": str(order.pk), "state": order.state}


@pytest.fixture(autouse=True)
def _shapes(settings: Any) -> Iterator[None]:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": sources.PATHS, "TOPICS": sources.TOPICS}
    signal_handlers.connect()
    make_subscription()
    yield
    assert list(CaptureFailure.objects.values_list("error", flat=True)) == []


def make(model: Any, **values: Any) -> Any:
    """A new order of that model, saved."""
    needed: dict[str, dict[str, Any]] = {
        "TextOrder": {"code": f"T-{next(_numbers)}"},
        "CompositeOrder": {"tenant": "north", "number": next(_numbers)},
        "NumberedOrder": {"number": f"N-{next(_numbers)}"},
    }
    order = model(state="open", **{**needed.get(model.__name__, {}), **values})
    order.save()
    return order


def told() -> list[tuple[str, dict[str, Any]]]:
    """The topics and changes since the last call, each of which must be about the order that its payload shows."""
    assert not Change.objects.exists()
    events = list(Event.objects.order_by("sequence"))
    for event in events:
        assert event.error == ""
        assert payload_of(event)["order"]["class"] == event.source
    Event.objects.all().delete()
    return [(event.topic, event.changes) for event in events]


def told_orders() -> list[tuple[str, str]]:
    events = [(event.topic, payload_of(event)["order"]["pk"]) for event in Event.objects.order_by("sequence")]
    told()
    return events


MODELS = [source.name for source in sources.ALL]


@pytest.mark.parametrize("in_a_transaction", [False, True], ids=["autocommit", "transaction"])
@pytest.mark.parametrize("name", MODELS)
def test_an_order_of_any_shape_makes_events_from_its_creation_to_its_end(name: str, in_a_transaction: bool) -> None:
    model = getattr(shapes, name)

    def run(step: Any, *arguments: Any, **options: Any) -> Any:
        if not in_a_transaction:
            return step(*arguments, **options)
        with transaction.atomic():
            return step(*arguments, **options)

    first, order = run(make, model), run(make, model)
    assert told_orders() == [("order.created", str(first.pk)), ("order.created", str(order.pk))]
    # The first of its kind goes first, so that a value that was remembered would show.
    first.state = order.state = "held"
    run(first.save)
    assert told_orders() == [("order.updated", str(first.pk))]
    run(order.save)
    assert told_orders() == [("order.updated", str(order.pk))]
    run(order.save)
    assert told() == []
    order.state = "paid"
    run(order.save, update_fields=["state"])
    assert told() == [("order.updated", {"state": ["held", "paid"]}), ("order.paid", {"state": ["held", "paid"]})]
    again = model._base_manager.get(pk=order.pk)
    again.state = "gone"
    with transaction.atomic():
        again.save()
        transaction.set_rollback(True)
    assert told() == []
    key = str(order.pk)
    run(order.delete)
    assert told_orders() == [("order.deleted", key)]


@pytest.mark.parametrize("name", MODELS)
def test_an_order_that_is_born_paid_says_so(name: str) -> None:
    model = getattr(shapes, name)
    order = make(model)
    told()
    values: dict[str, Any] = {} if name != "CompositeOrder" else {"number": next(_numbers)}
    if name in ("TextOrder", "NumberedOrder"):
        values = {"code" if name == "TextOrder" else "number": f"P-{next(_numbers)}"}
    born = model(**{"state": "paid", **({"tenant": "south"} if name == "CompositeOrder" else {}), **values})
    born.save()
    assert born.pk != order.pk
    assert told() == [("order.created", {"state": ["open", "paid"]}), ("order.paid", {"state": ["open", "paid"]})]


@pytest.mark.parametrize(
    ("name", "field", "values", "expected"),
    [
        ("PricedOrder", "total", Amount(10, "EUR"), {"total": ["0.00", "10.00"]}),
        ("PricedOrder", "total", Amount(0, "USD"), {"total_currency": ["EUR", "USD"]}),
        ("OddOrder", "secret", "x", {"secret": ["", "x"]}),
        ("OddOrder", "secret", "a\x00b\ud800", {"secret": ["", "a\ufffdb?"]}),
        ("OddOrder", "details", {"a": (1, 2)}, {"details": [{}, {"a": [1, 2]}]}),
        ("OddOrder", "photo", b"\x00\x01", {"photo": ["", "AAE="]}),
        ("OddOrder", "weight", "1.50", {"weight": ["0.00", "1.50"], "heavy": [0, 3]}),
        ("OddOrder", "origin", "fair", {"origin": ["shop", "fair"]}),
        ("SortedOrder", "priority", 7, {"priority": [None, 7]}),
    ],
)
def test_a_field_of_any_kind_is_published_once(name: str, field: str, values: Any, expected: dict[str, Any]) -> None:
    order = make(getattr(shapes, name))
    told()
    setattr(order, field, values)
    order.save()
    assert told() == [("order.updated", expected)]
    order.save()
    assert told() == []
    type(order)._base_manager.get(pk=order.pk).save()
    assert told() == []


@pytest.mark.skipif(not shapes.IS_POSTGRES, reason="arrays are PostgreSQL's")
def test_arrays_are_published_as_they_are_stored() -> None:
    order = make(shapes.ListOrder)
    told()
    order.tags, order.prices = ("a", "b"), ["1.5"]
    order.save()
    assert told() == [("order.updated", {"tags": [[], ["a", "b"]], "prices": [[], ["1.50"]]})]
    order.save()
    assert told() == []


def test_no_number_of_a_series_is_used_up() -> None:
    before = int(next_number()[1:])
    orders = [make(shapes.SerialOrder) for _ in range(3)]
    orders[0].state = "held"
    orders[0].save()
    assert [int(order.number[1:]) for order in orders] == [before + 1, before + 2, before + 3]
    assert int(next_number()[1:]) == before + 4


def test_a_line_is_a_change_of_the_order_whose_number_it_holds() -> None:
    one, other = make(shapes.NumberedOrder), make(shapes.NumberedOrder)
    told()
    line = shapes.NumberedLine.objects.create(order=other, sku="TEA")
    assert told_orders() == [("order.updated", str(other.pk))]
    line.sku = "JAM"
    line.save()
    assert told_orders() == [("order.updated", str(other.pk))]
    line.order = one
    line.save()
    assert told_orders() == [("order.updated", str(other.pk)), ("order.updated", str(one.pk))]
    line.delete()
    assert told_orders() == [("order.updated", str(one.pk))]


@pytest.mark.parametrize("names", [["order"], ["order_id"], ("order", "sku"), None])
def test_a_line_that_moves_makes_events_of_both_orders_whatever_the_save_names(names: Any) -> None:
    one, other = make(shapes.ProxyOrder), make(shapes.ProxyOrder)
    line = shapes.CartLine.objects.create(order_id=one.pk, sku="TEA")
    told()
    line.order_id = other.pk
    line.save(update_fields=names)
    gone, come = {"lines": [[{"id": line.pk, "sku": "TEA"}], []]}, {"lines": [[], [{"id": line.pk, "sku": "TEA"}]]}
    assert told() == [("order.updated", gone), ("order.updated", come)]
    line.order = None
    line.save(update_fields=names)
    assert told() == [("order.updated", gone)]
    shapes.CartLine.objects.update_or_create(sku="TEA", defaults={"order_id": one.pk})
    assert told() == [("order.updated", come)]


def test_a_line_that_names_its_order_by_several_columns_is_a_change_of_it_and_no_fault() -> None:
    order = make(shapes.CompositeOrder)
    told()
    line = shapes.CompositeLine.objects.create(order=order, sku="TEA")
    assert told() == [("order.updated", {"lines": [[], [{"id": line.pk, "sku": "TEA"}]]})]
    found = checks.check_sources_at_work(databases=["default"])
    assert [message.msg for message in found if "CompositeOrder" in message.msg] == []


def test_what_a_save_of_a_line_does_not_name_is_as_it_was_stored() -> None:
    one, other = make(shapes.ProxyOrder), make(shapes.ProxyOrder)
    line = shapes.CartLine.objects.create(order_id=one.pk, sku="TEA")
    told()
    line.order_id, line.sku = other.pk, "JAM"
    line.save(update_fields=["sku"])
    assert told_orders() == [("order.updated", str(one.pk))]
    line.sku = "not saved"
    line.save(update_fields=["order"])
    assert told() == [
        ("order.updated", {"lines": [[{"id": line.pk, "sku": "JAM"}], []]}),
        ("order.updated", {"lines": [[], [{"id": line.pk, "sku": "JAM"}]]}),
    ]


def test_a_child_that_is_deleted_without_its_parent_is_no_end_of_an_order_of_the_parents_model(settings: Any) -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": ["tests.test_other_order_models.Documents"]}
    signal_handlers.connect()
    order = make(shapes.InvoiceOrder)
    Event.objects.all().delete()
    order.delete(keep_parents=True)
    assert not Event.objects.exists()
    shapes.Document.objects.get().delete()
    make(shapes.InvoiceOrder).delete()
    assert [event.topic for event in Event.objects.order_by("sequence")] == [
        "order.deleted",
        "order.created",
        "order.deleted",
    ]


def test_a_line_without_an_order_is_nobodys_news() -> None:
    order = make(shapes.ProxyOrder)
    told()
    line = shapes.CartLine.objects.create(sku="TEA")
    line.sku = "JAM"
    line.save()
    assert told() == []
    line.order_id = order.pk
    line.save()
    assert told() == [("order.updated", {"lines": [[], [{"id": line.pk, "sku": "JAM"}]]})]
    line.order = None
    line.save()
    assert told() == [("order.updated", {"lines": [[{"id": line.pk, "sku": "JAM"}], []]})]
    line.delete()
    assert told() == []


def test_deleting_an_order_whose_lines_stay_makes_one_event() -> None:
    order = make(shapes.ProxyOrder)
    line = shapes.CartLine.objects.create(order_id=order.pk, sku="TEA")
    told()
    order.delete()
    assert [topic for topic, _changes in told()] == ["order.deleted"]
    line.refresh_from_db()
    assert line.order_id is None


def test_what_the_database_sets_to_null_from_elsewhere_hurts_nobody() -> None:
    customer = shapes.Customer.objects.create(name="Ada")
    order = make(shapes.ManagedOrder, customer=customer)
    told()
    customer.delete()
    order.refresh_from_db()
    order.state = "held"
    order.save()
    assert told() == [("order.updated", {"state": ["open", "held"]})]


def test_a_save_through_the_parent_model_makes_an_event_of_the_child() -> None:
    order = make(shapes.InvoiceOrder, reference="A")
    told()
    parent = shapes.Document.objects.get(pk=order.pk)
    parent.state = "paid"
    parent.save()
    changes = {"state": ["open", "paid"]}
    assert told() == [("order.updated", changes), ("order.paid", changes)]
    line = shapes.DocumentLine.objects.create(document=parent, sku="TEA")
    assert told() == [("order.updated", {"lines": [[], [{"id": line.pk, "sku": "TEA"}]]})]
    parent.delete()
    assert [topic for topic, _changes in told()] == ["order.deleted"]


def test_a_parent_row_that_is_not_an_order_makes_no_event() -> None:
    parent = shapes.Document.objects.create()
    parent.state = "paid"
    parent.save()
    shapes.DocumentLine.objects.create(document=parent, sku="TEA")
    parent.delete()
    assert told() == []


def test_an_order_saved_by_the_model_under_a_proxy_makes_an_event() -> None:
    order = make(shapes.PlainOrder)
    order.state = "paid"
    order.save()
    order.delete()
    assert [topic for topic, _changes in told()] == ["order.created", "order.updated", "order.paid", "order.deleted"]


def test_two_sources_with_equal_keys_are_distinguished() -> None:
    sorted_order, serial_order = make(shapes.SortedOrder), make(shapes.SerialOrder)
    shapes.SerialOrder.objects.filter(pk=serial_order.pk).delete()
    twin = shapes.SerialOrder(pk=sorted_order.pk, state="open")
    twin.save()
    Event.objects.all().delete()
    for order in (sorted_order, twin):
        order.state = "held"
        order.save()
    events = Event.objects.order_by("sequence")
    assert [(event.source, event.order_pk) for event in events] == [
        ("SortedOrder", str(twin.pk)),
        ("SerialOrder", str(twin.pk)),
    ]
