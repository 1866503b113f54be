"""Webhooks of an order in the admin of any order model: a mixin for the store's ModelAdmin, and for ours."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import flatten_fieldsets, quote, unquote
from django.core import checks
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.debug import sensitive_post_parameters

from orderhooks import operations, permissions, reporting, sources, tasks
from orderhooks.admin.buttons import draw_button, pressed_too_late
from orderhooks.admin.stores import is_of_stores, stores_of
from orderhooks.admin.webhooks import Webhooks, webhooks_of
from orderhooks.db import DatabaseClock
from orderhooks.models import Delivery, Order
from orderhooks.reporting.counts import count_text

__all__ = ["OrderWebhooksMixin", "sees_log"]

FIELD = "order_webhooks"
REDELIVER = _("Redeliver what failed")
NONE_FAILED = _("Nothing was sent again: none of this order's deliveries is failed any more.")
REDELIVER_HINT = _("Each gets one attempt now and, if it fails, all automatic attempts, as a new one does.")


def sees_log(request: HttpRequest) -> bool:
    """Whether the user may see deliveries."""
    return request.user.has_perm(permissions.VIEW_DELIVERY)


class OrderWebhooksMixin(admin.ModelAdmin):
    """A mixin that adds "Webhooks of this order" to the admin of the orders that an order source describes:

        @admin.register(Purchase)
        class PurchaseAdmin(OrderWebhooksMixin, admin.ModelAdmin):
            ...

    An order's page links to a page that shows what came of each event for each subscription, or why nothing did, and
    sends again what failed. To show the same in the order's page itself, name `order_webhooks` in `readonly_fields`.

    Users who are limited to stores (STORES_FOR_USER) see only orders that `OrderSource.of_stores` finds for them.

    It takes the permission to view the order, as the ModelAdmin grants it, and `view_delivery`; to send again also
    `redeliver_delivery`. A system check (W070) warns if no source in the setting SOURCES describes the model.
    """

    class Media:
        css = {"all": ["orderhooks/admin.css"]}

    def get_urls(self) -> list[URLPattern]:
        def view(method: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
            return self.admin_site.admin_view(method)

        name = _url_name(self.opts)
        return [
            path("<path:object_id>/webhooks/", view(self.order_webhooks_view), name=f"{name}_webhooks"),
            path(
                "<path:object_id>/webhooks/redeliver/",
                view(self.redeliver_order_webhooks_view),
                name=f"{name}_redeliver_webhooks",
            ),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The orders of the user's stores, as the order source finds them."""
        orders: QuerySet[Any] = super().get_queryset(request)
        stores = stores_of(request)
        if stores is None:
            return orders
        source = sources.order_source_of(self.model)
        return orders.none() if source is None else source.of_stores(orders, stores)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        return [*super().check(**kwargs), *_source_check(self)]

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        response = super().render_change_form(request, context, add, change, form_url, obj)
        if obj is None or not isinstance(response, TemplateResponse):
            return response
        # A read-only field does not get the request, and so not the user.
        obj._orderhooks_request = request
        context = response.context_data = {**(response.context_data or {})}
        shown = flatten_fieldsets(context["adminform"].fieldsets) if "adminform" in context else []
        if sees_log(request) and FIELD not in shown and is_of_stores(obj, stores_of(request)):
            # Extends the template that the page has, whatever app it comes from.
            context["orderhooks_extended"] = response.resolve_template(response.template_name)
            context["orderhooks_webhooks_url"] = _url(self, "webhooks", obj)
            response.template_name = "admin/orderhooks/order/with_webhooks_link.html"
        return response

    @admin.display(description=_("webhooks"))
    def order_webhooks(self, order: Any) -> SafeString | str:
        """What came of the order's events. For `readonly_fields`."""
        request = getattr(order, "_orderhooks_request", None)
        if request is None or not sees_log(request) or not is_of_stores(order, stores_of(request)):
            return "-"
        return _draw(self, request, order)

    def order_webhooks_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The page behind the link."""
        order = _require_order(self, request, object_id)
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": _("Webhooks of %(order)s") % {"order": order},
            "opts": self.opts,
            "media": self.media,
            "order": order,
            "order_url": _url(self, "change", order),
            "webhooks": _draw(self, request, order),
        }
        return TemplateResponse(request, "admin/orderhooks/order/webhooks.html", context)

    # The fields of the order's form are sent too if the button is in the order's page.
    @method_decorator(sensitive_post_parameters())
    def redeliver_order_webhooks_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Where the button posts to: sends again what failed."""
        order = _require_order(self, request, object_id)
        back = _url(self, "change" if _is_in_page(self, request, order) else "webhooks", order)
        if request.method in ("GET", "HEAD"):
            return pressed_too_late(request, REDELIVER, back)
        if request.method != "POST":
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        if not _may_redeliver(request):
            raise PermissionDenied
        failed = _webhooks_of(self, request, order).failed
        if not failed:
            self.message_user(request, NONE_FAILED, messages.WARNING)
            return HttpResponseRedirect(back)
        count = operations.redeliver(Delivery.objects.filter(pk__in=failed), by=request.user.get_username())
        text = ngettext("%(count)s delivery is sent again.", "%(count)s deliveries are sent again.", count)
        text %= {"count": count_text(count)}
        self.log_change(request, order, text)
        self.message_user(request, text)
        return HttpResponseRedirect(back)


