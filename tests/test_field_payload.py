"""Payloads that are made from the model: what receivers get, its schema, and an example, where a source writes none."""

import datetime
import json
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from jsonschema import Draft202012Validator

from orderhooks import catalogue, payloads, signal_handlers, source_trials
from orderhooks.models import Event
from orderhooks.sources import TIMESTAMP, FieldPayload, OrderSource, Related
from tests import test_related_rows
from tests.factories import make_subscription
from tests.publications import payload_of
from tests.shapes import models as shapes
from tests.shapes import sources as shape_sources
from tests.shapes.models import Address, Customer, Parcel, Payment, Purchase, PurchaseLine, Receipt, TypedOrder
from tests.test_catalogue import strict

pytestmark = pytest.mark.django_db(transaction=True)
HERE = __name__
TYPED = {field.name for field in TypedOrder._meta.concrete_fields} - {"id"}


class Watched(OrderSource):
    """Says neither what the payload is nor which fields it has."""

    name = "watched"
    model = "shapes.Purchase"
    watched = ("total",)
    transitions = {"state": {"paid": "order.paid"}}
    related: tuple[Related, ...] = shape_sources.Purchase.related


class Named(Watched):
    """Lists rows that it watches and rows that it does not, and reaches them on all ways."""

    payload_fields = FieldPayload("total", "billing", lines=("sku",), parcels=("tracking", "line"), delivery=("city",))


class Wider(Named):
    def payload(self, order: Any) -> dict[str, Any]:
        return {**super().payload(order), "rows": order.lines.count()}


class Own(Watched):
    def payload(self, order: Any) -> dict[str, Any]:
        return {"own": True}


class Typed(OrderSource):
    name = "typed"
    model = "shapes.TypedOrder"
    watched = tuple(sorted(TYPED))
    transitions = {"state": {"paid": "order.paid"}}


class Reaching(OrderSource):
    """Rows that it does not watch: a single one beside the order, and others by their accessor."""

    name = "reaching"
    model = "shapes.TypedOrder"
    watched = ("state",)
    payload_fields = FieldPayload("state", customer=("name",), slip=("number",))


class Customers(OrderSource):
    name = "customers"
    model = "shapes.Customer"
    watched = ("name",)
    payload_fields = FieldPayload(orders=("state", "rank"))


@pytest.fixture
def use(settings: Any) -> Any:
    def configure(*names: str) -> None:
        paths = [f"{HERE}.{name}" for name in names]
        settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": paths, "TOPICS": shape_sources.TOPICS}
        signal_handlers.connect()
        make_subscription()

    return configure


@pytest.fixture
def purchase() -> Purchase:
    return Purchase.objects.create(
        state="new",
        total="9.9",
        billing=Address.objects.create(city="Rome"),
        delivery=Address.objects.create(city="Oslo"),
    )


def last() -> Any:
    event = Event.objects.latest("sequence")
    assert event.error == ""
    return payload_of(event)["order"]


def fits(source: OrderSource, value: Any) -> None:
    schema = source.schema()
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(strict(schema), format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)


def test_without_a_payload_receivers_get_the_watched_fields(use: Any, purchase: Any) -> None:
    use("Watched")
    with transaction.atomic():
        second = PurchaseLine.objects.create(order=purchase, sku="TEA")
        first = PurchaseLine.objects.create(pk=second.pk + 1, order=purchase, sku="JAM")
        payment = Payment.objects.create(order=purchase, amount=4)
        parcel = Parcel.objects.create(line=first, tracking="X1")
    assert last() == {
        "id": purchase.pk,
        "total": "9.90",
        "state": "new",
        "lines": [{"id": second.pk, "sku": "TEA"}, {"id": first.pk, "sku": "JAM"}],
        "payments": [{"id": str(payment.pk), "amount": "4.00"}],
        "parcels": [{"id": parcel.pk, "tracking": "X1"}],
        "billing": {"id": purchase.billing_id, "city": "Rome"},
        "delivery": {"id": purchase.delivery_id, "city": "Oslo"},
    }
    fits(Watched(), last())
    purchase.delivery = None
    purchase.save()
    assert last()["delivery"] is None
    fits(Watched(), last())
    purchase.delete()
    assert last()["lines"] == [{"id": second.pk, "sku": "TEA"}, {"id": first.pk, "sku": "JAM"}]


def test_named_fields_are_shown_and_no_others(use: Any, purchase: Any) -> None:
    use("Named")
    line = PurchaseLine.objects.create(order=purchase, sku="TEA")
    parcel = Parcel.objects.create(line=line)
    assert last() == {
        "id": purchase.pk,
        "total": "9.90",
        "billing": purchase.billing_id,
        "lines": [{"id": line.pk, "sku": "TEA"}],
        "parcels": [{"id": parcel.pk, "tracking": "", "line": line.pk}],
        "delivery": {"id": purchase.delivery_id, "city": "Oslo"},
    }
    fits(Named(), last())


