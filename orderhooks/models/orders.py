"""The built-in order and its lines. Only `sources`, the admin and the API use their fields."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import IntegrityError, models, router, transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orderhooks import payloads
from orderhooks.compiled_queries import CompiledQuery
from orderhooks.currencies import validate_currency
from orderhooks.db import public_ids
from orderhooks.querysets import TrackedQuerySet

FIRST_NUMBER = 1001
# In each of two turns.
NUMBER_TRIES = 20
# What a database calls the constraint of numbers in its errors. SQLite names the columns.
NUMBER_CLASHES = ("orderhooks_order_number", "orderhooks_order.number")


def _amount(**options: Any) -> "models.DecimalField[Any, Any]":
    # Four places: the most that a currency of ISO 4217 has. Fifteen digits: the most that SQLite keeps.
    return models.DecimalField(
        max_digits=15, decimal_places=4, default=Decimal(0), validators=[MinValueValidator(0)], **options
    )


def validate_passed_through(value: Any) -> None:
    """Refuse, in forms and `full_clean()`, what receivers or databases can't take. Raises ValidationError."""
    try:
        payloads.check(value, depth=payloads.MAX_PASSED_THROUGH_DEPTH)
    except (TypeError, ValueError) as error:
        raise ValidationError(
            _("This can't be sent to receivers: %(error)s"), code="json", params={"error": error}
        ) from None


class OrderQuerySet(TrackedQuerySet["Order"]):
    """See `db.primary`."""


