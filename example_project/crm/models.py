"""What the CRM keeps of each customer: the orders, what was paid for them, and what went back."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import models
from django.db.models import Count, Sum


@dataclass(frozen=True)
class Summary:
    """A customer's orders: how many, what was refunded, and the total of payments less refunds."""

    orders: int
    refunded: Decimal
    total: Decimal


class CustomerOrder(models.Model):
    """An order as the newest event shows it."""

    order_id = models.CharField(max_length=64, unique=True)
    order_number = models.CharField(max_length=64)
    email = models.EmailField(db_index=True)
    paid = models.DecimalField(max_digits=12, decimal_places=2)
    refunded = models.DecimalField(max_digits=12, decimal_places=2)
    told_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"order {self.order_number} of {self.email}"

    @classmethod
    def summaries(cls, **filters: Any) -> Mapping[str, Summary]:
        """The summary of each customer, by e-mail address."""
        customers = cls.objects.filter(**filters).values("email").order_by("email")
        rows = customers.annotate(orders=Count("pk"), all_paid=Sum("paid"), all_refunded=Sum("refunded"))
        return {
            row["email"]: Summary(row["orders"], row["all_refunded"], row["all_paid"] - row["all_refunded"])
            for row in rows
        }
