"""Receiver of order.created and order.updated: keeps each customer's orders, refunds and total.

Each event holds the whole order, so the newest is enough: older ones that come late are skipped.
"""

from decimal import Decimal

from django.http import HttpRequest, HttpResponse

from crm.models import CustomerOrder
from orderhooks.receiver import DatabaseDeduplicator, DatabaseSequenceGuard, ReceivedEvent, webhook
from shop.receiver_secrets import secret_of


@webhook(secret=secret_of("crm"), deduplicate=DatabaseDeduplicator("crm"), skip_stale=DatabaseSequenceGuard("crm"))
def customers(request: HttpRequest, event: ReceivedEvent) -> HttpResponse:
    if event.topic in ("order.created", "order.updated"):
        order = event.order
        CustomerOrder.objects.update_or_create(
            order_id=order.id,
            defaults={
                "order_number": order.number,
                "email": order.customer.email,
                "paid": sum((payment.amount for payment in order.payments), Decimal(0)),
                "refunded": sum((refund.amount for refund in order.refunds), Decimal(0)),
            },
        )
    return HttpResponse(status=204)
