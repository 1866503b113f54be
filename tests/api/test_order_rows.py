"""An order's fulfillments, payments and refunds in the API: what is written, published and refused."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from orderhooks.models import Event, Fulfillment, Order, Payment, Refund
from tests.admin.visits import history_of
from tests.api.calls import EVERYTHING, client_with, errors_of, patch, post
from tests.factories import make_fulfillment, make_order, make_payment, make_refund, make_subscription
from tests.publications import payload_of

pytestmark = pytest.mark.django_db

AT = "2026-11-24T06:00:00Z"
ROWS = (Fulfillment, Payment, Refund)


@pytest.fixture
def order() -> Order:
    return make_order([{"sku": "A", "quantity": 2}, {"sku": "B", "quantity": 1}])


def path_of(order: Order, rows: str) -> str:
    return f"/orders/{order.public_id}/{rows}/"


def line_ids(order: Order) -> list[int]:
    return list(order.lines.order_by("pk").values_list("pk", flat=True))


@pytest.mark.django_db(transaction=True)
def test_each_request_is_one_change_of_the_order(order: Order) -> None:
    make_subscription()
    api = client_with(*EVERYTHING)
    line, other = line_ids(order)
    sent = {
        "carrier": "DHL",
        "tracking_number": "X1",
        "tracking_url": "https://example.com/X1",
        "shipped_at": AT,
        "lines": [{"line": line, "quantity": 1}, {"line": other, "quantity": 1}],
    }
    made = post(api, path_of(order, "fulfillments"), sent)
    assert made.status_code == 201, made.data
    assert {name: made.data[name] for name in sent if name != "lines"} == {
        name: value for name, value in sent.items() if name != "lines"
    }
    assert [(row["line"], row["quantity"]) for row in made.data["lines"]] == [(line, 1), (other, 1)]
    address = f"{path_of(order, 'fulfillments')}{made.data['id']}/"
    assert patch(api, address, {"delivered_at": AT}).data["delivered_at"] == AT
    paid = post(api, path_of(order, "payments"), {"amount": "24.80", "method": "card", "reference": "ch_1"})
    assert (paid.status_code, paid.data["amount"]) == (201, "24.80")
    assert paid.data["received_at"].endswith("Z")
    sent = {"amount": "4.9", "reason": "late", "refunded_at": AT}
    refunded = post(api, path_of(order, "refunds"), sent)
    assert (refunded.data["amount"], refunded.data["reason"], refunded.data["refunded_at"]) == ("4.90", "late", AT)

    assert list(Event.objects.order_by("sequence").values_list("topic", flat=True)) == [
        "order.updated",
        "order.fulfillment_created",
        "order.updated",
        "order.fulfillment_updated",
        "order.updated",
        "order.payment_created",
        "order.updated",
        "order.refund_created",
    ]
    read = api.get(f"/api/orders/{order.public_id}/").data
    told = payload_of(Event.objects.latest("sequence"))["order"]
    for rows in ("fulfillments", "payments", "refunds"):
        assert [row["id"] for row in read[rows]] == [row["id"] for row in told[rows]]
        assert api.get(f"/api{path_of(order, rows)}").data["results"] == read[rows]
    assert [text for _user, text in history_of(order)] == [
        f"By the API: Added the fulfillment {made.data['id']}.",
        f"By the API: Changed delivered_at of the fulfillment {made.data['id']}.",
        f"By the API: Added the payment {paid.data['id']}.",
        f"By the API: Added the refund {refunded.data['id']}.",
    ]


def test_lines_in_a_patch_replace_the_others_and_keep_their_ids(api, order: Order) -> None:
    fulfillment = make_fulfillment(order, quantity=1)
    line, other = line_ids(order)
    kept = fulfillment.lines.get(line=line)
    address = f"{path_of(order, 'fulfillments')}{fulfillment.pk}/"
    response = patch(api, address, {"lines": [{"line": line, "quantity": 2}]})
    assert response.data["lines"] == [{"id": kept.pk, "line": line, "quantity": 2}]
    response = patch(api, address, {"carrier": "UPS"})
    assert (response.data["carrier"], len(response.data["lines"])) == ("UPS", 1)
    # What was read may be sent back, with what only the server writes.
    sent = {**response.data, "lines": [*response.data["lines"], {"line": other, "quantity": 1}]}
    assert [row["line"] for row in patch(api, address, sent).data["lines"]] == [line, other]
    assert patch(api, address, {"lines": []}).data["lines"] == []


def test_a_time_is_emptied_by_null(api, order: Order) -> None:
    fulfillment = make_fulfillment(order, shipped_at="2026-11-24T06:00:00Z")
    address = f"{path_of(order, 'fulfillments')}{fulfillment.pk}/"
    assert patch(api, address, {"shipped_at": None}).data["shipped_at"] is None


# The rows, the body, where the error is, a piece of it, and the status.
REFUSED: list[tuple[str, Any, str, str, int]] = [
    ("payments", {}, "/amount", "required", 400),
    ("payments", {"amount": 5}, "/amount", "as text", 400),
    ("payments", {"amount": "-1"}, "/amount", "greater than or equal to 0", 400),
    ("payments", {"amount": "0"}, "/amount", "above zero", 422),
    ("payments", {"amount": "1", "order": "x"}, "/order", "Unknown member", 400),
    ("payments", {"amount": "1", "received_at": None}, "/received_at", "null", 400),
    ("refunds", {"amount": "0.0000"}, "/amount", "above zero", 422),
    ("refunds", {"amount": "1", "reason": "a\x00b"}, "/reason", "NUL", 400),
    ("refunds", {"amount": "1", "refunded_at": "yesterday"}, "/refunded_at", "such as", 400),
    ("fulfillments", {"carrier": 5}, "/carrier", "valid string", 400),
    ("fulfillments", {"tracking_url": "javascript:alert(1)"}, "/tracking_url", "valid URL", 422),
    ("fulfillments", {"tracking_url": "https://example.com/" + "x" * 500}, "/tracking_url", "500", 400),
    ("fulfillments", {"lines": {}}, "/lines", "list", 400),
    ("fulfillments", {"lines": [{"line": 0, "quantity": 1}]}, "/lines/0/line", "greater than or equal to 1", 400),
    ("fulfillments", {"lines": [{"line": 2**63, "quantity": 1}]}, "/lines/0/line", "less than or equal to", 400),
    ("fulfillments", {"lines": [{"line": "{line}", "quantity": 1}]}, "/lines/0/line", "integer", 400),
    ("fulfillments", {"lines": [{"quantity": 1}]}, "/lines/0/line", "required", 400),
    ("fulfillments", {"lines": [{"line": "LINE"}]}, "/lines/0/quantity", "required", 400),
    ("fulfillments", {"lines": [{"line": "LINE", "quantity": 0}]}, "/lines/0/quantity", "equal to 1", 400),
    ("fulfillments", {"lines": [{"line": "LINE", "quantity": 3}]}, "/lines/0/quantity", "At most 2 were ordered", 422),
    ("fulfillments", {"lines": [{"line": 2**63 - 1, "quantity": 1}]}, "/lines/0/line", "no line with this id", 422),
    ("fulfillments", {"lines": [{"line": "OTHER", "quantity": 1}]}, "/lines/0/line", "no line with this id", 422),
    ("fulfillments", {"lines": [{"line": "LINE", "quantity": 1}] * 2}, "/lines/1/line", "sent twice", 422),
]


@pytest.mark.parametrize(("rows", "body", "where", "piece", "status"), REFUSED)
def test_a_bad_row_is_refused_at_its_field_and_nothing_is_written(
    api, order: Order, rows: str, body: Any, where: str, piece: str, status: int
) -> None:
    other = make_order()
    known = {"LINE": line_ids(order)[0], "OTHER": line_ids(other)[0]}
    if isinstance(body.get("lines"), list):
        lines = [{name: known.get(str(value), value) for name, value in line.items()} for line in body["lines"]]
        body = {**body, "lines": lines}
    response = post(api, path_of(order, rows), body)
    assert response.status_code == status, response.data
    assert piece in errors_of(response)[where]
    assert not any(model.objects.exists() for model in ROWS)


@pytest.mark.parametrize("line", [{"quantity": 1}, {"line": 1}])
def test_a_line_in_a_patch_is_whole_too(api, order: Order, line: dict[str, int]) -> None:
    fulfillment = make_fulfillment(order)
    response = patch(api, f"{path_of(order, 'fulfillments')}{fulfillment.pk}/", {"carrier": "UPS", "lines": [line]})
    assert (response.status_code, "required" in str(errors_of(response))) == (422, True)
    fulfillment.refresh_from_db()
    assert (fulfillment.carrier, fulfillment.lines.count()) == ("DHL", 2)


@pytest.mark.parametrize("key", ["0", "x", "9" * 18, "9" * 40, "-1", "٣"])
def test_a_fulfillment_of_another_order_or_of_none_is_a_404(api, order: Order, key: str) -> None:
    other = make_fulfillment()
    for one in (key, str(other.pk)):
        response = patch(api, f"{path_of(order, 'fulfillments')}{one}/", {"carrier": "UPS"})
        assert response.status_code == 404
    other.refresh_from_db()
    assert other.carrier == "DHL"


def test_a_request_that_is_repeated_with_its_key_adds_once(api, order: Order) -> None:
    for _ in range(2):
        response = api.post(
            f"/api{path_of(order, 'payments')}", {"amount": "5"}, format="json", headers={"Idempotency-Key": "one"}
        )
        assert response.status_code == 201
    assert Payment.objects.count() == 1


def test_lists_come_in_pages_newest_first(api, order: Order) -> None:
    payments = [make_payment(order).pk for _ in range(3)]
    make_payment()
    address = f"/api{path_of(order, 'payments')}"
    assert [row["id"] for row in api.get(address).data["results"]] == payments[::-1]
    page = api.get(f"{address}?ordering=id&page_size=2").data
    assert [row["id"] for row in page["results"]] == payments[:2]
    assert [row["id"] for row in api.get(page["next"]).data["results"]] == payments[2:]
    assert list(errors_of(api.get(f"{address}?amount=5"))) == ["?amount"]


def test_a_payment_changes_the_etag_of_its_order(api, order: Order) -> None:
    before = api.get(f"/api/orders/{order.public_id}/")["ETag"]
    make_refund(order)
    response = api.patch(f"/api/orders/{order.public_id}/", {"note": "x"}, format="json", headers={"If-Match": before})
    assert response.status_code == 412


def test_an_order_shows_its_rows_and_takes_none_in_its_own_body(api, order: Order) -> None:
    make_payment(order)
    address = f"/orders/{order.public_id}/"
    read = api.get(f"/api{address}").data
    response = patch(api, address, {**read, "note": "x", "payments": []})
    assert response.status_code == 200, response.data
    assert response.data["payments"] == read["payments"] != []


def test_a_page_of_orders_costs_no_query_for_each(api) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            api.get("/api/orders/")
        return len(captured)

    def make() -> None:
        order = make_order()
        make_fulfillment(order)
        make_payment(order)
        make_refund(order)

    make()
    one = queries()
    for _ in range(3):
        make()
    assert queries() == one


def test_an_order_is_locked_while_something_is_added_to_it(api, order: Order) -> None:
    if not connection.features.has_select_for_update:
        pytest.skip("this database locks no rows; run with TEST_DATABASE=postgres")
    for rows, body in (("payments", {"amount": "1"}), ("refunds", {"amount": "1"}), ("fulfillments", {})):
        with CaptureQueriesContext(connection) as captured:
            post(api, path_of(order, rows), body)
        assert any("FOR UPDATE" in query["sql"] and "orderhooks_order" in query["sql"] for query in captured), rows


@pytest.mark.parametrize("at", ["9999-12-31T23:30:00Z", "0001-01-01T00:30:00Z"])
def test_times_at_the_ends_of_the_calendar_are_refused(order: Order, at: str) -> None:
    api = client_with(*EVERYTHING)
    sent = {"amount": "1.00", "method": "card", "received_at": at}
    refused = api.post(f"/api{path_of(order, 'payments')}", sent, format="json")
    assert refused.status_code == 422
    assert not order.payments.exists()


def test_an_amount_of_more_digits_than_each_database_keeps_is_refused(order: Order) -> None:
    api = client_with(*EVERYTHING)
    refused = api.post(f"/api{path_of(order, 'payments')}", {"amount": "999999999999.9999"}, format="json")
    assert refused.status_code == 400
    largest = api.post(f"/api{path_of(order, 'payments')}", {"amount": "99999999999.9999"}, format="json")
    assert largest.status_code == 201
    assert api.get("/api/orders/").status_code == 200
    assert order.payments.get().amount == Decimal("99999999999.9999")
