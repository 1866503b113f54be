"""Visits to the admin's pages, by an operator who is logged in, in the process of the benchmark's child."""

import statistics
import time
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from orderhooks.models import Delivery, Subscription

WARM_UP, VISITS = 3, 7

LIST = "/admin/orderhooks/delivery/"
# The URLs of each benchmark; the words in capitals are names of rows of the log.
PAGES = {
    "admin_list": ["", "?p=20"],
    "admin_filtered_list": [
        *(f"?state__exact={state}" for state in ("failed", "delivered")),
        *(f"?response={response}" for response in ("2xx", "3xx", "4xx", "5xx", "none")),
        *("?since=1h", "?since=7d"),
        *(f"?topic={topic}" for topic in ("order.paid", "order.returned", "order.voided", "webhook.test")),
        "?subscription__id__exact=SUBSCRIPTION",
        "?state__exact=failed&subscription__id__exact=SUBSCRIPTION",
        "?state__exact=failed&topic=order.paid",
        "?response=4xx&topic=order.closed",
        "?state__exact=failed&topic=order.paid&response=5xx&since=7d&subscription__id__exact=SUBSCRIPTION",
    ],
    "admin_search": ["?q=DELIVERY", "?q=EVENT", "?q=NUMBER", "?q=nothing"],
    "admin_delivery_page": ["MIDDLE/change/", "FAILED/change/"],
}


def visit_pages() -> dict[str, dict[str, Any]]:
    """Median milliseconds and queries of each page of the log, by its benchmark and its URL."""
    middle = Delivery.objects.order_by("pk")[Delivery.objects.count() // 2]
    failed = Delivery.objects.filter(state="failed").order_by("-pk")[0]
    names = {
        "SUBSCRIPTION": Subscription.objects.earliest("pk").pk,
        "DELIVERY": middle.public_id,
        "EVENT": middle.event.public_id,
        "NUMBER": middle.event.order_number,
        "MIDDLE": middle.pk,
        "FAILED": failed.pk,
    }
    client = operator()
    return {
        name: {asked: _visit(client, LIST + _named(asked, names)) for asked in addresses}
        for name, addresses in PAGES.items()
    }


def operator() -> Client:
    """Logged in, and may do everything."""
    client = Client()
    user, _made = User.objects.get_or_create(username="operator", is_staff=True, is_superuser=True)
    client.force_login(user)
    return client


def _named(address: str, names: dict[str, object]) -> str:
    for name, value in names.items():
        address = address.replace(name, str(value))
    return address


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
