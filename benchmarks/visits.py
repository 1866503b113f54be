"""Visits to the admin's pages, by an operator who is logged in, in the process of the benchmark's child."""

import statistics
import time
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from orderhooks.models import Delivery, Order, Subscription

WARM_UP, VISITS = 3, 7

ADMIN = "/admin/orderhooks/"
# The addresses of each kind; what stands in braces is a key of `_names`.
FILTERS = [
    *(f"?state__exact={state}" for state in ("failed", "delivered")),
    *(f"?response={response}" for response in ("2xx", "3xx", "4xx", "5xx", "none")),
    *("?since=1h", "?since=7d"),
    *(f"?topic={topic}" for topic in ("order.paid", "order.returned", "order.voided", "webhook.test")),
    "?subscription__id__exact={subscription}",
    "?state__exact=failed&subscription__id__exact={subscription}",
    "?state__exact=failed&topic=order.paid",
    "?response=4xx&topic=order.closed",
    "?state__exact=failed&topic=order.paid&response=5xx&since=7d&subscription__id__exact={subscription}",
]
PAGES = {
    "list": ["delivery/", "delivery/?p=20"],
    "filtered_list": [f"delivery/{filters}" for filters in FILTERS],
    "search": [f"delivery/?q={text}" for text in ("{delivery}", "{event}", "{number}", "nothing")],
    "delivery_page": ["delivery/{middle}/change/", "delivery/{failed}/change/"],
    "dashboard": ["dashboard/"],
    "subscription_list": ["subscription/"],
    "order_list": ["order/"],
    "order": ["order/{order}/change/"],
    "order_by_number": ["dashboard/order/?number={number_of_order}"],
}


def visit_pages() -> dict[str, dict[str, Any]]:
    """Median milliseconds, queries and rows of each page, by its kind and its address."""
    names = _names()
    client = _operator()
    return {
        kind: {asked: _visit(client, ADMIN + asked.format(**names)) for asked in addresses}
        for kind, addresses in PAGES.items()
    }


def _operator() -> Client:
    """Logged in, and may do everything."""
    client = Client()
    user, _made = User.objects.get_or_create(username="operator", is_staff=True, is_superuser=True)
    client.force_login(user)
    return client


def _names() -> dict[str, object]:
    """Rows of the middle of the tables, but for the last delivery that failed."""
    middle = Delivery.objects.order_by("pk")[Delivery.objects.count() // 2]
    order = Order.objects.order_by("pk")[Order.objects.count() // 2]
    return {
        "middle": middle.pk,
        "failed": Delivery.objects.filter(state="failed").order_by("-pk")[0].pk,
        "delivery": middle.public_id,
        "event": middle.event.public_id,
        "number": middle.event.order_number,
        "subscription": Subscription.objects.earliest("pk").pk,
        "order": order.pk,
        "number_of_order": order.number,
    }


def _visit(client: Client, address: str) -> dict[str, float]:
    times = []
    for number in range(WARM_UP + VISITS):
        started = time.perf_counter()
        response = client.get(address, follow=True)
        if number >= WARM_UP:
            times.append((time.perf_counter() - started) * 1e3)
        if response.status_code != 200:
            raise RuntimeError(f"{address} responded with {response.status_code}.")
    with CaptureQueriesContext(connection) as captured:
        client.get(address, follow=True)
    rows = response.content.count(b'name="_selected_action"')
    return {"ms": statistics.median(times), "queries": len(captured), "rows": rows}
