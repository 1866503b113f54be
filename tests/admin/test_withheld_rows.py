"""A user who may not view an order's payments reads no amount of them elsewhere on its pages."""

from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry

from orderhooks.models import Order
from tests.admin.visits import page, staff
from tests.factories import make_fulfillment, make_order, make_payment, make_refund, make_user

pytestmark = pytest.mark.django_db

ROWS = ["24.80 card", "4.90 card", "DHL X1"]
VIEW_ROWS = ["view_orderline", "view_fulfillment", "view_payment", "view_refund"]


def make_order_with_rows() -> Order:
    order = make_order()
    changes: list[dict[str, Any]] = [{"changed": {"fields": ["Note"]}}]
    for row in (make_payment(order), make_refund(order), make_fulfillment(order)):
        row.refresh_from_db()
        changes += [{"added": {"name": str(row._meta.verbose_name), "object": str(row)}}]
    LogEntry.objects.log_actions(make_user().pk, [order], CHANGE, changes)
    LogEntry.objects.log_actions(make_user().pk, [order], CHANGE, "3 deliveries are sent again.")
    return order


def test_the_history_of_an_order_names_no_row_that_its_reader_may_not_view() -> None:
    order = make_order_with_rows()
    for language in ("en", "de"):
        client = staff("view_order")
        client.cookies["django_language"] = language
        history = page(client, f"order/{order.pk}/history/")
        assert not [row for row in ROWS if row in history]
    assert "Added payment “…”." in page(staff("view_order"), f"order/{order.pk}/history/")
    assert "3 deliveries are sent again." in page(staff("view_order"), f"order/{order.pk}/history/")


def test_the_history_names_the_rows_that_its_reader_may_view() -> None:
    order = make_order_with_rows()
    history = page(staff("view_order", "view_payment"), f"order/{order.pk}/history/")
    assert [row for row in ROWS if row in history] == ["24.80 card"]
    history = page(staff("view_order", *VIEW_ROWS), f"order/{order.pk}/history/")
    assert [row for row in ROWS if row in history] == ROWS


@pytest.mark.parametrize("held", [[], ["view_order"], ["view_order", "view_payment"], VIEW_ROWS], ids=" ".join)
def test_the_page_that_deletes_an_order_names_its_rows_only_for_who_may_view_all(held: list[str]) -> None:
    order = make_order_with_rows()
    client = staff("delete_order", *held)
    deletion = page(client, f"order/{order.pk}/delete/")
    assert not [row for row in ROWS if row in deletion]
    assert "Payments: 1" in deletion
    if "view_order" in held:
        data = {"action": "delete_selected", "_selected_action": [order.pk]}
        deletion = client.post("/admin/orderhooks/order/", data).content.decode()
        assert "Payments: 1" in deletion
        assert not [row for row in ROWS if row in deletion]
    client.post(f"/admin/orderhooks/order/{order.pk}/delete/", {"post": "yes"})
    assert not Order.objects.exists()


def test_who_may_view_all_rows_reads_which_ones_go_with_the_order() -> None:
    order = make_order_with_rows()
    deletion = page(staff("delete_order", "view_order", *VIEW_ROWS), f"order/{order.pk}/delete/")
    assert [row for row in ROWS if row in deletion] == ROWS
