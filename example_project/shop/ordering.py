"""What a shop does with orders: place, pay, ship, cancel, refund. Each saves orders and nothing else.

Not a word about webhooks here: orderhooks sees by itself what was saved.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal

from django.db import transaction
from django.db.models import F

from orderhooks.models import Order, OrderLine
from shop.models import Product

SHIPPING = Decimal("4.90")


class IllegalMoveError(Exception):
    """The request is not possible in the order's state; the text is for the customer."""


@transaction.atomic
def place(quantities: Mapping[Product, int], *, customer_name: str, customer_email: str) -> Order:
    """A new order with its lines, in one transaction: one event, `order.created`, with everything in it."""
    order = Order.objects.create(
        customer_name=customer_name, customer_email=customer_email, shipping=SHIPPING, currency="EUR"
    )
    OrderLine.objects.bulk_create(
        OrderLine(order=order, sku=product.sku, name=product.name, quantity=quantity, unit_price=product.price)
        for product, quantity in quantities.items()
    )
    order.recalculate()
    order.save()
    return order


def pay(order: Order) -> None:
    if order.status != Order.Status.OPEN:
        raise IllegalMoveError(f"This order is {order.status}; it can't be paid any more.")
    if order.payment_status == Order.PaymentStatus.REFUNDED:
        raise IllegalMoveError("This order was refunded. Place a new one.")
    if order.payment_status != Order.PaymentStatus.PENDING:
        raise IllegalMoveError("This order is paid already.")
    order.payment_status = Order.PaymentStatus.PAID
    order.save()


def ship(order: Order) -> None:
    if order.status != Order.Status.OPEN:
        raise IllegalMoveError(f"This order is {order.status}; there is nothing to ship.")
    if order.fulfillment_status != Order.FulfillmentStatus.UNFULFILLED:
        raise IllegalMoveError("This order is on its way already.")
    if order.payment_status == Order.PaymentStatus.REFUNDED:
        raise IllegalMoveError("This order was refunded; it won't be shipped.")
    if order.payment_status != Order.PaymentStatus.PAID:
        raise IllegalMoveError("Pay first: an order is shipped once it is paid.")
    order.lines.update(fulfilled_quantity=F("quantity"))
    order.fulfillment_status = Order.FulfillmentStatus.FULFILLED
    order.save()


def cancel(order: Order) -> None:
    if order.status != Order.Status.OPEN:
        raise IllegalMoveError(f"This order is {order.status} already.")
    if order.fulfillment_status != Order.FulfillmentStatus.UNFULFILLED:
        raise IllegalMoveError("This order is on its way; it can't be cancelled any more, only refunded.")
    order.status = Order.Status.CANCELLED
    order.save()


def refund(order: Order) -> None:
    if order.payment_status == Order.PaymentStatus.REFUNDED:
        raise IllegalMoveError("This order was refunded already.")
    if order.payment_status != Order.PaymentStatus.PAID:
        raise IllegalMoveError("Nothing was paid for this order, so there is nothing to refund.")
    order.payment_status = Order.PaymentStatus.REFUNDED
    order.save()


MOVES: dict[str, Callable[[Order], None]] = {"pay": pay, "ship": ship, "cancel": cancel, "refund": refund}


def move(public_id: str, name: str) -> None:
    """Make one of MOVES. Raises IllegalMoveError, with nothing changed, and Order.DoesNotExist."""
    with transaction.atomic():
        # Locked, so that of two people who ship and cancel at once one is refused.
        MOVES[name](Order.objects.select_for_update().get(public_id=public_id))
