"""The tables on an order's page: its lines, fulfillments, payments and refunds, each in pages."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from orderhooks.admin.order_forms import AMOUNTS, FulfillmentForm, OrderLineForm, RowForm, contents_of
from orderhooks.admin.unaltered import KeepsUnaltered
from orderhooks.models import Fulfillment, Order, OrderLine, Payment, Refund

__all__ = ["FulfillmentInline", "OrderLineInline", "PaymentInline", "RefundInline"]


# Of one table: Django takes at most 1,000 fields of a form (DATA_UPLOAD_MAX_NUMBER_FIELDS), and a row has five or more.
MOST_ROWS = 200


class _PagedFormSet(forms.BaseInlineFormSet):
    """The rows of one page of an order; those that come back, whatever page they would be on by now."""

    page: Page[Any]

    def get_queryset(self) -> Any:
        if not hasattr(self, "_queryset"):
            rows = super().get_queryset().order_by("pk")
            if self.is_bound:
                # A request may say that there were any number of rows; no more than the forms are looked at.
                count = min(self.initial_form_count(), self.total_form_count())
                keys = [self.data.get(f"{self.prefix}-{number}-id") for number in range(count)]
                rows = rows.filter(pk__in=[key for key in keys if str(key).isdecimal() and len(str(key)) < 19])
            else:
                rows = rows.filter(pk__in=[row.pk for row in self.page.object_list])
            self._queryset = rows
        return self._queryset

    def add_fields(self, form: Any, index: int | None) -> None:
        """Each input says its name: a table's head is none to a screen reader."""
        super().add_fields(form, index)
        for field in form.fields.values():
            if field.label:
                field.widget.attrs.setdefault("aria-label", str(field.label).capitalize())


class _RowsInline(admin.TabularInline):
    """Rows of an order in pages: `?lines=2`."""

    form: type[KeepsUnaltered] = RowForm
    formfield_overrides = AMOUNTS
    formset = _PagedFormSet
    template = "admin/orderhooks/order/rows.html"
    extra = 0
    # A row has up to ten fields: see MOST_ROWS.
    rows_at_once = 15

    def get_formset(self, request: HttpRequest, obj: Order | None = None, **options: Any) -> Any:
        # A request may name any number of rows, and Django would make and draw 2,000.
        formset = super().get_formset(request, obj, **{"max_num": MOST_ROWS, "absolute_max": MOST_ROWS, **options})
        rows = self.model.objects.none()
        # The page says how many there are, which is not for a user who may only add.
        if obj and self.has_view_or_change_permission(request, obj):
            rows = self.model.objects.filter(order=obj)
        paginator = Paginator(rows.order_by("pk"), self.rows_at_once)
        name = formset.get_default_prefix()
        page = paginator.get_page(request.GET.get(name))
        return type(formset.__name__, (formset,), {"page": page})


class OrderLineInline(_RowsInline):
    model = OrderLine
    form = OrderLineForm
    rows_at_once = 50


class FulfillmentInline(_RowsInline):
    model = Fulfillment
    form = FulfillmentForm
    fields = ["contents", "carrier", "tracking_number", "tracking_url", "shipped_at", "delivered_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("lines__line")

    @admin.display(description=_("contents"))
    def contents(self, fulfillment: Fulfillment) -> str:
        """For users who may only view."""
        return ", ".join(f"{quantity} x {sku}" for quantity, sku in contents_of(fulfillment))


class PaymentInline(_RowsInline):
    model = Payment


class RefundInline(_RowsInline):
    model = Refund
