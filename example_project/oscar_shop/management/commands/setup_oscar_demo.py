"""Make everything that the shop on django-oscar needs: what the example shop has, and Oscar's articles and types."""

from typing import Any

from django.contrib.sites.models import Site
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from oscar.apps.catalogue.categories import create_from_breadcrumbs
from oscar.core.loading import get_model

from shop.models import Product

IN_STOCK = 500
# What an operator may enter of an order.
TYPES = {"PaymentEventType": ("Paid", "Refunded"), "ShippingEventType": ("Shipped", "Returned")}


class Command(BaseCommand):
    help = "Fill the database of the shop on django-oscar. May be run again at any time."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="the port that the receivers are reached on (8000)")

    @transaction.atomic
    def handle(self, *, port: int, **options: Any) -> None:
        # The articles of the warehouse, the user admin/admin, and the subscriptions.
        call_command("setup_demo", port=port, verbosity=0)
        Site.objects.update_or_create(pk=1, defaults={"domain": f"127.0.0.1:{port}", "name": "Mug & Teapot"})
        get_model("address", "Country").objects.get_or_create(
            iso_3166_1_a2="GB",
            defaults={"name": "United Kingdom", "printable_name": "United Kingdom", "is_shipping_country": True},
        )
        for model, names in TYPES.items():
            for name in names:
                get_model("order", model).objects.get_or_create(name=name)
        stock_the_shelves()


def stock_the_shelves() -> None:
    """An article of Oscar's for each of the warehouse's, with the same SKU and price."""
    articles = get_model("catalogue", "Product").objects
    kind, _ = get_model("catalogue", "ProductClass").objects.get_or_create(name="Tableware")
    partner, _ = get_model("partner", "Partner").objects.get_or_create(name="Mug & Teapot")
    shelf = create_from_breadcrumbs("Everything")
    for product in Product.objects.all():
        if articles.filter(upc=product.sku).exists():
            continue
        article = articles.create(product_class=kind, title=product.name, upc=product.sku)
        article.categories.add(shelf)
        article.stockrecords.create(
            partner=partner, partner_sku=product.sku, price_currency="EUR", price=product.price, num_in_stock=IN_STOCK
        )
