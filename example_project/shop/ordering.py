"""What a shop does with orders: place, pay, ship, cancel, refund. Each saves orders and what belongs to them.

Not a word about webhooks here: orderhooks sees by itself what was saved.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal

from django.db import transaction
from django.utils import timezone

from orderhooks.models import Fulfillment, FulfillmentLine, Order, OrderLine, Payment, Refund
from shop.models import Product

SHIPPING = Decimal("4.90")
# The shop has money of the customer.
TAKEN = (Order.PaymentStatus.PAID, Order.PaymentStatus.PARTIALLY_REFUNDED)


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
    Payment.objects.create(order=order, amount=order.total, method="card", reference=f"ch_{order.number}")


def ship_part(order: Order) -> None:
    """Ship one piece of the first article; the rest follows."""
    _require_shippable(order)
    if order.fulfillment_status != Order.FulfillmentStatus.UNFULFILLED:
        raise IllegalMoveError("A part of this order is on its way already.")
    lines = list(order.lines.all())
    if sum(line.quantity for line in lines) < 2:
        raise IllegalMoveError("This order has one piece, so there is no part to ship.")
    _send(order, {lines[0]: 1})
    order.fulfillment_status = Order.FulfillmentStatus.PARTIALLY_FULFILLED
    order.save()


def ship(order: Order) -> None:
    """Ship what was not shipped yet."""
    _require_shippable(order)
    _send(order, {line: line.quantity - line.fulfilled_quantity for line in order.lines.all()})
    order.fulfillment_status = Order.FulfillmentStatus.FULFILLED
    order.save()


def _require_shippable(order: Order) -> None:
    if order.status != Order.Status.OPEN:
        raise IllegalMoveError(f"This order is {order.status}; there is nothing to ship.")
    if order.fulfillment_status == Order.FulfillmentStatus.FULFILLED:
        raise IllegalMoveError("This order is on its way already.")
    if order.payment_status == Order.PaymentStatus.REFUNDED:
        raise IllegalMoveError("This order was refunded; it won't be shipped.")
    if order.payment_status not in TAKEN:
        raise IllegalMoveError("Pay first: an order is shipped once it is paid.")


def _send(order: Order, quantities: Mapping[OrderLine, int]) -> None:
    """Make a parcel of these pieces, with a link by which the customer follows it."""
    number = f"MT{order.number}-{order.fulfillments.count() + 1}"
    fulfillment = Fulfillment.objects.create(
        order=order,
        carrier="Parcel Pigeon",
        tracking_number=number,
        tracking_url=f"https://tracking.example.com/{number}",
        shipped_at=timezone.now(),
    )
    sent = {line: quantity for line, quantity in quantities.items() if quantity}
    FulfillmentLine.objects.bulk_create(
        FulfillmentLine(fulfillment=fulfillment, line=line, quantity=quantity) for line, quantity in sent.items()
    )
    for line, quantity in sent.items():
        line.fulfilled_quantity += quantity
        line.save()


def cancel(order: Order) -> None:
    if order.status != Order.Status.OPEN:
        raise IllegalMoveError(f"This order is {order.status} already.")
    if order.fulfillment_status != Order.FulfillmentStatus.UNFULFILLED:
        raise IllegalMoveError("This order is on its way; it can't be cancelled any more, only refunded.")
    order.status, order.cancel_reason = Order.Status.CANCELLED, "The customer changed her mind."
    order.save()


def refund_part(order: Order) -> None:
    """Give the price of the shipping back."""
    _require_refundable(order)
    if order.payment_status != Order.PaymentStatus.PAID:
        raise IllegalMoveError("The shipping was refunded already.")
    _give_back(order, order.shipping, "The parcel was late.")
    order.payment_status = Order.PaymentStatus.PARTIALLY_REFUNDED
    order.save()


def refund(order: Order) -> None:
    """Give back what was not given back yet."""
    _require_refundable(order)
    refunded = sum((refund.amount for refund in order.refunds.all()), Decimal(0))
    _give_back(order, order.total - refunded, "The customer wanted the money back.")
    order.payment_status = Order.PaymentStatus.REFUNDED
    order.save()


def _require_refundable(order: Order) -> None:
    if order.payment_status == Order.PaymentStatus.REFUNDED:
        raise IllegalMoveError("This order was refunded already.")
    if order.payment_status not in TAKEN:
        raise IllegalMoveError("Nothing was paid for this order, so there is nothing to refund.")


def _give_back(order: Order, amount: Decimal, reason: str) -> None:
    reference = f"re_{order.number}-{order.refunds.count() + 1}"
    Refund.objects.create(order=order, amount=amount, method="card", reference=reference, reason=reason)


# By the last step of the button's URL.
MOVES: dict[str, Callable[[Order], None]] = {
    "pay": pay,
    "ship-part": ship_part,
    "ship": ship,
    "cancel": cancel,
    "refund-part": refund_part,
    "refund": refund,
}


def move(public_id: str, name: str) -> None:
    """Make one of MOVES. Raises IllegalMoveError, with nothing changed, and Order.DoesNotExist."""
    with transaction.atomic():
        # Locked, so that of two people who ship and cancel at once one is refused.
        MOVES[name](Order.objects.select_for_update().get(public_id=public_id))
