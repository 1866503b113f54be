"""The demo on django-oscar without a person: customers go through Oscar's checkout, an operator uses its dashboard.

Ends with a line that begins `ok:` (exit code 0) or `failed:` (exit code 1).
"""

from collections import Counter
from decimal import Decimal

from oscar.core.loading import get_model

from oscar_shop.people import Guest, Operator
from shop.management.commands import demo_check
from shop.management.commands.demo_check import NOTHING, Expected
from shop.models import Product

ORDERS = 8
CUSTOMERS = 3
# What the operator does with an order, by its turn. Each was paid in the checkout.
FATES = [("ship",), ("ship-part", "ship"), ("ship", "refund-part", "refund"), ("cancel", "refund")]
PART = Decimal("4.00")


class Command(demo_check.Command):
    help = "Run the shop on django-oscar, on a fresh database, and check what the receivers did."
    setup, orders = "setup_oscar_demo", ORDERS

    def go_shopping(self, address: str) -> Expected:
        expected = Expected(stock=Counter(dict(Product.objects.values_list("sku", "stock"))))
        skus = sorted(expected.stock)
        prices = dict(Product.objects.values_list("sku", "price"))
        operator = Operator(address)
        operator.log_in("admin@example.com", "admin")
        for turn in range(ORDERS):
            email = f"guest{turn % CUSTOMERS}@example.com"
            quantities = {skus[turn % len(skus)]: 1 + turn % 3, skus[(turn + 1) % len(skus)]: 2}
            number = Guest(address, f"Guest Number{turn % CUSTOMERS}", email).buy(quantities)
            order = str(get_model("order", "Order").objects.get(number=number).pk)
            expected.note_placed(order, email, quantities)
            expected.note_pressed(order, "pay", quantities)
            left = sum((prices[sku] * quantity for sku, quantity in quantities.items()), NOTHING)
            expected.note_money(email, paid=left)
            waiting = dict(quantities)
            for fate in FATES[turn % len(FATES)]:
                if fate in ("refund", "refund-part"):
                    amount = left if fate == "refund" else PART
                    left -= amount
                    operator.refund(number, amount)
                    expected.note_money(email, refunded=amount)
                elif fate == "cancel":
                    operator.set_status(number, "Cancelled")
                else:
                    sent = {next(iter(waiting)): 1} if fate == "ship-part" else waiting
                    operator.ship(number, {sku: quantity for sku, quantity in sent.items() if quantity})
                    waiting = {sku: quantity - sent.get(sku, 0) for sku, quantity in waiting.items()}
                expected.note_pressed(order, fate, quantities)
        return expected