# Functions, because the names of a mixin's methods could be those of the store's.


def _require_order(model_admin: admin.ModelAdmin, request: HttpRequest, object_id: str) -> Any:
    """The order, as the store's ModelAdmin shows it to the user. Raises PermissionDenied or Http404."""
    order = model_admin.get_object(request, unquote(object_id))
    if not sees_log(request) or not model_admin.has_view_permission(request, order):
        raise PermissionDenied
    if order is None or not is_of_stores(order, stores_of(request)):
        raise Http404
    return order


def _may_redeliver(request: HttpRequest) -> bool:
    return sees_log(request) and request.user.has_perm(permissions.REDELIVER_DELIVERY)


def _is_in_page(model_admin: admin.ModelAdmin, request: HttpRequest, order: Any) -> bool:
    return FIELD in flatten_fieldsets(model_admin.get_fieldsets(request, order))


def _webhooks_of(model_admin: admin.ModelAdmin, request: HttpRequest, order: Any) -> Webhooks:
    # Needed for the page and for its button.
    if not hasattr(order, "_orderhooks_webhooks"):
        # The order may have belonged to another store before.
        events, stores = reporting.order_events(order), stores_of(request)
        order._orderhooks_webhooks = webhooks_of(events, stores=stores, site=model_admin.admin_site)
    found: Webhooks = order._orderhooks_webhooks
    return found


def _draw(model_admin: admin.ModelAdmin, request: HttpRequest, order: Any) -> SafeString:
    found = _webhooks_of(model_admin, request, order)
    button: SafeString | str = ""
    if found.failed and _may_redeliver(request):
        drawn = draw_button(_url(model_admin, "redeliver_webhooks", order), REDELIVER)
        button = format_html('{}<p class="orderhooks-hint">{}</p>', drawn, REDELIVER_HINT)
    return found.draw(
        request,
        button,
        problems=reporting.worker_problems(tasks.look_at_worker(), now=DatabaseClock().now()),
        nothing=reporting.order_waits_text(order) if found.reports else reporting.order_has_no_events_text(order),
    )


def _url(model_admin: admin.ModelAdmin, name: str, order: Model) -> str:
    view = f"{model_admin.admin_site.name}:{_url_name(model_admin.opts)}_{name}"
    return reverse(view, args=[quote(order.pk)])


def _url_name(options: Any) -> str:
    return f"{options.app_label}_{options.model_name}"


def _source_check(model_admin: admin.ModelAdmin) -> list[checks.CheckMessage]:
    # The admin of the built-in orders hides itself.
    if sources.order_source_of(model_admin.model) or issubclass(model_admin.model, Order):
        return []
    return [
        checks.Warning(
            f"{type(model_admin).__name__} shows the webhooks of {model_admin.opts.label}, and no order source "
            "describes this model.",
            hint='Name its source in ORDERHOOKS["SOURCES"], or remove OrderWebhooksMixin. '
            f"`manage.py orderhooks_source {model_admin.opts.label}` prints a source to begin with.",
            obj=type(model_admin),
            id="orderhooks.W070",
        )
    ]
