"""Payments and refunds of the built-in order."""

from decimal import Decimal

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


class _Money(models.Model):
    """An amount in the order's currency, with how it went and under which reference.

    It does not change the order's `payment_status`, which is set by the store, best in the same transaction.
    """

    order = models.ForeignKey(Order, models.CASCADE, related_name="%(class)ss", verbose_name=_("order"))
    amount = models.DecimalField(
        _("amount"), max_digits=15, decimal_places=4, validators=[MinValueValidator(SMALLEST_AMOUNT)]
    )
    method = models.CharField(_("method"), max_length=100, blank=True)
    reference = models.CharField(_("reference"), max_length=200, blank=True)

    class Meta:
        abstract = True
        base_manager_name = "objects"
        ordering = ["id"]
        constraints = [models.CheckConstraint(condition=Q(amount__gt=0), name="%(app_label)s_%(class)s_amount")]

    def __str__(self) -> str:
        return " ".join(filter(None, (f"{self.amount:.2f}", self.method)))


class PaymentQuerySet(TrackedQuerySet["Payment"]):
    """See `db.primary`."""


class Payment(_Money):
    """Money that arrived for an order."""

    received_at = models.DateTimeField(_("received at"), default=timezone.now)

    objects = PaymentQuerySet.as_manager()

    class Meta(_Money.Meta):
        verbose_name = _("payment")
        verbose_name_plural = _("payments")


class RefundQuerySet(TrackedQuerySet["Refund"]):
    """See `db.primary`."""


class Refund(_Money):
    """Money that went back to the customer."""

    reason = models.CharField(_("reason"), max_length=500, blank=True)
    refunded_at = models.DateTimeField(_("refunded at"), default=timezone.now)

    objects = RefundQuerySet.as_manager()

    class Meta(_Money.Meta):
        verbose_name = _("refund")
        verbose_name_plural = _("refunds")
