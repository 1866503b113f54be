"""Payments and refunds of the built-in order."""

from decimal import Decimal
from typing import Any

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orderhooks.models.orders import Order
from orderhooks.querysets import TrackedQuerySet

__all__ = ["SMALLEST_AMOUNT", "Payment", "Refund"]

# Four places: the most that a currency of ISO 4217 has.
SMALLEST_AMOUNT = Decimal("0.0001")


def _amount(**options: Any) -> "models.DecimalField[Any, Any]":
    return models.DecimalField(
        max_digits=15, decimal_places=4, validators=[MinValueValidator(SMALLEST_AMOUNT)], **options
    )


class PaymentQuerySet(TrackedQuerySet["Payment"]):
    """See `db.primary`."""


class Payment(models.Model):
    """Money that arrived for an order, in the order's currency.

    It does not change the order's `payment_status`, which is set by the store, best in the same transaction.
    """

    order = models.ForeignKey(Order, models.CASCADE, related_name="payments", verbose_name=_("order"))
    amount = _amount(verbose_name=_("amount"))
    method = models.CharField(_("method"), max_length=100, blank=True)
    reference = models.CharField(_("reference"), max_length=200, blank=True)
    received_at = models.DateTimeField(_("received at"), default=timezone.now)

    objects = PaymentQuerySet.as_manager()

    class Meta:
        verbose_name = _("payment")
        verbose_name_plural = _("payments")
        base_manager_name = "objects"
        ordering = ["id"]
        constraints = [models.CheckConstraint(condition=Q(amount__gt=0), name="orderhooks_payment_amount")]

    def __str__(self) -> str:
        return " ".join(filter(None, (f"{self.amount:.2f}", self.method)))


class RefundQuerySet(TrackedQuerySet["Refund"]):
    """See `db.primary`."""


class Refund(models.Model):
    """Money that went back to the customer, in the order's currency.

    It does not change the order's `payment_status`, which is set by the store, best in the same transaction.
    """

    order = models.ForeignKey(Order, models.CASCADE, related_name="refunds", verbose_name=_("order"))
    amount = _amount(verbose_name=_("amount"))
    method = models.CharField(_("method"), max_length=100, blank=True)
    reference = models.CharField(_("reference"), max_length=200, blank=True)
    reason = models.CharField(_("reason"), max_length=500, blank=True)
    refunded_at = models.DateTimeField(_("refunded at"), default=timezone.now)

    objects = RefundQuerySet.as_manager()

    class Meta:
        verbose_name = _("refund")
        verbose_name_plural = _("refunds")
        base_manager_name = "objects"
        ordering = ["id"]
        constraints = [models.CheckConstraint(condition=Q(amount__gt=0), name="orderhooks_refund_amount")]

    def __str__(self) -> str:
        return " ".join(filter(None, (f"{self.amount:.2f}", self.method)))
