"""What a peer's processes do: `python tasks.py TASK JSON…` prints what the function returns, as JSON."""

import json
import os
import sys
import time
from collections.abc import Callable

import django

if __name__ == "__main__":
    django.setup()

from django.core.management import call_command
from django.db import transaction

from shop.models import Order

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PEER = os.environ["DJANGO_SETTINGS_MODULE"]


def migrate() -> None:
    call_command("migrate", run_syncdb=True, verbosity=0)


def subscribe(url: str) -> None:
    if PEER == "with_django_webhook":
        from django_webhook.models import Webhook, WebhookTopic

        webhook = Webhook.objects.create(url=url)
        webhook.secrets.create(token=SECRET)
        webhook.topics.add(WebhookTopic.objects.get_or_create(name="shop.Order/create")[0])
    else:
        from django_outbound_webhooks import register_endpoint

        register_endpoint(name="shop", url=url, secret=SECRET, event_names=["shop.order_placed"])


def place_orders(count: int) -> dict[str, float]:
    """Save this many orders once it gets the signal. When the first began to be saved (monotonic seconds)."""
    place = place_and_fire() if PEER == "with_outbound_webhooks" else Order.objects.create
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    for number in range(count):
        place(number=str(number), customer_name="Ada Byron", total="24.80", note="x" * 1200)
    return {"began": began, "ended": time.monotonic()}


def place_and_fire() -> Callable[..., None]:
    from django_domain_events import fire

    from shop.events import OrderPlaced

    def place(**fields: str) -> None:
        with transaction.atomic():
            Order.objects.create(**fields)
            fire(OrderPlaced(**fields))

    return place


if __name__ == "__main__":
    task: Callable[..., object] = globals()[sys.argv[1]]
    print(json.dumps(task(*map(json.loads, sys.argv[2:]))))
