"""Orders with their lines. A page is saved in one transaction, so an edit publishes once, like any other save."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.core.paginator import Page, Paginator
from django.db import models
from django.forms.fields import InvalidJSONInput
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from orderhooks import operations, payloads, permissions, reporting, sources, tasks
from orderhooks.admin.buttons import Button, ButtonsAdmin
from orderhooks.admin.health import badge
from orderhooks.admin.read_only import BoundedPaginator, sees_payload
from orderhooks.admin.unaltered import KeepsUnaltered
from orderhooks.admin.webhooks import Webhooks, webhooks_of
from orderhooks.currencies import decimal_text
from orderhooks.db import DatabaseClock
from orderhooks.models import Delivery, Event, Order, OrderLine
from orderhooks.reporting.counts import count_text


class JsonObjectField(forms.JSONField):
    """A JSON object that receivers can be sent and every database can store. Nothing typed means `{}`."""

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except (RecursionError, ValueError) as error:  # nested too deep for Python; a number of too many digits
            raise ValidationError(_("Write a flatter JSON object with shorter numbers."), code="json") from error

    def bound_data(self, data: Any, initial: Any) -> Any:
        """What was typed, also where Python can't read it."""
        try:
            return super().bound_data(data, initial)
        except (RecursionError, ValueError):
            return InvalidJSONInput(data)

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


class AmountField(forms.DecimalField):
    """A number. Django compares a signalling NaN with the stored value, which raises, before it would refuse it."""

    def to_python(self, value: Any) -> Any:
        amount = super().to_python(value)
        if amount is not None and not amount.is_finite():
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        return amount


AMOUNTS: Any = {models.DecimalField: {"form_class": AmountField}}


class OrderForm(KeepsUnaltered):
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


class OrderLineForm(KeepsUnaltered):
    class Meta:
        model = OrderLine
        exclude: tuple[str, ...] = ()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        quantity, fulfilled = cleaned.get("quantity"), cleaned.get("fulfilled_quantity")
        if quantity is not None and fulfilled is not None and fulfilled > quantity:
            self.add_error("fulfilled_quantity", _("No more than the quantity can be fulfilled."))
        return cleaned


# Django takes at most 1,000 fields of a form (DATA_UPLOAD_MAX_NUMBER_FIELDS), and a line has seven.
LINES_AT_ONCE = 50
LINES_VAR = "lines"


class _LinesFormSet(forms.BaseInlineFormSet):
    """The lines of one page of an order; those that come back, whatever page they would be on by now."""

    page: Page[Any]

    def get_queryset(self) -> Any:
        if not hasattr(self, "_queryset"):
            rows = super().get_queryset().order_by("pk")
            if self.is_bound:
                keys = [self.data.get(f"{self.prefix}-{number}-id") for number in range(self.initial_form_count())]
                rows = rows.filter(pk__in=[key for key in keys if str(key).isdecimal() and len(str(key)) < 19])
            else:
                rows = rows.filter(pk__in=[row.pk for row in self.page.object_list])
            self._queryset = rows
        return self._queryset

    def add_fields(self, form: Any, index: int | None) -> None:
        """Each input has a label, because screen readers do not read the table's head as one."""
        super().add_fields(form, index)
        for field in form.fields.values():
            if field.label:
                field.widget.attrs.setdefault("aria-label", str(field.label).capitalize())


class OrderLineInline(admin.TabularInline):
    """The lines in pages: `?lines=2`."""

    model = OrderLine
    form = OrderLineForm
    formfield_overrides = AMOUNTS
    formset = _LinesFormSet
    template = "admin/orderhooks/order/lines.html"
    extra = 0

    def get_formset(self, request: HttpRequest, obj: Order | None = None, **options: Any) -> Any:
        formset = super().get_formset(request, obj, **options)
        lines = OrderLine.objects.filter(order=obj) if obj else OrderLine.objects.none()
        paginator = Paginator(lines.order_by("pk"), LINES_AT_ONCE)
        page = paginator.get_page(request.GET.get(LINES_VAR))
        return type(formset.__name__, (formset,), {"page": page})


# How the states of deliveries look in the list, the most pressing first.
LEVELS = {
    Delivery.State.FAILED: "bad",
    Delivery.State.PENDING: "held",
    Delivery.State.SENDING: "held",
    Delivery.State.SKIPPED: "quiet",
    Delivery.State.DELIVERED: "good",
}


