"""Links from an event or a delivery to the order that it is about."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.admin.utils import quote
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from orderhooks import logs, sources
from orderhooks.admin.links import link, page_url
from orderhooks.admin.read_only import BoundedChangeList
from orderhooks.models import Dashboard, Event
from orderhooks.sources import OrderSource

__all__ = ["OrderLinkedList", "order_link", "order_pages", "order_urls"]

logger = logs.get_logger(__name__)


class OrderLinkedList(BoundedChangeList):
    """A list of events or deliveries, whose `order_number` column links to the orders: a query for each source."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = list(self.result_list)
        urls = order_urls(request, [_event_of(row) for row in rows], site=self.model_admin.admin_site)
        for row in rows:
            row._order_url = urls[_event_of(row).pk]
        self.result_list = rows


def order_urls(request: HttpRequest, events: Iterable[Event], *, site: AdminSite) -> dict[int, str]:
    """The URL of the order's page for each event, by the event's primary key; "" for a user who may see none.

    That is the page of the order itself, and otherwise the page of all that is known of its number.
    """
    events = list(events)
    pages = order_pages(request, events, site=site)
    found = {}
    for event in events:
        found[event.pk] = pages.get((event.source, event.order_pk), "")
        if not found[event.pk] and event.order_number:
            found[event.pk] = page_url(request, Dashboard, "order", site=site, number=event.order_number)
    return found


def order_pages(request: HttpRequest, events: Iterable[Event], *, site: AdminSite) -> dict[tuple[str, str], str]:
    """The URLs of the pages of the orders themselves in this admin site, by source and key.

    Only of orders that still exist, and that the user may view, as the ModelAdmin of their model grants it. One query
    for each source, and what the store's `has_view_permission` takes.
    """
    keys: dict[str, set[str]] = {}
    for event in events:
        keys.setdefault(event.source, set()).add(event.order_pk)
    found = {}
    for name, source in _sources().items():
        model_admin = _model_admin_of(source, site) if name in keys else None
        if model_admin is not None:
            pages = _pages_of(request, model_admin, source, keys[name])
            found.update({(name, order_pk): url for order_pk, url in pages.items()})
    return found


def _sources() -> Mapping[str, OrderSource]:
    try:
        return sources.configured()
    except Exception:
        logger.exception("no order has a link: the setting SOURCES is wrong")
        return {}


def _model_admin_of(source: OrderSource, site: AdminSite) -> admin.ModelAdmin | None:
    """The admin of the source's model, or of one that has the same table: what it is a proxy of, or a proxy of it."""
    model = source.get_model()
    same_table = (one for one in apps.get_models() if one._meta.concrete_model is model._meta.concrete_model)
    registered = (one for one in (model, *same_table) if site.is_registered(one))
    return next((site.get_model_admin(one) for one in registered), None)


def _pages_of(
    request: HttpRequest, model_admin: admin.ModelAdmin, source: OrderSource, order_pks: Iterable[str]
) -> dict[str, str]:
    model, options = source.get_model(), model_admin.opts
    view = f"{model_admin.admin_site.name}:{options.app_label}_{options.model_name}_change"
    try:
        orders = model_admin.get_queryset(request).filter(pk__in=sources.valid_keys(model, order_pks))
        viewable = [order for order in orders if model_admin.has_view_permission(request, order)]
    except Exception:
        # The store's own code. The log must stay readable.
        logger.exception("%s could not look for orders", type(model_admin).__name__)
        return {}
    watched = sources.WatchedModel(source)
    return {watched.order_pk(order): reverse(view, args=[quote(order.pk)]) for order in viewable}


def order_link(url: str, number: str) -> SafeString | str:
    """The order number as a link to a URL of `order_urls`."""
    return link(url, number) if number else number


def _event_of(row: Any) -> Event:
    event: Event = row if isinstance(row, Event) else row.event
    return event
