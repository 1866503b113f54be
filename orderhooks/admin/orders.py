"""Orders with what belongs to them. A page is saved in one transaction, so an edit publishes once, like any save."""

import functools
from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import Http404, HttpRequest, HttpResponseBase
from django.urls import URLPattern, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from orderhooks import sources
from orderhooks.admin.health import badge
from orderhooks.admin.links import link, page_url
from orderhooks.admin.lookups import LastPageList, ListedLookups
from orderhooks.admin.order_forms import AMOUNTS, OrderForm
from orderhooks.admin.order_rows import FulfillmentInline, OrderLineInline, PaymentInline, RefundInline
from orderhooks.admin.order_webhooks import OrderWebhooksMixin, sees_log
from orderhooks.admin.read_only import BoundedPaginator
from orderhooks.admin.stores import OfStores, StoreFilter, stores_of
from orderhooks.admin.withheld import WithheldRows
from orderhooks.currencies import decimal_text
from orderhooks.models import Delivery, Event, Order
from orderhooks.reporting.counts import count_text

# How the states of deliveries look in the list, the most pressing first.
LEVELS = {
    Delivery.State.FAILED: "bad",
    Delivery.State.PENDING: "held",
    Delivery.State.SENDING: "held",
    Delivery.State.SKIPPED: "quiet",
    Delivery.State.DELIVERED: "good",
}


class _OrderList(LastPageList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if sees_log(request):
            keys = [str(order.pk) for order in self.result_list]
            source = sources.order_source_of(Order)
            rows = Delivery.objects.of_stores(stores_of(request))
            states = rows.states_of_orders(source.name, keys) if source else {}
            for order in self.result_list:
                order._states = states.get(str(order.pk), {})


View = Callable[..., HttpResponseBase]


def _while_used(view: View) -> View:
    """A 404 while no order source describes the built-in orders. Found out at each request, as settings are."""

    @functools.wraps(view)
    def run(*args: Any, **kwargs: Any) -> HttpResponseBase:
        if not sources.built_in_orders_are_used():
            raise Http404
        return view(*args, **kwargs)

    return run


@admin.register(Order)
class OrderAdmin(WithheldRows, OfStores, OrderWebhooksMixin, ListedLookups):
    """The built-in orders. Hidden while no order source describes them."""

    form = OrderForm
    formfield_overrides = AMOUNTS
    inlines = [OrderLineInline, FulfillmentInline, PaymentInline, RefundInline]
    list_display = [
        "number",
        "deliveries",
        "status",
        "payment_status",
        "amount",
        "fulfillment_status",
        "store",
        "customer_name",
        "is_test",
        "placed_at",
    ]
    list_filter = ["status", "payment_status", "fulfillment_status", StoreFilter, "is_test"]
    paginator = BoundedPaginator
    show_full_result_count = False
    search_fields = ["number", "public_id__exact", "customer_name", "customer_email"]
    ordering = ["-placed_at"]
    readonly_fields = ["order_webhooks", "public_id", "events", "created_at", "updated_at"]
    fieldsets = [
        (_("Webhooks of this order"), {"fields": ["order_webhooks"], "classes": ["orderhooks-wide"]}),
        (None, {"fields": ["number", "store", "is_test", "placed_at"]}),
        (
            _("Status"),
            {
                "fields": [
                    "status",
                    "payment_status",
                    "fulfillment_status",
                    "paid_at",
                    "cancelled_at",
                    "cancel_reason",
                ]
            },
        ),
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

    def has_module_permission(self, request: HttpRequest) -> bool:
        return sources.built_in_orders_are_used() and super().has_module_permission(request)

    def get_urls(self) -> list[URLPattern]:
        urls = super().get_urls()
        for pattern in urls:
            pattern.callback = _while_used(pattern.callback)
        return urls

    def get_fieldsets(self, request: HttpRequest, obj: Order | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None:
            # Before it is saved there is nothing to record: a public id that it would show is not the one that it gets.
            return [one for one in fieldsets if not set(one[1]["fields"]) <= set(self.readonly_fields)]
        return fieldsets if sees_log(request) else fieldsets[1:]

    def get_inlines(self, request: HttpRequest, obj: Order | None) -> Any:
        inlines = super().get_inlines(request, obj)
        # What is in a fulfillment are lines that the order has already.
        return [inline for inline in inlines if obj is not None or inline is not FulfillmentInline]

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        columns = list(super().get_list_display(request))
        return columns if sees_log(request) else [name for name in columns if name != "deliveries"]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return _OrderList

    @admin.display(description=_("webhooks"))
    def deliveries(self, order: Order) -> SafeString | str:
        """A badge for each state in which some are."""
        counts = vars(order)["_states"]
        found = [
            badge(level, f"{count_text(counts[state])} {state.label}")
            for state, level in LEVELS.items()
            if counts.get(state)
        ]
        url = reverse(f"{self.admin_site.name}:orderhooks_order_change", args=[order.pk])
        text = format_html_join(" ", "{}", ((one,) for one in found)) if found else "-"
        return format_html('<a class="orderhooks-plain" href="{}">{}</a>', url, text)

    @admin.display(description=_("total"), ordering="total")
    def amount(self, order: Order) -> str:
        return f"{decimal_text(order.total, order.currency)} {order.currency}"

    @admin.display(description=_("events"))
    def events(self, order: Order) -> SafeString | str:
        request = getattr(order, "_orderhooks_request", None)
        if order.pk is None or request is None:
            return "-"
        url = page_url(request, Event, "changelist", site=self.admin_site, order_number__exact=order.number)
        return link(url, _("What happened to this order")) if url else "-"