class _OrderList(ChangeList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if _sees_log(request):
            keys = [str(order.pk) for order in self.result_list]
            states = Delivery.objects.states_of_orders(sources.BuiltInOrders.name, keys)
            for order in self.result_list:
                order._states = states.get(str(order.pk), {})


@admin.register(Order)
class OrderAdmin(ButtonsAdmin):
    form = OrderForm
    formfield_overrides = AMOUNTS
    inlines = [OrderLineInline]
    buttons = (Button("redeliver", _("Redeliver what failed"), "redeliver"),)
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
    list_filter = ["status", "payment_status", "fulfillment_status", "is_test"]
    paginator = BoundedPaginator
    show_full_result_count = False
    search_fields = ["number", "public_id__exact", "customer_name", "customer_email"]
    ordering = ["-placed_at"]
    readonly_fields = ["webhooks", "public_id", "events", "created_at", "updated_at"]
    fieldsets = [
        (_("Webhooks of this order"), {"fields": ["webhooks"], "classes": ["orderhooks-wide"]}),
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

    def get_fieldsets(self, request: HttpRequest, obj: Order | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        return fieldsets if obj is not None and _sees_log(request) else fieldsets[1:]

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        columns = list(super().get_list_display(request))
        return columns if _sees_log(request) else [name for name in columns if name != "deliveries"]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return _OrderList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        order = super().get_object(request, object_id, from_field)
        if order is not None:
            # A read-only field does not get the request, and so not the user.
            order._sees_payload = sees_payload(request)
        return order

    def has_redeliver_permission(self, request: HttpRequest) -> bool:
        return _sees_log(request) and request.user.has_perm(permissions.REDELIVER_DELIVERY)

    def offers(self, request: HttpRequest, record: Order, button: Button) -> bool:
        return super().offers(request, record, button) and bool(self._webhooks_of(record).failed)

    def press_redeliver(self, request: HttpRequest, order: Order) -> None:
        failed = Delivery.objects.filter(pk__in=self._webhooks_of(order).failed)
        count = operations.redeliver(failed, by=request.user.get_username())
        text = ngettext("%(count)s delivery is sent again.", "%(count)s deliveries are sent again.", count)
        text %= {"count": count_text(count)}
        self.log_change(request, order, text)
        self.message_user(request, text)

    def what_follows(self, record: Any) -> str:
        return str(_("Each gets one attempt now and, if it fails, all automatic attempts, as a new one does."))

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

    @admin.display(description=_("webhooks"))
    def webhooks(self, order: Order) -> SafeString:
        buttons = self.what_to_do(order) if getattr(order, "_buttons", ()) else ""
        problems = reporting.worker_problems(tasks.look_at_worker(), now=DatabaseClock().now())
        found = self._webhooks_of(order)
        nothing = "" if found.reports else reporting.no_events_text(sources.BuiltInOrders.name, str(order.pk))
        return found.draw(buttons, problems=problems, with_errors=vars(order)["_sees_payload"], nothing=nothing)

    def _webhooks_of(self, order: Any) -> Webhooks:
        # Needed for the page and for its button.
        if not hasattr(order, "_webhooks"):
            source = sources.BuiltInOrders.name
            events = Event.objects.filter(source=source, order_pk=str(order.pk))
            order._webhooks = webhooks_of(events, site=self.admin_site.name, more_url=self._events_url(order))
        found: Webhooks = order._webhooks
        return found

    def _events_url(self, order: Order) -> str:
        url = reverse(f"{self.admin_site.name}:orderhooks_event_changelist")
        return f"{url}?{urlencode({'order_number__exact': order.number})}"

    @admin.display(description=_("total"), ordering="total")
    def amount(self, order: Order) -> str:
        return f"{decimal_text(order.total, order.currency)} {order.currency}"

    @admin.display(description=_("events"))
    def events(self, order: Order) -> SafeString | str:
        if order.pk is None:
            return "-"
        return format_html('<a href="{}">{}</a>', self._events_url(order), _("What happened to this order"))


def _sees_log(request: HttpRequest) -> bool:
    return request.user.has_perm(permissions.VIEW_DELIVERY)
