"""Fulfillments, payments and refunds on an order's page: one save, one event; bad fields are named; or only viewed."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib import admin

from orderhooks.admin.order_rows import MOST_ROWS, PaymentInline
from orderhooks.models import Event, Fulfillment, FulfillmentLine, Order, Payment, Refund
from tests.admin.test_unaltered_orders import form_of
from tests.admin.visits import errors_of, page, staff
from tests.factories import make_fulfillment, make_order, make_payment, make_refund, make_subscription, make_user
from tests.publications import payload_of

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

AT = {"0": "2026-11-23", "1": "10:00:00"}
PAYMENT = {"amount": "24.80", "method": "card", "reference": "ch_1", "received_at": AT}
REFUND = {"amount": "4.90", "method": "card", "reference": "re_1", "reason": "late", "refunded_at": AT}
FULFILLMENT = {
    "carrier": "DHL",
    "tracking_number": "X1",
    "tracking_url": "https://example.com/X1",
    "shipped_at": AT,
    "contents": "1 x TEA-1",
}


@pytest.fixture
def order() -> Order:
    return make_order([{"sku": "TEA-1", "quantity": 3}, {"sku": "CUP", "quantity": 1}])


def address_of(order: Order) -> str:
    return f"/admin/orderhooks/order/{order.pk}/change/"


def form_with(client: Any, order: Order, **added: dict[str, Any]) -> dict[str, Any]:
    """The page of an order as a browser would send it, with one more row in each of the tables."""
    form = form_of(client, address_of(order))
    for table, row in added.items():
        number = int(form[f"{table}-TOTAL_FORMS"])
        form[f"{table}-TOTAL_FORMS"] = str(number + 1)
        for name, value in row.items():
            for part, text in value.items() if isinstance(value, dict) else [("", value)]:
                form[f"{table}-{number}-{name}{f'_{part}' if part else ''}"] = text
    return form


@pytest.mark.django_db(transaction=True)
def test_rows_of_each_kind_are_added_by_one_save_and_publish_once(operator, order: Order) -> None:
    make_subscription()
    form = form_with(operator, order, fulfillments=FULFILLMENT, payments=PAYMENT, refunds=REFUND)
    form["payment_status"] = "paid"
    response = operator.post(address_of(order), form)
    assert response.status_code == 302, errors_of(operator, f"order/{order.pk}/change/", form)
    events = list(Event.objects.order_by("sequence"))
    assert [event.topic for event in events] == [
        "order.updated",
        "order.paid",
        "order.fulfillment_created",
        "order.payment_created",
        "order.refund_created",
    ]
    told = payload_of(events[0])["order"]
    [fulfillment], [payment], [refund] = told["fulfillments"], told["payments"], told["refunds"]
    assert (fulfillment["tracking_number"], fulfillment["shipped_at"]) == ("X1", "2026-11-23T10:00:00.000000Z")
    assert [(row["line"], row["quantity"]) for row in fulfillment["lines"]] == [(order.lines.get(sku="TEA-1").pk, 1)]
    assert (payment["amount"], refund["amount"], refund["reason"]) == ("24.80", "4.90", "late")
    assert told["paid_at"] is not None


def test_a_page_that_is_opened_and_saved_writes_nothing(operator, order: Order) -> None:
    at = datetime(2026, 11, 24, 3, 4, 5, 678901, tzinfo=UTC)
    make_fulfillment(order, quantity=1, shipped_at=at, carrier=" two ", tracking_url="https://example.com/?a=1&b=2")
    make_payment(order, received_at=at, amount="0.0001")
    make_refund(order, refunded_at=at, reason="a  b")
    make_subscription()
    before = [list(model.objects.values()) for model in (Fulfillment, Payment, Refund)]
    rows = list(Fulfillment.objects.get().lines.values())
    Event.objects.all().delete()
    assert operator.post(address_of(order), form_of(operator, address_of(order))).status_code == 302
    assert [list(model.objects.values()) for model in (Fulfillment, Payment, Refund)] == before
    assert list(Fulfillment.objects.get().lines.values()) == rows
    assert not Event.objects.exists()


def test_contents_that_are_altered_keep_the_ids_of_what_stays(operator, order: Order) -> None:
    fulfillment = make_fulfillment(order, quantity=1)
    tea = fulfillment.lines.get(line__sku="TEA-1")
    form = form_of(operator, address_of(order))
    assert form["fulfillments-0-contents"].splitlines() == ["1 x TEA-1", "1 x CUP"]
    form["fulfillments-0-contents"] = "  2 × TEA-1 \r\n\r\n"
    assert operator.post(address_of(order), form).status_code == 302
    assert [(row.pk, row.quantity) for row in fulfillment.lines.all()] == [(tea.pk, 2)]
    form["fulfillments-0-contents"] = ""
    assert operator.post(address_of(order), form).status_code == 302
    assert not fulfillment.lines.exists()


def test_contents_that_are_not_altered_stay_whatever_became_of_the_order(operator, order: Order) -> None:
    order.lines.update(sku=" A x\nB ")
    fulfillment = make_fulfillment(order)
    rows = list(fulfillment.lines.values())
    order.lines.update(quantity=1)
    form = {**form_of(operator, address_of(order)), "fulfillments-0-carrier": "UPS"}
    assert operator.post(address_of(order), form).status_code == 302
    fulfillment.refresh_from_db()
    assert fulfillment.carrier == "UPS"
    assert list(fulfillment.lines.values()) == rows


def test_lines_with_one_sku_are_taken_one_after_the_other(operator) -> None:
    order = make_order([{"sku": "A", "quantity": 1}, {"sku": "A", "quantity": 5}])
    form = form_with(operator, order, fulfillments={**FULFILLMENT, "contents": "1 x A\n4 x A"})
    assert operator.post(address_of(order), form).status_code == 302
    rows = Fulfillment.objects.get().lines.order_by("line")
    assert [(row.line.quantity, row.quantity) for row in rows] == [(1, 1), (5, 4)]


def test_a_new_quantity_stays_at_its_line_where_lines_share_a_sku(operator) -> None:
    order = make_order([{"sku": "A", "quantity": 2}, {"sku": "A", "quantity": 5}])
    second = order.lines.latest("pk")
    FulfillmentLine.objects.create(fulfillment=Fulfillment.objects.create(order=order), line=second, quantity=1)
    form = form_of(operator, address_of(order))
    assert form["fulfillments-0-contents"] == "1 x A"
    form["fulfillments-0-contents"] = "2 x A"
    assert operator.post(address_of(order), form).status_code == 302
    assert [(row.line_id, row.quantity) for row in FulfillmentLine.objects.all()] == [(second.pk, 2)]


def test_a_line_that_is_deleted_on_the_same_page_is_in_no_fulfillment(operator, order: Order) -> None:
    form = form_with(operator, order, fulfillments={**FULFILLMENT, "contents": "1 x TEA-1\n1 x CUP"})
    form["lines-1-DELETE"] = "on"
    assert operator.post(address_of(order), form).status_code == 302
    assert [row.line.sku for row in Fulfillment.objects.get().lines.all()] == ["TEA-1"]


@pytest.mark.parametrize(
    ("table", "row", "where", "text"),
    [
        ("fulfillments", {**FULFILLMENT, "tracking_url": "javascript:alert(1)"}, "0.tracking_url", "valid URL"),
        ("fulfillments", {**FULFILLMENT, "contents": "TEA-1"}, "0.contents", "such as 2 x TEA-1"),
        ("fulfillments", {**FULFILLMENT, "contents": "1 x JAM"}, "0.contents", "no other line with the SKU JAM"),
        ("fulfillments", {**FULFILLMENT, "contents": "1 x CUP\n1 x CUP"}, "0.contents", "no other line with"),
        ("fulfillments", {**FULFILLMENT, "contents": "4 x TEA-1"}, "0.contents", "TEA-1: At most 3 were ordered."),
        ("fulfillments", {**FULFILLMENT, "contents": "0 x TEA-1"}, "0.contents", "Leave out"),
        ("payments", {**PAYMENT, "amount": "0"}, "0.amount", "greater than or equal to 0.0001"),
        ("payments", {**PAYMENT, "amount": "sNaN"}, "0.amount", "number"),
        ("refunds", {**REFUND, "amount": "-1"}, "0.amount", "greater than or equal to 0.0001"),
    ],
)
def test_a_bad_row_is_refused_at_its_field(operator, order: Order, table: str, row: Any, where: str, text: str) -> None:
    form = form_with(operator, order, **{table: row})
    errors = errors_of(operator, f"order/{order.pk}/change/", form)
    assert list(errors) == [where]
    assert text in str(errors[where])
    assert not any(model.objects.exists() for model in (Fulfillment, Payment, Refund))


def test_a_new_order_may_come_with_a_payment_and_not_with_a_fulfillment(operator) -> None:
    names = [
        one.formset.prefix for one in operator.get("/admin/orderhooks/order/add/").context["inline_admin_formsets"]
    ]
    assert names == ["lines", "payments", "refunds"]


VIEW = ["view_order", "view_fulfillment", "view_payment", "view_refund", "view_orderline"]


def test_who_may_only_view_sees_all_and_changes_nothing(order: Order) -> None:
    make_fulfillment(order, quantity=1)
    make_payment(order)
    make_refund(order)
    viewer = staff(*VIEW, "change_order")
    text = page(viewer, f"order/{order.pk}/change/")
    for shown in ("X1", "1 x TEA-1, 1 x CUP", "ch_1", "re_1", "late"):
        assert shown in text
    assert 'name="payments-0-amount"' not in text
    assert 'name="fulfillments-0-contents"' not in text
    form = form_of(viewer, address_of(order))
    form |= {"payments-0-id": str(Payment.objects.get().pk), "payments-0-amount": "1"}
    viewer.post(address_of(order), form)
    assert str(Payment.objects.get().amount) == "24.8000"
    assert "ch_1" not in page(staff("view_order"), f"order/{order.pk}/change/")


def test_many_payments_come_in_pages(operator, order: Order) -> None:
    Payment.objects.bulk_create([Payment(order=order, amount=1 + number) for number in range(40)])
    text = page(operator, f"order/{order.pk}/change/?payments=2")
    first = PaymentInline.rows_at_once + 1
    assert f"Payments {first} to {2 * PaymentInline.rows_at_once} of 40." in text
    assert 'href="?payments=3"' in text
    form = form_of(operator, f"{address_of(order)}?payments=2")
    assert operator.post(f"{address_of(order)}?payments=2", {**form, "payments-0-method": "bank"}).status_code == 302
    assert str(Payment.objects.get(method="bank").amount) == f"{first}.0000"
    assert Payment.objects.count() == 40


@pytest.mark.parametrize("table", ["lines", "fulfillments", "payments", "refunds"])
def test_more_rows_than_a_page_can_send_are_refused_and_not_drawn(operator, order: Order, table: str) -> None:
    form = {**form_of(operator, address_of(order)), f"{table}-TOTAL_FORMS": "999999999"}
    response = operator.post(address_of(order), form)
    [rows] = [one.formset for one in response.context["inline_admin_formsets"] if one.formset.prefix == table]
    assert f"at most {MOST_ROWS} forms" in str(rows.non_form_errors())
    assert len(rows.forms) == MOST_ROWS


class _CountedForm(dict[str, Any]):
    """A form that counts how often it is looked into."""

    looked = 0

    def get(self, *arguments: Any) -> Any:
        self.looked += 1
        return super().get(*arguments)


def test_no_more_rows_are_looked_for_than_the_form_has(operator, order: Order, rf) -> None:
    payment = make_payment(order)
    sent = {**form_of(operator, address_of(order)), "payments-INITIAL_FORMS": "50000", "payments-0-method": "bank"}
    form = _CountedForm(sent)
    request = rf.post(address_of(order))
    request.user = make_user(is_staff=True, is_superuser=True)
    rows = PaymentInline(Order, admin.site).get_formset(request, order)(form, instance=order)
    assert rows.is_valid(), rows.errors
    assert [row.pk for row in rows.save()] == [payment.pk]
    assert form.looked < MOST_ROWS


@pytest.mark.parametrize("held", ["view_payment", "change_payment", "add_payment", "delete_payment"])
def test_how_many_payments_there_are_is_for_who_may_view_them(order: Order, held: str) -> None:
    Payment.objects.bulk_create([Payment(order=order, amount=1 + number) for number in range(40)])
    text = page(staff("change_order", held), f"order/{order.pk}/change/")
    assert ("of 40." in text) == (held in ("view_payment", "change_payment"))
