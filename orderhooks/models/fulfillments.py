"""Fulfillments of the built-in order: what is shipped together, how it can be tracked, and which lines are in it."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, URLValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from orderhooks.models.orders import Order, OrderLine
from orderhooks.querysets import TrackedQuerySet

__all__ = ["Fulfillment", "FulfillmentLine"]

# A customer clicks it, so it must not be a script.
validate_tracking_url = URLValidator(schemes=["http", "https"])


class FulfillmentQuerySet(TrackedQuerySet["Fulfillment"]):
    """See `db.primary`."""


class Fulfillment(models.Model):
    """A shipment of an order or of a part of it. Its articles are in `lines`.

    It changes nothing else: the order's `fulfillment_status` and the lines' `fulfilled_quantity` are set by the store,
    best in the same transaction.
    """

    order = models.ForeignKey(Order, models.CASCADE, related_name="fulfillments", verbose_name=_("order"))
    carrier = models.CharField(_("carrier"), max_length=100, blank=True)
    tracking_number = models.CharField(_("tracking number"), max_length=100, blank=True)
    tracking_url = models.CharField(_("tracking link"), max_length=500, blank=True, validators=[validate_tracking_url])
    shipped_at = models.DateTimeField(_("shipped at"), null=True, blank=True)
    delivered_at = models.DateTimeField(_("delivered at"), null=True, blank=True)

    objects = FulfillmentQuerySet.as_manager()

    class Meta:
        verbose_name = _("fulfillment")
        verbose_name_plural = _("fulfillments")
        base_manager_name = "objects"
        ordering = ["id"]

    def __str__(self) -> str:
        return " ".join(filter(None, (self.carrier, self.tracking_number))) or str(_("Fulfillment %s") % self.pk)

    def set_lines(self, quantities: Mapping[OrderLine, int]) -> None:
        """Make these the lines, in the running transaction. Rows of lines that stay keep their ids."""
        rows = {row.line_id: row for row in FulfillmentLine.objects.filter(fulfillment=self)}
        for line, quantity in quantities.items():
            row = rows.pop(line.pk, None) or FulfillmentLine(fulfillment=self, line=line)
            if row.pk is None or row.quantity != quantity:
                row.quantity = quantity
                row.save()
        for row in rows.values():
            row.delete()


class FulfillmentLineQuerySet(TrackedQuerySet["FulfillmentLine"]):
    """See `db.primary`."""


class FulfillmentLine(models.Model):
    """How many pieces of an order's line are in a fulfillment."""

    fulfillment = models.ForeignKey(Fulfillment, models.CASCADE, related_name="lines")
    line = models.ForeignKey(OrderLine, models.CASCADE, related_name="fulfillment_lines", verbose_name=_("order line"))
    quantity = models.PositiveIntegerField(_("quantity"), default=1, validators=[MinValueValidator(1)])

    objects = FulfillmentLineQuerySet.as_manager()

    class Meta:
        verbose_name = _("fulfillment line")
        verbose_name_plural = _("fulfillment lines")
        base_manager_name = "objects"
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["fulfillment", "line"], name="orderhooks_fulfillment_line_once"),
            models.CheckConstraint(condition=Q(quantity__gte=1), name="orderhooks_fulfillment_line_quantity"),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} x {self.line.sku}"

    def clean(self) -> None:
        """Raises ValidationError if the line belongs to another order, or if the quantity is more than was ordered."""
        problems = problems_of_line(self.line, self.quantity, order_pk=self.fulfillment.order_id)
        if problems:
            raise ValidationError(problems)


def problems_of_line(line: OrderLine, quantity: int, *, order_pk: Any) -> dict[str, Any]:
    """Why this many pieces of the line can't be in a fulfillment of that order: a text by field. Empty if they can.

    Other fulfillments are not counted, because a lost parcel is sent again.
    """
    if line.order_id != order_pk:
        return {"line": _("This line belongs to another order.")}
    if quantity > line.quantity:
        return {"quantity": _("At most %(quantity)s were ordered.") % {"quantity": line.quantity}}
    return {}
