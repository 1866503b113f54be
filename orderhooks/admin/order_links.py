"""Links from an event or a delivery to the order that it is about."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from orderhooks import permissions, sources
from orderhooks.admin.read_only import BoundedChangeList
from orderhooks.models import Event, Order

__all__ = ["OrderLinkedList", "order_link", "order_urls"]

MOST_DIGITS = 18


class OrderLinkedList(BoundedChangeList):
    """A list of events or deliveries, whose `order_number` column links to the orders: one query for all its rows."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = list(self.result_list)
        urls = order_urls(request, [_event_of(row) for row in rows], site=self.model_admin.admin_site)
        for row in rows:
            row._order_url = urls[_event_of(row).pk]
        self.result_list = rows


def order_urls(request: HttpRequest, events: Iterable[Event], *, site: AdminSite) -> dict[int, str]:
    """The URL of the order's page for each event, by the event's primary key; "" for a user who may see none.

    An order of the built-in model has its own page as long as it exists. Every other is found by its number.
    """
    events = list(events)
    existing = _existing(request, events, site=site)
    by_number = ""
    if request.user.has_perm(permissions.VIEW_DELIVERY):
        by_number = reverse(f"{site.name}:orderhooks_dashboard_order")
    found = {}
    for event in events:
        url = ""
        if event.source == sources.BuiltInOrders.name and event.order_pk in existing:
            url = reverse(f"{site.name}:orderhooks_order_change", args=[event.order_pk])
        elif by_number and event.order_number:
            url = f"{by_number}?{urlencode({'number': event.order_number})}"
        found[event.pk] = url
    return found


def order_link(url: str, number: str) -> SafeString | str:
    """The order number as a link to a URL of `order_urls`."""
    return format_html('<a href="{}">{}</a>', url, number) if url and number else number


def _existing(request: HttpRequest, events: list[Event], *, site: AdminSite) -> set[str]:
    """The keys of those orders of the built-in model that the user may look at and that were not deleted since."""
    if not site.is_registered(Order) or not site.get_model_admin(Order).has_view_permission(request):
        return set()
    keys = {event.order_pk for event in events if event.source == sources.BuiltInOrders.name}
    whole = [key for key in keys if key.isascii() and key.isdecimal() and len(key) <= MOST_DIGITS]
    return {str(key) for key in Order.objects.filter(pk__in=whole).values_list("pk", flat=True)} if whole else set()


def _event_of(row: Any) -> Event:
    event: Event = row if isinstance(row, Event) else row.event
    return event