class Order(models.Model):
    """A store's order. Money is in `currency`.

    `save()` keeps `paid_at` and `cancelled_at` in step with the statuses. A time that the store sets itself is kept as
    long as it fits the status. `paid_at` stays when the order is refunded. `update()` and bulk methods write only what
    they are given.
    """

    class Status(models.TextChoices):
        OPEN = "open", _("open")  # being worked on
        CANCELLED = "cancelled", _("cancelled")  # nothing more is charged or shipped
        CLOSED = "closed", _("closed")  # done with

    class PaymentStatus(models.TextChoices):
        PENDING = "pending", _("pending")  # nothing has arrived
        AUTHORIZED = "authorized", _("authorized")  # reserved, not taken
        PARTIALLY_PAID = "partially_paid", _("partially paid")
        PAID = "paid", _("paid")
        PARTIALLY_REFUNDED = "partially_refunded", _("partially refunded")
        REFUNDED = "refunded", _("refunded")
        VOIDED = "voided", _("voided")  # a reservation that was released

    class FulfillmentStatus(models.TextChoices):
        UNFULFILLED = "unfulfilled", _("unfulfilled")
        PARTIALLY_FULFILLED = "partially_fulfilled", _("partially fulfilled")
        FULFILLED = "fulfilled", _("fulfilled")
        RETURNED = "returned", _("returned")

    # In these, `paid_at` and `cancelled_at` are empty.
    NOT_PAID = (PaymentStatus.PENDING, PaymentStatus.AUTHORIZED, PaymentStatus.PARTIALLY_PAID, PaymentStatus.VOIDED)
    NOT_CANCELLED = (Status.OPEN, Status.CLOSED)

    public_id = models.CharField(
        max_length=public_ids.MAX_LENGTH, unique=True, editable=False, default=public_ids.order_id
    )
    number = models.CharField(
        _("number"), max_length=255, blank=True, help_text=_("Unique within the store; made when left blank.")
    )
    store = models.CharField(_("store"), max_length=255, blank=True)
    status = models.CharField(_("status"), max_length=32, choices=Status, default=Status.OPEN)
    payment_status = models.CharField(
        _("payment status"), max_length=32, choices=PaymentStatus, default=PaymentStatus.PENDING
    )
    fulfillment_status = models.CharField(
        _("fulfillment status"),
        max_length=32,
        choices=FulfillmentStatus,
        default=FulfillmentStatus.UNFULFILLED,
    )
    currency = models.CharField(_("currency"), max_length=3, default="EUR", validators=[validate_currency])
    subtotal = _amount(verbose_name=_("subtotal"))
    discount = _amount(verbose_name=_("discount"))
    shipping = _amount(verbose_name=_("shipping"))
    tax = _amount(verbose_name=_("tax"))
    total = _amount(verbose_name=_("total"))
    customer_name = models.CharField(_("customer name"), max_length=200, blank=True)
    customer_email = models.EmailField(_("customer email"), blank=True)
    customer_phone = models.CharField(_("customer phone"), max_length=64, blank=True)
    billing_address = models.JSONField(
        _("billing address"), default=dict, blank=True, validators=[validate_passed_through]
    )
    shipping_address = models.JSONField(
        _("shipping address"), default=dict, blank=True, validators=[validate_passed_through]
    )
    note = models.TextField(_("note"), blank=True)
    metadata = models.JSONField(
        _("metadata"),
        default=dict,
        blank=True,
        validators=[validate_passed_through],
        help_text=_("Anything of yours; receivers get it unchanged."),
    )
    is_test = models.BooleanField(_("test order"), default=False)
    placed_at = models.DateTimeField(_("placed at"), default=timezone.now)
    paid_at = models.DateTimeField(_("paid at"), null=True, blank=True)
    cancelled_at = models.DateTimeField(_("cancelled at"), null=True, blank=True)
    cancel_reason = models.CharField(_("reason of the cancellation"), max_length=500, blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects = OrderQuerySet.as_manager()

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")
        base_manager_name = "objects"
        ordering = ["-id"]
        constraints = [
            # Also serves the look-up of an order by its number.
            models.UniqueConstraint(fields=["store", "number"], name="orderhooks_order_number"),
            models.CheckConstraint(condition=~Q(number=""), name="orderhooks_order_has_number"),
            models.CheckConstraint(
                condition=Q(status__in=["open", "cancelled", "closed"]), name="orderhooks_order_status"
            ),
            models.CheckConstraint(
                condition=Q(
                    payment_status__in=[
                        "pending",
                        "authorized",
                        "partially_paid",
                        "paid",
                        "partially_refunded",
                        "refunded",
                        "voided",
                    ]
                ),
                name="orderhooks_order_payment_status",
            ),
            models.CheckConstraint(
                condition=Q(fulfillment_status__in=["unfulfilled", "partially_fulfilled", "fulfilled", "returned"]),
                name="orderhooks_order_fulfillment_status",
            ),
            models.CheckConstraint(
                condition=Q(subtotal__gte=0, discount__gte=0, shipping__gte=0, tax__gte=0, total__gte=0),
                name="orderhooks_order_amounts",
            ),
        ]
        indexes = [
            # The admin's list, newest first.
            models.Index(fields=["-placed_at"], name="orderhooks_order_placed"),
        ]

    def __str__(self) -> str:
        return self.number

    def save(self, **options: Any) -> None:
        """Save in one transaction with what the outbox writes down; make a number for a new order without one."""
        using = options.get("using") or router.db_for_write(type(self), instance=self)
        if options.get("update_fields") is None:
            self._set_times()
        else:
            options["update_fields"] = self._set_times(frozenset(options["update_fields"]))
        if self._state.adding and not self.number:
            return self._save_with_new_number(using, options)
        with transaction.atomic(using=using):
            return super().save(**options)

    def _set_times(self, saved: frozenset[str] | None = None) -> frozenset[str] | None:
        """Set or empty the times of the statuses that are saved. Returns the names of the fields to save.

        `saved` and the result are None for all fields. A status that was not loaded is not saved, so its time stays.
        """
        times = (
            ("payment_status", "paid_at", self.PaymentStatus.PAID, self.NOT_PAID),
            ("status", "cancelled_at", self.Status.CANCELLED, self.NOT_CANCELLED),
        )
        for status, name, reached, not_reached in times:
            value = self.__dict__.get(status)
            if saved is not None and status not in saved:
                continue
            if value == reached and getattr(self, name) is None:
                setattr(self, name, timezone.now())
            elif value in not_reached and getattr(self, name) is not None:
                setattr(self, name, None)
            else:
                continue
            saved = None if saved is None else saved | {name}
        return saved

    def _save_with_new_number(self, using: str, options: dict[str, Any]) -> None:
        """Each try in a transaction of its own, or in a savepoint of the store's."""
        for candidate in _new_numbers(using):
            self.number = str(candidate)
            try:
                with transaction.atomic(using=using):
                    return super().save(**options)
            except IntegrityError as error:
                if not self._state.adding:
                    raise  # it was inserted: this is of the store's own code, maybe after the commit
                # Another process took the number, or an order was given it by hand; any other clash rises. Where reads
                # are repeatable, a query would not see the other order.
                if not any(name in str(error) for name in NUMBER_CLASHES):
                    self.number = ""
                    raise
        self.number = self.public_id
        with transaction.atomic(using=using):
            return super().save(**options)

    def recalculate(self) -> None:
        """Set `subtotal` and `total` from the lines as they stand in the database; does not save."""
        lines = self.lines.aggregate(sum=models.Sum(F("unit_price") * F("quantity")))
        self.subtotal = lines["sum"] or Decimal(0)
        # Amounts may still be text on an order that was not read back.
        discount, shipping, tax = Decimal(self.discount), Decimal(self.shipping), Decimal(self.tax)
        self.total = max(Decimal(0), self.subtotal - discount + shipping + tax)


# The primary key of the newest order.
LAST = CompiledQuery(lambda: Order.objects.only("pk").order_by("-pk")[:1])


def _new_numbers(using: str) -> Iterator[int]:
    """Numbers that are probably free, and more of them in case that others have saved many orders meanwhile."""
    following = 0
    for _turn in range(2):
        first = max(following, FIRST_NUMBER + max(LAST.values(using=using), default=0))
        following = first + NUMBER_TRIES
        yield from range(first, following)


class OrderLineQuerySet(TrackedQuerySet["OrderLine"]):
    """See `db.primary`."""


class OrderLine(models.Model):
    """One article of an order."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    sku = models.CharField(_("SKU"), max_length=100)
    name = models.CharField(_("name"), max_length=200)
    quantity = models.PositiveIntegerField(_("quantity"), default=1, validators=[MinValueValidator(1)])
    fulfilled_quantity = models.PositiveIntegerField(_("fulfilled quantity"), default=0)
    unit_price = _amount(verbose_name=_("unit price"))

    objects = OrderLineQuerySet.as_manager()

    class Meta:
        verbose_name = _("order line")
        verbose_name_plural = _("order lines")
        base_manager_name = "objects"
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(condition=Q(quantity__gte=1), name="orderhooks_line_quantity"),
            models.CheckConstraint(
                condition=Q(fulfilled_quantity__gte=0, fulfilled_quantity__lte=F("quantity")),
                name="orderhooks_line_fulfilled_quantity",
            ),
            models.CheckConstraint(condition=Q(unit_price__gte=0), name="orderhooks_line_unit_price"),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} x {self.sku}"

    def save(self, **options: Any) -> None:
        """Save in one transaction with what the outbox writes down."""
        using = options.get("using") or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using):
            super().save(**options)
