"""Receiver of events that matter to a customer: writes a mail at each step. The mails are files below var/mails/.

Each mail is only about its own step, so one that overtakes another is still true.
"""

from django.core.mail import send_mail
from django.db import transaction
from django.http import HttpRequest, HttpResponse

from mailroom.models import SentMail
from orderhooks.receiver import DatabaseDeduplicator, ReceivedEvent, webhook
from shop.receiver_secrets import secret_of

MAILS = {
    "order.created": (
        "We have your order {number}",
        "Thank you for your order. It comes to {total} {currency}.",
    ),
    "order.paid": (
        "Your payment for order {number} has arrived",
        "We have received {total} {currency}. Thank you.",
    ),
    "order.partially_fulfilled": (
        "A part of your order {number} is on its way",
        "The rest follows. Track the parcel: {fulfillments[0][tracking_url]}",
    ),
    "order.fulfilled": (
        "Your order {number} is on its way",
        "Everything you ordered has been shipped. Track the parcel: {last_parcel[tracking_url]}",
    ),
    "order.cancelled": ("Your order {number} is cancelled", "Nothing more will be charged or shipped."),
    "order.partially_refunded": (
        "A part of your money for order {number} is on its way back",
        "We are returning {last_refund[amount]} {currency}. {last_refund[reason]}",
    ),
    "order.refunded": (
        "Your money for order {number} is on its way back",
        "We are returning {last_refund[amount]} {currency}.",
    ),
}


@webhook(secret=secret_of("mailroom"), deduplicate=DatabaseDeduplicator("mailroom"))
def mails(request: HttpRequest, event: ReceivedEvent) -> HttpResponse:
    order = event.data.get("order") or {}
    recipient = order.get("customer", {}).get("email")
    if event.topic not in MAILS or not recipient:
        return HttpResponse(status=204)
    last = {"last_parcel": order["fulfillments"][-1:], "last_refund": order["refunds"][-1:]}
    known = {**order, **{name: rows[0] for name, rows in last.items() if rows}}
    subject, text = (part.format(**known) for part in MAILS[event.topic])
    # The mail last: if it can't be sent the entry is undone, and the next attempt writes both. Only a crash between the
    # sending and the commit sends a mail twice.
    with transaction.atomic():
        _, is_new = SentMail.objects.get_or_create(
            event_id=event.id,
            defaults={
                "sequence": event.sequence,
                "topic": event.topic,
                "order_id": order["id"],
                "recipient": recipient,
                "subject": subject,
            },
        )
        if is_new:
            send_mail(subject, f"Dear {order['customer']['name']},\n\n{text}\n", None, [recipient])
    return HttpResponse(status=204)