def test_rows_are_reached_by_the_names_of_the_model_too(use: Any) -> None:
    use("Reaching", "Customers")
    customer = Customer.objects.create(name="Ada")
    assert last() == {"id": customer.pk, "orders": []}
    order = TypedOrder.objects.create(customer=customer)
    assert last() == {
        "id": order.pk,
        "state": "new",
        "customer": {"id": customer.pk, "name": "Ada"},
        "slip": None,
    }
    fits(Reaching(), last())
    slip = Receipt.objects.create(order=order, number="7")
    order.state = "paid"
    order.save()
    assert last()["slip"] == {"id": slip.pk, "number": "7"}
    fits(Reaching(), last())
    customer.name = "Ada B."
    customer.save()
    assert last() == {"id": customer.pk, "orders": [{"id": order.pk, "state": "paid", "rank": 9}]}
    fits(Customers(), last())


def test_a_payload_may_add_to_the_fields(use: Any, purchase: Any) -> None:
    use("Wider")
    PurchaseLine.objects.create(order=purchase, sku="TEA")
    assert (last()["total"], last()["rows"]) == ("9.90", 1)
    assert Wider().schema() == Named().schema()


def test_a_source_that_writes_its_payload_alone_promises_nothing() -> None:
    assert (Own().schema(), Own().example()) == ({"type": "object"}, {})


def test_one_query_reads_the_rows_of_each_name(use: Any, purchase: Any) -> None:
    for number in range(5):
        Parcel.objects.create(line=PurchaseLine.objects.create(order=purchase, sku=str(number)))
        Payment.objects.create(order=purchase, amount=1)
    source = Watched()
    order = source.fetch(str(purchase.pk), using="default")
    with CaptureQueriesContext(connection) as queries:
        shown = source.payload(order)
    assert len(shown["lines"]) == len(shown["parcels"]) == len(shown["payments"]) == 5
    assert len(queries) == len(source.related)


def test_many_deletions_read_the_rows_of_each_name_together(use: Any) -> None:
    use("Watched")

    def delete(number: int) -> int:
        for _ in range(number):
            Purchase.objects.create(billing=Address.objects.create(city="Rome"))
        with CaptureQueriesContext(connection) as queries:
            Purchase.objects.all().delete()
        gone = Event.objects.filter(topic="order.deleted").order_by("-sequence")[:number]
        assert [payload_of(event)["order"]["billing"]["city"] for event in gone] == ["Rome"] * number
        return sum(Address._meta.db_table in query["sql"] and "SELECT" in query["sql"] for query in queries)

    assert delete(1) == delete(8)


