"""Orders in the admin: one page, one event; bad fields are named."""

from typing import Any

import pytest

from orderhooks.models import Event, Order
from tests.admin.visits import errors_of
from tests.factories import (
    make_order,
    make_subscription,
)
from tests.publications import payload_of

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


OTHER_TABLES = ("fulfillments", "payments", "refunds")


def order_form(order: Order | None = None, lines: list[dict[str, Any]] | None = None, **fields: Any) -> dict[str, Any]:
    """The order page as a browser would send it."""
    lines = [] if lines is None else lines
    had = list(order.lines.all()) if order else []
    form: dict[str, Any] = {
        "number": order.number if order else "",
        "store": "",
        "status": "open",
        "payment_status": "pending",
        "fulfillment_status": "unfulfilled",
        "currency": "EUR",
        **dict.fromkeys(("subtotal", "discount", "shipping", "tax", "total"), "0"),
        **dict.fromkeys(("billing_address", "shipping_address", "metadata"), "{}"),
        "customer_name": "",
        "customer_email": "",
        "customer_phone": "",
        "note": "",
        "placed_at_0": order.placed_at.date().isoformat() if order else "2026-11-23",
        "placed_at_1": order.placed_at.time().isoformat() if order else "10:00:00",
        **dict.fromkeys((f"{table}-{kind}_FORMS" for table in OTHER_TABLES for kind in ("TOTAL", "INITIAL")), "0"),
        "lines-TOTAL_FORMS": str(len(lines)),
        "lines-INITIAL_FORMS": str(len(had)),
        **fields,
    }
    for index, line in enumerate(lines):
        row = {"sku": "TEA-1", "name": "Green tea", "quantity": 2, "fulfilled_quantity": 0, "unit_price": "9.95"}
        for name, value in {**row, **line}.items():
            form[f"lines-{index}-{name}"] = value
        form[f"lines-{index}-id"] = had[index].pk if index < len(had) else ""
    return form


@pytest.mark.django_db(transaction=True)
def test_editing_an_order_and_its_lines_publishes_one_event(operator):
    order = make_order(lines=[{"sku": "A"}, {"sku": "B"}])
    make_subscription()
    form = order_form(order, [{"sku": "A", "quantity": 5}, {"sku": "B", "quantity": 6}, {"sku": "C"}], note="Ring")
    response = operator.post(f"/admin/orderhooks/order/{order.pk}/change/", form)
    assert response.status_code == 302, response.context["errors"]
    event = Event.objects.get()
    assert event.topic == "order.updated"
    assert payload_of(event)["order"]["note"] == "Ring"
    assert [line["quantity"] for line in payload_of(event)["order"]["lines"]] == [5, 6, 2]


def test_before_an_order_is_saved_its_page_shows_no_public_id(operator):
    page = operator.get("/admin/orderhooks/order/add/").content.decode()
    assert ("ord_" in page, "Record" in page) == (False, False)
    order = make_order()
    assert order.public_id in operator.get(f"/admin/orderhooks/order/{order.pk}/change/").content.decode()


@pytest.mark.django_db(transaction=True)
def test_adding_an_order_without_a_number_makes_one_and_publishes_it(operator):
    make_subscription()
    response = operator.post("/admin/orderhooks/order/add/", order_form(lines=[{"sku": "A"}]))
    assert response.status_code == 302, response.context["errors"]
    assert Order.objects.get().number
    event = Event.objects.get()
    assert (event.topic, len(payload_of(event)["order"]["lines"])) == ("order.created", 1)


REFUSED = [
    ({"number": "7"}, [], "number"),
    ({"placed_at_0": "9999-12-31"}, [], "placed_at"),
    ({"placed_at_0": "0001-01-01"}, [], "placed_at"),
    ({"currency": "eur"}, [], "currency"),
    ({"total": "-1"}, [], "total"),
    ({"metadata": '{"a": NaN}'}, [], "metadata"),
    ({"metadata": '{"a": "\\u0000"}'}, [], "metadata"),
    ({"metadata": "{"}, [], "metadata"),
    ({"billing_address": "[1]"}, [], "billing_address"),
    ({"note": "a\x00b"}, [], "note"),
    ({}, [{"quantity": 0}], "0.quantity"),
    ({}, [{"fulfilled_quantity": 3}], "0.fulfilled_quantity"),
    ({}, [{"unit_price": "-1"}], "0.unit_price"),
]


@pytest.mark.parametrize(("fields", "lines", "where"), REFUSED)
def test_a_bad_order_is_refused_at_its_field(operator, fields, lines, where):
    make_order(number="7", lines=[])
    assert list(errors_of(operator, "order/add/", order_form(lines=lines, **fields))) == [where]
    assert Order.objects.count() == 1


def test_an_order_that_exists_keeps_a_number(operator):
    order = make_order(number="7", lines=[])
    form = order_form(order, number="")
    assert list(errors_of(operator, f"order/{order.pk}/change/", form)) == ["number"]


def test_an_emptied_json_field_is_an_empty_object(operator):
    order = make_order(metadata={"a": 1}, lines=[])
    operator.post(f"/admin/orderhooks/order/{order.pk}/change/", order_form(order, metadata=""))
    order.refresh_from_db()
    assert order.metadata == {}


@pytest.mark.django_db
@pytest.mark.parametrize("amount", ["sNaN", "-sNaN12", "NaN", "Infinity", "1e999999", "12..5"])
@pytest.mark.parametrize("place", ["total", "unit_price"])
def test_an_amount_that_is_no_number_is_an_error_of_the_form(operator, place: str, amount: str) -> None:
    order = make_order(lines=[{"sku": "A"}])
    lines = [{"sku": "A", **({"unit_price": amount} if place == "unit_price" else {})}]
    form = order_form(order, lines, **({"total": amount} if place == "total" else {}))
    for address in (f"/admin/orderhooks/order/{order.pk}/change/", "/admin/orderhooks/order/add/"):
        response = operator.post(address, form)
        assert response.status_code == 200
        assert "Please correct the error" in response.content.decode()
