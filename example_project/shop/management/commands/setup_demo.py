"""Fill a migrated database: products, the admin user, and a subscription for each receiver. May be run again."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from orderhooks.models import Subscription
from shop.models import Product, ReceiverSecret

PRODUCTS = [
    ("MUG-01", "Blue mug", "12.50", 240),
    ("MUG-02", "Mug with a crack", "4.00", 120),
    ("POT-01", "Teapot", "39.00", 80),
    ("TEA-01", "Assam, 250 g", "8.90", 300),
    ("TEA-02", "Rooibos, 250 g", "7.50", 300),
    ("TOW-01", "Tea towel", "9.00", 150),
]
# Reserved by IANA for nothing, and below the ports that systems hand out: nobody listens there.
CLOSED_PORT = 1023
TOPICS = {
    "inventory": ["order.created", "order.cancelled"],
    "fulfilment": ["order.paid"],
    "mailroom": [
        "order.created",
        "order.paid",
        "order.partially_fulfilled",
        "order.fulfilled",
        "order.cancelled",
        "order.partially_refunded",
        "order.refunded",
    ],
    "crm": ["order.created", "order.updated"],
    "flaky": ["order.created", "order.paid"],
    "dead": ["order.created"],
}


class Command(BaseCommand):
    help = "Fill the database with products, the user admin/admin and subscriptions. May be run again at any time."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="the port that the receivers are reached on (8000)")

    @transaction.atomic
    def handle(self, *, port: int, verbosity: int, **options: Any) -> None:
        for sku, name, price, stock in PRODUCTS:
            Product.objects.get_or_create(sku=sku, defaults={"name": name, "price": price, "stock": stock})
        users = get_user_model()
        if not users.objects.filter(username="admin").exists():
            users.objects.create_superuser("admin", "admin@example.com", "admin")
        for receiver, topics in TOPICS.items():
            closed = receiver == "dead"
            subscribe(receiver, f"http://127.0.0.1:{CLOSED_PORT if closed else port}/webhooks/{receiver}/", topics)
        if verbosity > 0:
            self.stdout.write(f"Ready: {len(PRODUCTS)} products, {len(TOPICS)} subscriptions, user admin/admin.")


def subscribe(receiver: str, url: str, topics: list[str]) -> None:
    """Make the receiver's subscription, or point the one that it has at the URL. Topics that a person chose stay."""
    known = ReceiverSecret.objects.filter(receiver=receiver).exists()
    subscription = Subscription.objects.filter(name=receiver).first()
    if subscription is None:
        subscription, secret = Subscription.create_with_secret(name=receiver, url=url, topics=topics)
    else:
        Subscription.objects.filter(pk=subscription.pk).update(url=url)
        if known:
            return
        secret = subscription.add_secret()
    ReceiverSecret.objects.update_or_create(receiver=receiver, defaults={"secret": secret})
