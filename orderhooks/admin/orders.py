"""Orders with their lines. A page is saved in one transaction, so an edit publishes once, like any other save."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from orderhooks import payloads
from orderhooks.currencies import decimal_text
from orderhooks.models import Order, OrderLine


class JsonObjectField(forms.JSONField):
    """A JSON object that receivers can be sent and every database can store. Nothing typed means `{}`."""

    def clean(self, value: Any) -> dict[str, Any]:
        data = super().clean(value)
        if data is None:
            return {}
        if not isinstance(data, dict):
            raise ValidationError(_('Write a JSON object such as {"city": "Kyoto"}.'), code="object")
        try:
            payloads.check(data)
        except (TypeError, ValueError) as error:
            raise ValidationError(
                _("This can't be sent as JSON; leave out NaN, Infinity and NUL characters. (%(error)s)"),
                code="json",
                params={"error": error},
            ) from None
        return data


class OrderForm(forms.ModelForm):
    class Meta:
        model = Order
        exclude: tuple[str, ...] = ()
        field_classes = {
            "billing_address": JsonObjectField,
            "shipping_address": JsonObjectField,
            "metadata": JsonObjectField,
        }

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        number, store = cleaned.get("number"), cleaned.get("store")
        if number is None or store is None:
            return cleaned
        if not number and not self.instance._state.adding:
            self.add_error("number", _("A number is made only for a new order. Give this one its number."))
        elif number and Order.objects.filter(store=store, number=number).exclude(pk=self.instance.pk).exists():
            self.add_error(
                "number",
                _("The store has an order with this number. Use another, or leave it blank on a new order."),
            )
        return cleaned

    def _get_validation_exclusions(self) -> set[str]:
        # A blank number becomes a number in save(); the constraint that there is one would refuse it before that.
        excluded: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]
        return excluded if self.cleaned_data.get("number") else {*excluded, "number"}


class OrderLineForm(forms.ModelForm):
    class Meta:
        model = OrderLine
        exclude: tuple[str, ...] = ()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        quantity, fulfilled = cleaned.get("quantity"), cleaned.get("fulfilled_quantity")
        if quantity is not None and fulfilled is not None and fulfilled > quantity:
            self.add_error("fulfilled_quantity", _("No more than the quantity can be fulfilled."))
        return cleaned


class OrderLineInline(admin.TabularInline):
    model = OrderLine
    form = OrderLineForm
    extra = 0


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    form = OrderForm
    inlines = [OrderLineInline]
    list_display = [
        "number",
        "store",
        "status",
        "payment_status",
        "fulfillment_status",
        "amount",
        "customer_name",
        "is_test",
        "placed_at",
    ]
    list_filter = ["status", "payment_status", "fulfillment_status", "is_test"]
    search_fields = ["number", "public_id__exact", "customer_name", "customer_email"]
    ordering = ["-placed_at"]
    readonly_fields = ["public_id", "events", "created_at", "updated_at"]
    fieldsets = [
        (None, {"fields": ["number", "store", "is_test", "placed_at"]}),
        (_("Status"), {"fields": ["status", "payment_status", "fulfillment_status"]}),
        (_("Amounts"), {"fields": ["currency", "subtotal", "discount", "shipping", "tax", "total"]}),
        (
            _("Customer"),
            {
                "fields": [
                    "customer_name",
                    "customer_email",
                    "customer_phone",
                    "billing_address",
                    "shipping_address",
                ]
            },
        ),
        (_("Also"), {"fields": ["note", "metadata"]}),
        (_("Record"), {"fields": ["public_id", "events", "created_at", "updated_at"]}),
    ]

    @admin.display(description=_("total"), ordering="total")
    def amount(self, order: Order) -> str:
        return f"{decimal_text(order.total, order.currency)} {order.currency}"

    @admin.display(description=_("events"))
    def events(self, order: Order) -> SafeString | str:
        if order.pk is None:
            return "-"
        page = reverse(f"{self.admin_site.name}:orderhooks_event_changelist")
        query = {"order_number__exact": order.number}
        return format_html('<a href="{}?{}">{}</a>', page, urlencode(query), _("What happened to this order"))
