"""The pictures of the documents, taken with `--screenshots`: a shop on a busy night, light and dark."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from PIL import Image

from orderhooks import catalogue, sources
from orderhooks.db import public_ids
from orderhooks.models import AttemptStats, Delivery, Event, Order, Pump, Subscription
from tests import versioned
from tests.browser.visiting import Visit
from tests.certificates import client_pem
from tests.factories import (
    make_attempt,
    make_attempt_stats,
    make_delivery,
    make_delivery_at,
    make_event,
    make_event_at,
    make_order,
    make_replay,
    make_subscription,
    make_user,
)

FOLDER = Path(__file__).parents[2] / "docs" / "images"
MOST_BYTES = 200_000
WORDS = "The endpoint responded with 503; only 2xx is success. It may be overloaded or away."
# How much of a page is worth showing.
HEIGHTS = {
    "log": 900,
    "delivery": 1000,
    "subscriptions": 620,
    "subscription": 900,
    "order": 760,
    "dashboard": 900,
    "replay": 620,
    "trial": 1000,
    "version": 900,
    "certificate": 620,
}


@pytest.fixture
def addresses(database: None) -> dict[str, str]:
    """Where each picture is taken, in a shop whose warehouse has not responded for an hour and a half."""
    now = timezone.now()
    since = now - timedelta(hours=1, minutes=37)
    # Before anybody subscribed, so that only what follows makes events.
    order = make_order(number="1042", customer_name="Aoi Tanaka", placed_at=since)
    mail = make_subscription(name="Customer mail", url="https://mail.example.com/orders", topics=["*"])
    crm = make_subscription(name="CRM", url="https://crm.example.com/hooks/shop", topics=["order.paid"])
    books = make_subscription(name="Bookkeeping", url="https://books.example.com/in", topics=["order.refunded"])
    warehouse = make_subscription(name="Warehouse", url="https://wms.example.com/orders", topics=["order.*"])
    subscriptions = Subscription.objects.all()
    subscriptions.update(last_success_at=now - timedelta(seconds=9))
    subscriptions.filter(pk=books.pk).update(state="paused", last_success_at=now - timedelta(days=2))
    subscriptions.filter(pk=warehouse.pk).update(
        failing_since=since, consecutive_failures=26, last_failure=WORDS, last_failure_at=now, last_success_at=since
    )
    _attempt_stats(warehouse, crm, mail, now=now)
    _sell(order, warehouse, [mail, crm], since=since, now=now)
    replay = make_replay(
        subscription=crm,
        total=312,
        done=187,
        requested_by="mika",
        cursor=public_ids.earliest_at("evt_", now - timedelta(hours=9)),
    )
    Pump.start(now=now + timedelta(minutes=1))
    shown = Delivery.objects.get(subscription=warehouse, event__order_number="1042", event__topic="order.paid")
    return {
        "log": "delivery/",
        "delivery": f"delivery/{shown.pk}/change/",
        "subscriptions": "subscription/",
        "subscription": f"subscription/{warehouse.pk}/change/",
        "order": f"order/{order.pk}/change/",
        "dashboard": "dashboard/",
        "replay": f"replay/{replay.pk}/change/",
    }


def _attempt_stats(warehouse: Subscription, crm: Subscription, mail: Subscription, *, now: datetime) -> None:
    for number in range(24):
        at = now - timedelta(hours=number)
        make_attempt_stats(crm, 40 + number * 7 % 31, at=at, bucket=9)
        make_attempt_stats(mail, 30 + number * 5 % 23, at=at, bucket=10)
        if number < 2:
            make_attempt_stats(warehouse, (57, 34)[number], at=at, outcome=AttemptStats.Outcome.BROKEN)
        else:
            make_attempt_stats(warehouse, 38 + number * 3 % 17, at=at)
        if number % 6 == 1:
            make_attempt_stats(mail, 3, at=at, outcome=AttemptStats.Outcome.TIMEOUT)


def _sell(order: Order, warehouse: Subscription, others: list[Subscription], *, since: datetime, now: datetime) -> None:
    """An event every five minutes, the last of them two minutes ago. Two are of the order."""
    for number in reversed(range(30)):
        at = now - timedelta(minutes=2 + number * 5)
        topic = ("order.fulfilled", "order.paid", "order.created")[number % 3]
        own = number in (13, 14)
        event = make_event_at(
            at,
            topic=topic,
            order_number=order.number if own else str(1060 - number),
            order_pk=str(order.pk) if own else str(9000 + number),
            payload={"order": {"number": order.number, "total": "19.90", "currency": "EUR"}, "changes": {}},
        )
        for subscription in others:
            if subscription.name != "CRM" or topic == "order.paid":
                _delivered(make_delivery_at(at, event=event, subscription=subscription, state="delivered"))
        if at < since:
            _delivered(make_delivery_at(at, event=event, subscription=warehouse, state="delivered"))
        else:
            next_attempt_at = now + timedelta(minutes=4, seconds=20 + number)
            _failing(make_delivery_at(at, event=event, subscription=warehouse, next_attempt_at=next_attempt_at))


def _delivered(delivery: Delivery) -> None:
    at = delivery.created_at
    make_attempt(delivery, started_at=at, duration_ms=212)
    Delivery.objects.filter(pk=delivery.pk).update(
        attempts_made=1, last_status_code=200, finished_at=at + timedelta(milliseconds=240)
    )


def _failing(delivery: Delivery) -> None:
    for number in range(3):
        make_attempt(
            delivery,
            started_at=delivery.created_at + timedelta(seconds=(0, 5, 300)[number]),
            duration_ms=1204 + number,
            status_code=503,
            error="status",
            detail=WORDS,
            response_headers={"content-type": "text/plain", "server": "nginx"},
            response_body="upstream is restarting",
        )
    Delivery.objects.filter(pk=delivery.pk).update(
        attempts_made=3, last_status_code=503, last_error="status", last_detail=WORDS
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_are_small_enough_for_a_readme(
    request: pytest.FixtureRequest, visit: Callable[..., Visit], addresses: dict[str, str], scheme: str
) -> None:
    if not request.config.getoption("--screenshots"):
        pytest.skip("pictures are taken with --screenshots")
    operator = take_pictures_as(visit, scheme)
    for name, address in addresses.items():
        take(operator, name, address, scheme)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_of_choices_are_small_enough_for_a_document(
    request: pytest.FixtureRequest, visit: Callable[..., Visit], settings: Any, scheme: str
) -> None:
    if not request.config.getoption("--screenshots"):
        pytest.skip("pictures are taken with --screenshots")
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, **versioned.SETTINGS}
    [source] = sources.configured().values()
    example = catalogue.example("order.paid", source)["data"]
    prices = [("EUR", "250.00"), ("EUR", "20.00"), ("USD", "300.00")]
    for number, (currency, total) in enumerate(prices * 2, 1041):
        order = {**example["order"], "number": str(number), "currency": currency}
        order["total"] = {"amount": total, "currency": currency}
        make_event(order_number=str(number), payload={**example, "order": order})
    Pump.start(now=timezone.now() + timedelta(minutes=1))
    warehouse = make_subscription(
        name="Warehouse",
        url="https://wms.example.com/orders",
        topics=["order.*"],
        api_version=versioned.FIRST,
        filter="data.order.currency == 'EUR' && to_number(data.order.total) > `100`",
        projection="{number: data.order.number, total: data.order.total}",
    )
    make_delivery(subscription=warehouse, event=Event.objects.get(order_number="1044"), state="delivered")
    operator = take_pictures_as(visit, scheme)
    take(operator, "version", f"subscription/{warehouse.pk}/versions/", scheme)
    operator.page.set_viewport_size({"width": 1280, "height": HEIGHTS["trial"]})
    operator.go(f"subscription/{warehouse.pk}/try/")
    operator.press("Try")
    operator.page.get_by_text("bytes").first.click()
    save_picture(operator, "trial", scheme)
    chain, key = client_pem("shop.example.com", ends=timezone.now() + timedelta(days=7, hours=1))
    bank = make_subscription(name="Bank", url="https://bank.example.com/payments", topics=["order.paid"])
    bank.client_certificate = {"certificate": chain, "private_key": key}
    bank.save()
    take(operator, "certificate", f"subscription/{bank.pk}/change/", scheme)


def take_pictures_as(visit: Callable[..., Visit], scheme: str) -> Visit:
    FOLDER.mkdir(parents=True, exist_ok=True)
    operator = visit(make_user(is_staff=True, is_superuser=True, first_name="Mika"), color_scheme=scheme)
    # Folded away, as operators do on a small screen.
    operator.page.evaluate("localStorage.setItem('django.admin.navSidebarIsOpen', 'false')")
    return operator


def take(operator: Visit, name: str, address: str, scheme: str) -> None:
    operator.page.set_viewport_size({"width": 1280, "height": HEIGHTS[name]})
    operator.go(address)
    save_picture(operator, name, scheme)


def save_picture(operator: Visit, name: str, scheme: str) -> None:
    file = FOLDER / f"{name}-{scheme}.png"
    operator.page.screenshot(path=file)
    with Image.open(file) as picture:
        picture.quantize(colors=256, dither=Image.Dither.NONE).save(file, optimize=True)
    assert file.stat().st_size < MOST_BYTES
