"""The event that django-outbound-webhooks sends. Only its project imports this."""

from dataclasses import dataclass

from django_domain_events import event


@event(name="shop.order_placed")
@dataclass(frozen=True, slots=True)
class OrderPlaced:
    number: str
    customer_name: str
    total: str
    note: str
