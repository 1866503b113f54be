"""Orders in the API: one request, one transaction; what is refused and where."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from orderhooks.api.order_fields import OrderSerializer
from orderhooks.models import Event, Order, OrderLine
from tests.api.calls import EVERYTHING, client_with, errors_of, patch, post
from tests.factories import make_order, make_subscription
from tests.publications import payload_of

pytestmark = pytest.mark.django_db


LINE = {"sku": "TEA-1", "name": "Green tea", "quantity": 2, "unit_price": "9.95"}


def test_an_order_and_its_lines_are_made_by_one_request(api):
    response = post(
        api,
        "/orders/",
        {"shipping": "4.90", "metadata": {"gift": True}, "lines": [LINE, {**LINE, "sku": "TEA-2", "quantity": 1}]},
    )
    assert response.status_code == 201
    assert response.data["public_id"].startswith("ord_")
    assert response.data["number"] != ""
    assert (response.data["subtotal"], response.data["total"]) == ("29.85", "34.75")
    assert [line["unit_price"] for line in response.data["lines"]] == ["9.95", "9.95"]
    assert response.data["metadata"] == {"gift": True}
    assert response.data["created_at"].endswith("Z")
    assert "id" not in response.data
    assert [line["id"] for line in response.data["lines"]] == list(OrderLine.objects.values_list("pk", flat=True))
    assert [response.data[name] for name in ("fulfillments", "payments", "refunds")] == [[], [], []]


def test_amounts_that_are_given_are_kept(api):
    response = post(api, "/orders/", {"subtotal": "5", "total": "7.50", "lines": [LINE]})
    assert (response.data["subtotal"], response.data["total"]) == ("5.00", "7.50")


def test_a_total_follows_a_given_subtotal(api):
    response = post(api, "/orders/", {"subtotal": "100", "discount": "10", "tax": "1"})
    assert response.data["total"] == "91.00"


def test_a_discount_above_everything_leaves_a_total_of_nothing(api):
    assert post(api, "/orders/", {"discount": "1000", "lines": [LINE]}).data["total"] == "0.00"


def test_amounts_have_the_decimals_of_their_currency(api):
    response = post(api, "/orders/", {"currency": "JPY", "lines": [{**LINE, "unit_price": "1990"}]})
    assert response.data["total"] == "3980"
    assert response.data["lines"][0]["unit_price"] == "1990"


def test_a_changed_shipping_is_in_the_total(api):
    order = make_order(subtotal="19.90", total="19.90")
    response = patch(api, f"/orders/{order.public_id}/", {"shipping": "5"})
    assert (response.data["subtotal"], response.data["total"]) == ("19.90", "24.90")


def test_a_patch_of_something_else_leaves_lines_and_amounts_alone(api):
    order = make_order(subtotal="1", total="3")
    response = patch(api, f"/orders/{order.public_id}/", {"note": "Ring twice"})
    assert (response.data["subtotal"], response.data["total"], response.data["note"]) == ("1.00", "3.00", "Ring twice")
    assert len(response.data["lines"]) == 1


def test_lines_in_a_patch_replace_update_and_add(api):
    order = make_order(lines=[{"sku": "A", "fulfilled_quantity": 1}, {"sku": "B"}])
    kept = order.lines.get(sku="A")
    response = patch(
        api,
        f"/orders/{order.public_id}/",
        {"lines": [{"sku": "A", "quantity": 5}, {"sku": "C", "name": "Cup", "unit_price": "1"}]},
    )
    assert response.status_code == 200, response.data
    assert [(one["sku"], one["name"], one["quantity"]) for one in response.data["lines"]] == [
        ("A", "Green tea", 5),
        ("C", "Cup", 1),
    ]
    kept.refresh_from_db()
    assert (kept.quantity, kept.fulfilled_quantity) == (5, 1)
    assert response.data["subtotal"] == "50.75"


def test_two_lines_of_one_sku_stay_two(api):
    order = make_order(lines=[{"sku": "A"}, {"sku": "A", "quantity": 3}])
    lines = [{"sku": "A", "quantity": 4}, {"sku": "A", "quantity": 6}]
    response = patch(api, f"/orders/{order.public_id}/", {"lines": lines})
    assert [line["quantity"] for line in response.data["lines"]] == [4, 6]


def test_an_empty_list_removes_the_lines(api):
    order = make_order()
    response = patch(api, f"/orders/{order.public_id}/", {"lines": []})
    assert (response.data["lines"], response.data["subtotal"]) == ([], "0.00")


@pytest.mark.django_db(transaction=True)
def test_a_request_publishes_once():
    make_subscription()
    api = client_with(*EVERYTHING)
    created = post(api, "/orders/", {"lines": [LINE, {**LINE, "sku": "B"}], "metadata": {"gift": "yes"}})
    assert [event.topic for event in Event.objects.all()] == ["order.created"]
    told = payload_of(Event.objects.get())["order"]
    assert (told["metadata"], told["total"], len(told["lines"])) == ({"gift": "yes"}, "39.80", 2)

    path = f"/orders/{created.data['public_id']}/"
    patch(api, path, {"note": "x", "lines": [{"sku": "B", "quantity": 9}]})
    assert Event.objects.filter(topic="order.updated").count() == 1
    assert Event.objects.count() == 2
    patch(api, path, {"note": "x", "lines": [{"sku": "B", "quantity": 9}]})
    assert Event.objects.count() == 2
    api.delete(f"/api{path}")
    assert Event.objects.latest("sequence").topic == "order.deleted"


def test_what_the_server_keeps_is_not_taken_from_a_client(api):
    kept = {"public_id": "ord_" + "0" * 26, "created_at": "2001-01-01T00:00:00Z"}
    response = post(api, "/orders/", {**kept, "note": "x"})
    assert response.status_code == 201
    assert response.data["public_id"] != kept["public_id"]
    assert not response.data["created_at"].startswith("2001")


def test_a_number_may_be_used_again_in_another_store(api):
    make_order(number="7")
    assert post(api, "/orders/", {"number": "7", "store": "berlin"}).status_code == 201


def test_an_order_may_keep_its_own_number(api):
    order = make_order(number="7")
    assert patch(api, f"/orders/{order.public_id}/", {"number": "7"}).status_code == 200


DEEP: dict[str, Any] = {}
for _level in range(200):
    DEEP = {"a": DEEP}

# Body, the path to the error, a piece of it. What is of no right form: 400.
UNFIT_ORDERS = [
    ({"status": "paid"}, ["status"], "open, cancelled, closed"),
    ({"payment_status": "open"}, ["payment_status"], "pending"),
    ({"fulfillment_status": 3}, ["fulfillment_status"], "unfulfilled"),
    ({"currency": "EURO"}, ["currency"], "3 characters"),
    ({"number": "7" * 256}, ["number"], "255"),
    ({"number": "7\x008"}, ["number"], "NUL"),
    ({"metadata": {"a": "\x00"}}, ["metadata", "a"], "NUL"),
    ({"metadata": {"a\x00": 1}}, ["metadata"], "NUL"),
    ({"metadata": {"a": "\ud800"}}, ["metadata", "a"], "surrogate"),
    ({"number": None}, ["number"], "null"),
    ({"customer_name": "x" * 201}, ["customer_name"], "200"),
    ({"note": "a\x00b"}, ["note"], "NUL"),
    ({"note": "\ud800"}, ["note"], "surrogate"),
    ({"note": {"a": 1}}, ["note"], "valid string"),
    ({"total": "-1"}, ["total"], "greater than or equal to 0"),
    ({"total": "1e300"}, ["total"], "digits"),
    ({"total": "NaN"}, ["total"], "valid number"),
    ({"total": "sNaN"}, ["total"], "valid number"),
    ({"total": "-Infinity"}, ["total"], "valid number"),
    ({"total": "1e999999"}, ["total"], "16 digits"),
    ({"total": "Infinity"}, ["total"], "valid number"),
    ({"total": 10**40}, ["total"], "as text"),
    ({"tax": "0.00001"}, ["tax"], "decimal places"),
    ({"tax": None}, ["tax"], "null"),
    ({"placed_at": "yesterday"}, ["placed_at"], "such as"),
    ({"is_test": "perhaps"}, ["is_test"], "boolean"),
    ({"metadata": [1]}, ["metadata"], "object"),
    ({"metadata": None}, ["metadata"], "null"),
    ({"billing_address": "Main Street"}, ["billing_address"], "object"),
    ({"lines": {}}, ["lines"], "list"),
    ({"lines": "x"}, ["lines"], "list"),
    ({"lines": [1]}, ["lines", 0], "dictionary"),
    ({"lines": [{**LINE, "quantity": -1}]}, ["lines", 0, "quantity"], "greater than or equal to 1"),
    ({"lines": [LINE, {**LINE, "quantity": 0}]}, ["lines", 1, "quantity"], "greater than or equal to 1"),
    ({"lines": [{**LINE, "quantity": 10**12}]}, ["lines", 0, "quantity"], "less than or equal to"),
    ({"lines": [{**LINE, "quantity": 10**400}]}, ["lines", 0, "quantity"], "less than or equal to"),
    ({"lines": [{**LINE, "quantity": "two"}]}, ["lines", 0, "quantity"], "integer"),
    ({"lines": [{**LINE, "fulfilled_quantity": -1}]}, ["lines", 0, "fulfilled_quantity"], "greater than"),
    ({"lines": [{**LINE, "unit_price": "-0.01"}]}, ["lines", 0, "unit_price"], "greater than"),
    ({"lines": [{**LINE, "sku": "x" * 101}]}, ["lines", 0, "sku"], "100"),
    ({"lines": [{"sku": "A"}]}, ["lines", 0, "name"], "required"),
    ({"lines": [{"name": "A"}]}, ["lines", 0, "sku"], "required"),
    ({"lines": [LINE] * 1001}, ["lines"], "1000"),
    ([], [], "dictionary"),
    ({"total": 5}, ["total"], "as text"),
    ({"total": "+5"}, ["total"], "as text"),
    ({"total": "1e2"}, ["total"], "as text"),
    ({"note": 5}, ["note"], "valid string"),
    ({"is_test": 1}, ["is_test"], "boolean"),
    ({"is_test": "true"}, ["is_test"], "boolean"),
    ({"status": True}, ["status"], "open"),
    ({"placed_at": "2026-11-24T06:00:00"}, ["placed_at"], "such as"),
    ({"placed_at": "2026-11-24"}, ["placed_at"], "such as"),
    ({"placed_at": 5}, ["placed_at"], "such as"),
    ({"lines": [{**LINE, "quantity": "2"}]}, ["lines", 0, "quantity"], "integer"),
    ({"lines": [{**LINE, "quantity": True}]}, ["lines", 0, "quantity"], "integer"),
    ({"lines": [{**LINE, "quantity": 1.5}]}, ["lines", 0, "quantity"], "integer"),
    ({"lines": [{**LINE, "sku": 5}]}, ["lines", 0, "sku"], "valid string"),
]
# What is, and is refused for what it says: 422.
REFUSED_ORDERS = [
    ({"currency": "eur"}, ["currency"], "ISO 4217"),
    ({"currency": "XXX"}, ["currency"], "ISO 4217"),
    ({"number": "7"}, ["number"], "Send another"),
    ({"customer_email": "nobody"}, ["customer_email"], "valid email"),
    ({"placed_at": "0001-01-01T00:00:00+14:00"}, ["placed_at"], "out of range"),
    ({"metadata": DEEP}, ["metadata"], "at most"),
    ({"lines": [{**LINE, "fulfilled_quantity": 3}]}, ["lines", 0, "fulfilled_quantity"], "at most the quantity, 2"),
    ({"lines": [{**LINE, "quantity": 2**31 - 1, "unit_price": "99999999999"}]}, ["subtotal"], "Lower"),
    ({"subtotal": "99999999999", "tax": "99999999999"}, ["total"], "Lower"),
    ({"placed_at": "2026-13-24T06:00:00Z"}, ["placed_at"], "out of range"),
    ({"lines": [{**LINE, "name": " \n"}]}, ["lines", 0, "name"], "white space"),
]


@pytest.mark.parametrize(
    ("status", "body", "where", "piece"),
    [*((400, *row) for row in UNFIT_ORDERS), *((422, *row) for row in REFUSED_ORDERS)],
)
def test_a_bad_order_is_refused_at_its_field_and_nothing_is_written(api, status, body, where, piece):
    make_order(number="7", lines=[])
    response = api.post("/api/orders/", json.dumps(body), content_type="application/json")
    assert response.status_code == status, response.data
    assert piece in errors_of(response)["".join(f"/{step}" for step in where)]
    assert (Order.objects.count(), OrderLine.objects.count()) == (1, 0)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"number": ""}, "number"),
        ({"number": "7"}, "number"),
        ({"note": "half", "lines": [{"sku": "NEW"}]}, "lines"),
        ({"note": "half", "lines": [{"quantity": 3}]}, "lines"),
        ({"note": "half", "lines": [{"sku": "TEA-1", "quantity": 1}]}, "lines"),
        ({"note": "half", "lines": [{"sku": "TEA-1", "fulfilled_quantity": 3}]}, "lines"),
    ],
)
def test_a_bad_patch_changes_nothing(api, body, where):
    make_order(number="7", lines=[])
    order = make_order(number="8", lines=[{"fulfilled_quantity": 2}])
    response = patch(api, f"/orders/{order.public_id}/", body)
    assert response.status_code == 422
    assert any(place.startswith(f"/{where}") for place in errors_of(response))
    order.refresh_from_db()
    line = order.lines.get()
    assert (order.number, order.note, line.quantity, line.fulfilled_quantity) == ("8", "", 2, 2)


def test_a_number_taken_between_look_and_save_is_refused(api, monkeypatch):
    make_order(number="7", lines=[])
    # The look before the save comes too early to see the other order, as in a race.
    monkeypatch.setattr(OrderSerializer, "_require_free_number", lambda self, attrs: None)
    response = post(api, "/orders/", {"number": "7", "lines": [LINE]})
    assert response.status_code == 422
    assert "/number" in errors_of(response)
    assert OrderLine.objects.count() == 0


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"note": NaN}',
        b'{"metadata": {"a": NaN}}',
        b"\xff\xfe",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" * 100_000,
        b'{"total": ' + b"9" * 10_000 + b"}",
    ],
)
def test_a_body_that_is_no_json_is_a_400(api, body):
    response = api.post("/api/orders/", body, content_type="application/json")
    assert response.status_code == 400
    assert not Order.objects.exists()


def test_an_infinite_number_in_the_metadata_is_refused(api):
    response = api.post("/api/orders/", b'{"metadata": {"a": 1e999}}', content_type="application/json")
    assert response.status_code == 422
    assert "infinite" in errors_of(response)["/metadata"]


def test_text_that_spells_out_a_nul_escape_is_no_nul(api):
    response = post(api, "/orders/", {"note": r"\u0000"})
    assert response.data["note"] == r"\u0000"


def test_a_form_is_not_read_as_an_order(api):
    response = api.post("/api/orders/", {"note": "x"}, format="multipart")
    assert response.status_code == 415


def test_a_patch_locks_the_order_that_it_reads(api):
    if not connection.features.has_select_for_update:
        pytest.skip("this database locks no rows; run with TEST_DATABASE=postgres")
    order = make_order()
    with CaptureQueriesContext(connection) as captured:
        patch(api, f"/orders/{order.public_id}/", {"note": "x"})
    table = connection.ops.quote_name("orderhooks_order")
    first = next(query["sql"] for query in captured if f"FROM {table}" in query["sql"])
    assert "FOR UPDATE" in first


def test_metadata_that_spells_out_a_nul_escape_is_no_nul(api):
    response = post(api, "/orders/", {"metadata": {"pattern": r"\u0000"}})
    assert response.status_code == 201, response.data
