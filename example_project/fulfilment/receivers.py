"""Receiver of order.paid: packs a parcel."""

from django.http import HttpRequest, HttpResponse

from fulfilment.models import Parcel
from orderhooks.receiver import DatabaseDeduplicator, ReceivedEvent, webhook
from shop.receiver_secrets import secret_of


@webhook(secret=secret_of("fulfilment"), deduplicate=DatabaseDeduplicator("fulfilment"))
def parcels(request: HttpRequest, event: ReceivedEvent) -> HttpResponse:
    if event.topic == "order.paid":
        order = event.data["order"]
        Parcel.objects.get_or_create(
            order_id=order["id"],
            defaults={
                "order_number": order["number"],
                "recipient": order["customer"]["name"],
                "contents": [f"{line['quantity']} × {line['name']}" for line in order["lines"]],
            },
        )
    return HttpResponse(status=204)
