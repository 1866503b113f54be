"""Receiver of order.created and order.cancelled: keeps the stock.

Taking and putting back are additions, so it does not matter which of the two arrives first.
"""

from collections import Counter

from django.db import transaction
from django.db.models import F
from django.http import HttpRequest, HttpResponse

from inventory.models import StockMove
from orderhooks.receiver import DatabaseDeduplicator, ReceivedEvent, webhook
from shop.models import Product
from shop.receiver_secrets import secret_of

DIRECTION = {"order.created": -1, "order.cancelled": 1}


@webhook(secret=secret_of("inventory"), deduplicate=DatabaseDeduplicator("inventory"))
def stock(request: HttpRequest, event: ReceivedEvent) -> HttpResponse:
    if event.topic not in DIRECTION:
        return HttpResponse(status=204)
    order = event.data["order"]
    pieces: Counter[str] = Counter()
    for line in order["lines"]:
        pieces[line["sku"]] += DIRECTION[event.topic] * line["quantity"]
    with transaction.atomic():
        for sku, number in pieces.items():
            _, is_new = StockMove.objects.get_or_create(
                event_id=event.id,
                sku=sku,
                defaults={"order_id": order["id"], "pieces": number, "sequence": event.sequence},
            )
            if is_new:
                Product.objects.filter(sku=sku).update(stock=F("stock") + number)
    return HttpResponse(status=204)