@pytest.mark.by_hand
def test_rows_are_shown_as_each_transaction_committed_them(
    use: Any, purchase: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("Watched")

    def pay() -> None:
        Payment.objects.create(order=purchase, amount=1)

    def move() -> None:
        purchase.delivery.city = "Bergen"
        purchase.delivery.save()

    def take_back() -> None:
        Payment.objects.get().delete()

    events = test_related_rows.TestAsCommitted.coalesce_together(monkeypatch, pay, move, take_back)
    orders = [payload_of(event)["order"] for event in events]
    assert [([row["amount"] for row in one["payments"]], one["delivery"]["city"]) for one in orders] == [
        (["1.00"], "Oslo"),
        (["1.00"], "Bergen"),
        ([], "Bergen"),
    ]


def test_a_value_of_each_type_fits_the_schema(use: Any) -> None:
    use("Typed")
    TypedOrder.objects.create()
    assert set(last()) == TYPED | {"id"}
    assert (last()["rate"], last()["discount"], last()["customer"]) == ("0.00000000", None, None)
    fits(Typed(), last())
    shapes.NumberedOrder.objects.create(number="N-1")
    order = TypedOrder.objects.create(
        channel="",
        currency="EU",
        contact="a@example.com",
        discount=Decimal("1.5"),
        rate=Decimal("-0.00000001"),
        due_at=datetime.datetime(2026, 11, 23, 10, tzinfo=datetime.UTC),
        due_on=datetime.date(2026, 11, 23),
        due_by=datetime.time(10, 30),
        takes=datetime.timedelta(days=1),
        tag=uuid.UUID(int=1),
        source_ip="::1",
        receipt="a.pdf",
        raw=b"ab",
        extra={"a": [1]},
        customer=Customer.objects.create(name="Ada"),
        numbered_id="N-1",
    )
    shown = last()
    fits(Typed(), shown)
    assert (shown["discount"], shown["rate"], shown["due_at"]) == ("1.50", "-0.00000001", "2026-11-23T10:00:00.000000Z")
    assert (shown["customer"], shown["numbered"], shown["raw"]) == (order.customer_id, "N-1", "YWI=")


def test_a_schema_shows_of_each_field_what_its_column_holds() -> None:
    properties = Typed().schema()["properties"]
    assert properties["state"] == {"type": "string", "maxLength": 10, "enum": ["new", "paid"]}
    assert properties["channel"] == {
        "type": ["string", "null"],
        "maxLength": 10,
        "enum": ["web", "till", "", None],
    }
    assert properties["rank"] == {"type": "integer", "enum": [1, 9]}
    assert properties["pieces"] == {"type": "integer", "minimum": 0}
    assert properties["contact"] == {"type": ["string", "null"], "maxLength": 254}
    assert properties["due_at"] == {**TIMESTAMP, "type": ["string", "null"]}
    assert properties["due_on"] == {"type": ["string", "null"], "format": "date"}
    assert properties["extra"] == {}
    assert properties["customer"] == {"type": ["integer", "null"]}
    assert properties["numbered"] == {"type": ["string", "null"], "maxLength": 20}
    assert properties["is_gift"] == {"type": "boolean"}
    assert properties["discount"]["type"] == ["string", "null"]
    validator = Draft202012Validator(Typed().schema())
    for name, wrong in {"state": "lost", "rank": 2, "rate": "1E-8", "currency": "EUR", "due_by": "noon"}.items():
        assert not validator.is_valid({**Typed().example(), name: wrong}), name


@pytest.mark.parametrize("source", [Watched, Named, Typed, Reaching, Customers])
def test_an_example_fits_its_schema_and_is_the_same_each_time(source: type[OrderSource]) -> None:
    shown = source().example()
    fits(source(), shown)
    assert json.loads(json.dumps(shown)) == shown == source().example()
    assert all(isinstance(name, str) for name in shown)


def test_an_example_looks_like_an_order() -> None:
    shown = Typed().example()
    assert {name: shown[name] for name in ("state", "rank", "currency", "contact", "discount", "rate")} == {
        "state": "new",
        "rank": 9,
        "currency": "EU",
        "contact": "text",
        "discount": "19.90",
        "rate": "0.00000000",
    }
    assert Watched().example()["lines"] == [{"id": 1, "sku": "TEA-1"}]
    assert Watched().example()["delivery"] == {"id": 1, "city": "London"}


@pytest.mark.parametrize("shape", shape_sources.ALL, ids=lambda shape: shape.name)
def test_an_order_of_any_shape_fits_what_is_made_of_its_model(shape: Any, settings: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(shape, "payload", OrderSource.payload)
    path = f"{shape_sources.__name__}.{shape.__name__}"
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [path], "TOPICS": shape_sources.TOPICS}
    signal_handlers.connect()
    make_subscription()
    source = shape()
    keys: dict[str, dict[str, Any]] = {"CompositeOrder": {"tenant": "t", "number": 1}, "TextOrder": {"code": "c"}}
    order = source.get_model()._base_manager.create(state="paid", **keys.get(shape.name, {}))
    assert last()["state"] == "paid"
    for event in Event.objects.all():
        fits(source, payload_of(event)["order"])
    fits(source, source.example())
    if shape.name == "PricedOrder":
        assert (last()["total"], last()["total_currency"]) == ("0.00", "EUR")
    assert source_trials.static_faults() == []
    assert [fault for fault in source_trials.live_faults() if fault.check_id != "W047"] == []
    entries = {entry.name: entry for entry in catalogue.entries()}
    for entry in entries.values():
        Draft202012Validator(entry.schema).validate(entry.example)
    Draft202012Validator(entries["order.paid"].schema).validate(
        json.loads(payloads.encode(payloads.envelope(Event.objects.latest("pk"))))
    )
    order.delete()
    fits(source, last())


class NoColumn(Watched):
    payload_fields = FieldPayload("totl")


class NoRows(Watched):
    payload_fields = FieldPayload(line=("sku",))


class NoColumnOfRows(Watched):
    payload_fields = FieldPayload(lines=("skoo",))


class NoFieldPayload(Watched):
    payload_fields = ("total",)  # type: ignore[assignment]


class Nothing(OrderSource):
    name = "nothing"
    model = "shapes.Purchase"


@pytest.mark.parametrize(
    ("name", "text", "remedy"),
    [
        ("NoColumn", "shapes.Purchase has no column 'totl'.", "Did you mean 'total'?"),
        ("NoColumnOfRows", "shapes.PurchaseLine has no column 'skoo'.", "id, order, sku"),
        ("NoRows", "reaches no rows by 'line'. Name one of: lines, payments, parcels, billing", "Use a key of"),
        ("NoFieldPayload", "`payload_fields` is ('total',).", "FieldPayload("),
        ("Nothing", "It watches no field", "payload_fields = FieldPayload("),
    ],
)
def test_what_can_not_be_shown_is_found_at_start(use: Any, name: str, text: str, remedy: str) -> None:
    use(name)
    [fault] = source_trials.static_faults()
    assert (fault.check_id, text in fault.text, remedy in fault.remedy) == ("E043", True, True), fault


def test_what_is_no_tuple_or_named_twice_is_refused_where_it_is_written() -> None:
    with pytest.raises(TypeError, match=r'Write lines=\("sku",\)'):
        FieldPayload("total", lines="sku")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Remove one"):
        FieldPayload("billing", billing=("city",))
