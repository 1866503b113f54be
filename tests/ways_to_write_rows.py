"""Ways to write the rows beside an order: see ways_to_write."""

from typing import Any

from tests.shapes.models import Address, Document, InvoiceOrder, Parcel, Payment, PurchaseLine
from tests.ways_to_write import ROWS, STATE, Shop, run_sql, way

__all__ = ["ROWS"]


@way("order.updated")
def a_new_line(shop: Shop) -> None:
    PurchaseLine.objects.create(order=shop.order, sku="JAM")


@way("order.updated")
def a_changed_line(shop: Shop) -> None:
    shop.line.sku = "JAM"
    shop.line.save()


@way("order.updated parcel.gone")
def a_deleted_line(shop: Shop) -> None:
    shop.line.delete()


@way("order.updated parcel.gone")
def all_lines_deleted(shop: Shop) -> None:
    shop.order.lines.all().delete()


@way("", "order.updated")
def update_of_lines(shop: Shop) -> None:
    shop.order.lines.update(sku="JAM")


@way("", "order.updated")
def bulk_create_of_lines(shop: Shop) -> Any:
    return PurchaseLine.objects.bulk_create([PurchaseLine(order=shop.order, sku="JAM")])


@way("", "order.updated")
def sql_delete_of_a_row(shop: Shop) -> None:
    run_sql("DELETE FROM shapes_payment WHERE order_id = %s", shop.order.pk)


@way("", "order.updated")
def a_delete_without_signals(shop: Shop) -> None:
    rows = Payment.objects.filter(order=shop.order)
    rows._raw_delete(rows.db)


@way("order.updated order.payment")
def a_new_payment(shop: Shop) -> None:
    Payment.objects.create(order=shop.order, amount=1)


@way("order.updated order.payment order.covered")
def a_payment_that_reaches_the_total(shop: Shop) -> None:
    Payment.objects.create(order=shop.order, amount=45)


@way("", "order.updated order.payment order.covered")
def bulk_create_of_payments(shop: Shop) -> Any:
    return Payment.objects.bulk_create([Payment(order=shop.order, amount=25), Payment(order=shop.order, amount=20)])


@way("", "order.updated")
def update_of_payments(shop: Shop) -> None:
    shop.order.payments.update(amount=6)


@way("order.updated parcel.changed")
def a_changed_row_of_a_line(shop: Shop) -> None:
    shop.parcel.tracking = "X"
    shop.parcel.save()


@way("", "order.updated parcel.changed")
def update_of_rows_of_a_line(shop: Shop) -> None:
    Parcel.objects.filter(line__order=shop.order).update(tracking="X")


@way("order.updated")
def a_changed_address(shop: Shop) -> None:
    address = Address.objects.get()
    address.city = "Rome"
    address.save()


@way("", "order.updated")
def update_of_an_address(_shop: Shop) -> None:
    Address.objects.update(city="Rome")


@way()
def update_of_a_column_that_is_not_watched(_shop: Shop) -> None:
    Address.objects.update(unwatched="x")


@way("order.updated")
def another_address(shop: Shop) -> None:
    shop.order.delivery = Address.objects.create(city="Rome")
    shop.order.save()


@way("order.updated")
def a_deleted_address_that_sets_null(_shop: Shop) -> None:
    Address.objects.get().delete()


@way(STATE)
def save_of_the_parent_model(shop: Shop) -> None:
    parent = Document.objects.get(pk=shop.invoice.pk)
    parent.state = "paid"
    parent.save()


@way("", STATE, triggered="")
def update_of_a_child_model(_shop: Shop) -> None:
    InvoiceOrder.objects.update(state="paid")


@way("", STATE, triggered="")
def update_of_the_parent_model(_shop: Shop) -> None:
    Document.objects.update(state="paid")
