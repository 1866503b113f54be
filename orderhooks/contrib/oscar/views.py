"""Webhooks of an order, in Oscar's dashboard: for each event and each subscription, what came of it."""

from typing import Any

from django.apps import apps
from django.contrib.admin import site
from django.contrib.auth.mixins import AccessMixin
from django.http import Http404, HttpRequest, HttpResponseBase
from django.urls import reverse_lazy
from django.views.generic import TemplateView
from oscar.core.loading import get_class
from oscar.views.decorators import check_permissions

from orderhooks import permissions, reporting, tasks
from orderhooks.admin.stores import is_of_stores, stores_of
from orderhooks.admin.webhooks import webhooks_of
from orderhooks.db import DatabaseClock

__all__ = ["OrderWebhooksView", "may_see"]

get_order_for_user_or_404 = get_class("dashboard.orders.views", "get_order_for_user_or_404")


def may_see(user: Any) -> bool:
    """Whether a user may see webhooks of orders: staff who may see Oscar's page of an order, and deliveries."""
    of_page = apps.get_app_config("orders_dashboard").get_permissions("order-detail")  # type: ignore[attr-defined]
    is_staff = user.is_active and user.is_staff
    return bool(is_staff and check_permissions(user, of_page) and user.has_perm(permissions.VIEW_DELIVERY))


class OrderWebhooksView(AccessMixin, TemplateView):
    """The page of one order. Visitors are sent to log in; users who may not see it are refused."""

    template_name = "orderhooks_oscar/order_webhooks.html"
    login_url = reverse_lazy("dashboard:login")

    def dispatch(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponseBase:
        if not may_see(request.user):
            return self.handle_no_permission()
        return super().dispatch(request, *args, **options)

    def get_context_data(self, **options: Any) -> dict[str, Any]:
        order, stores = get_order_for_user_or_404(self.request.user, options["number"]), stores_of(self.request)
        if not is_of_stores(order, stores):
            raise Http404
        found = webhooks_of(reporting.order_events(order), stores=stores, site=site)
        nothing = reporting.order_waits_text(order) if found.reports else reporting.order_has_no_events_text(order)
        problems = reporting.worker_problems(tasks.look_at_worker(), now=DatabaseClock().now())
        drawn = found.draw(self.request, problems=problems, nothing=nothing)
        return super().get_context_data(order=order, webhooks=drawn, **options)
