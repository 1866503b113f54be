"""Plain functions that place orders, take payments and ship, as Oscar's own views do."""

from decimal import Decimal
from itertools import count
from typing import Any

from oscar.core.loading import get_class, get_model
from oscar.test import factories

_partners = count(1)


def place(quantities: dict[str, int] | None = None, **options: Any) -> Any:
    """An order of these quantities by SKU, at 10.00 each, with an address and shipping for nothing."""
    basket, partner = factories.create_basket(empty=True), f"Pottery {next(_partners)}"
    for sku, quantity in (quantities or {"MUG-01": 2, "TEA-01": 1}).items():
        product = factories.create_product(
            title=sku, partner_sku=sku, partner_name=partner, price=Decimal("10.00"), num_in_stock=50
        )
        basket.add_product(product, quantity)
    options.setdefault("shipping_address", address())
    options.setdefault("guest_email", "ada@example.com")
    return factories.create_order(basket=basket, **options)


def address(**fields: Any) -> Any:
    country, _ = get_model("address", "Country").objects.get_or_create(
        iso_3166_1_a2="GB", defaults={"name": "United Kingdom", "printable_name": "United Kingdom"}
    )
    given = {"first_name": "Ada", "last_name": "Byron", "line1": "12 St James Square", "line4": "London"}
    made = get_model("order", "ShippingAddress")(
        **{**given, "postcode": "SW1Y 4JH", "phone_number": "+442079460000", **fields}, country=country
    )
    made.save()
    return made


def pay(order: Any, amount: str | None = None, *, allocate_only: bool = False) -> Any:
    """A payment source with that amount, or the order's total."""
    value = Decimal(amount) if amount else order.total_incl_tax
    card, _ = get_model("payment", "SourceType").objects.get_or_create(name="Card")
    return get_model("payment", "Source").objects.create(
        order=order,
        source_type=card,
        amount_allocated=value,
        amount_debited=Decimal(0) if allocate_only else value,
        reference="ch_1",
        label="XXXX-4242",
    )


def enter_payment(order: Any, name: str, amount: str) -> Any:
    """A payment event of the whole order, as the dashboard enters it."""
    kind, _ = get_model("order", "PaymentEventType").objects.get_or_create(name=name)
    return handler().handle_payment_event(order, kind, Decimal(amount))


def enter_payment_of_lines(order: Any, name: str, amount: str) -> Any:
    """A payment event of all lines, as the dashboard enters it."""
    kind, _ = get_model("order", "PaymentEventType").objects.get_or_create(name=name)
    lines = list(order.lines.all())
    return handler().handle_payment_event(order, kind, Decimal(amount), lines, [line.quantity for line in lines])


def ship(order: Any, quantities: dict[str, int] | None = None, name: str = "Shipped") -> Any:
    """A shipping event as the dashboard enters it: of these quantities by SKU, or of all lines."""
    kind, _ = get_model("order", "ShippingEventType").objects.get_or_create(name=name)
    lines = [line for line in order.lines.all() if quantities is None or line.partner_sku in quantities]
    wanted = [line.quantity if quantities is None else quantities[line.partner_sku] for line in lines]
    return handler().handle_shipping_event(order, kind, lines, wanted, reference="RM 1234")


def handler() -> Any:
    return get_class("order.processing", "EventHandler")()
