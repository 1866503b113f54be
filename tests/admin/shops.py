"""Two shops in one installation, with something of each kind, for the tests of users who are limited to stores."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Permission
from django.db.models import Model
from django.test import Client
from django.utils import timezone

from orderhooks.models import CaptureFailure, Delivery, Event, Order, Reconciliation, Subscription
from tests.admin.visits import client_of
from tests.factories import (
    make_attempt,
    make_attempt_stats,
    make_backfill,
    make_consumer,
    make_delivery,
    make_erasure,
    make_event,
    make_failed_event,
    make_order,
    make_replay,
    make_subscription,
    make_user,
)

SETTING = f"{__name__}.stores_of"
# What STORES_FOR_USER returns for each kind of user.
STORES: dict[str, list[str]] = {"unlimited": [""], "berlin": ["berlin"], "nobody": []}


def stores_of(user: Any) -> list[str]:
    """The setting STORES_FOR_USER."""
    return STORES[user.first_name]


def visitor(kind: str) -> Client:
    """A user of the admin who has all permissions but the one that opens all stores."""
    user = make_user(is_staff=True, first_name=kind)
    given = Permission.objects.filter(content_type__app_label="orderhooks")
    user.user_permissions.set(given.exclude(codename="manage_all_subscriptions"))
    return client_of(user)


@dataclass
class Shop:
    """One row of each kind. `texts`: what only people who see the shop may read."""

    order: Order
    subscription: Subscription
    event: Event
    failed_event: Event
    delivery: Delivery
    replay: Any
    backfill: Any
    feedconsumer: Any
    erasure: Any
    texts: list[str]

    def row(self, kind: str) -> Model:
        row: Model = getattr(self, kind)
        return row


def make_shop(store: str) -> Shop:
    """A shop with the order 1001, which every shop has, and one with a number of its own."""
    name = store.upper()
    subscription = make_subscription(
        name=f"{name} CRM", store=store, url=f"https://{store}.example/hook", state="paused"
    )
    make_order(store=store, number="1001", customer_name=f"{name} Ada")
    order = make_order(
        store=store, number=f"{name}-7", customer_name=f"{name} Byron", customer_email=f"ada@{store}.example"
    )
    Event.objects.filter(store=store).delete()
    about = {"store": store, "order_pk": str(order.pk), "order_number": order.number}
    event = make_event(**about, payload={"order": {"note": f"{name} payload"}, "changes": {}})
    failed_event = make_failed_event(**about, error=f"{name} can't be read")
    delivery = make_delivery(event=event, subscription=subscription, state="failed", last_detail=f"{name} detail")
    make_attempt(delivery, detail=f"{name} attempt", response_body=f"{name} response")
    waiting = make_delivery(event=make_event(**about), subscription=subscription)
    test = make_delivery(
        event=make_event(**{**about, "order_number": ""}, topic="webhook.test"),
        subscription=subscription,
        state="failed",
    )
    make_attempt_stats(subscription, 3)
    # A warning on the dashboard and in the list.
    Subscription.objects.filter(pk=subscription.pk).update(certificate_expires_at=timezone.now() + timedelta(days=3))
    replay = make_replay(subscription=subscription, requested_by=f"{name} operator")
    backfill = make_backfill(subscription=subscription, requested_by=f"{name} operator", total=5)
    consumer = make_consumer(user=make_user(first_name="unlimited"), subscription=subscription, name=f"erp-of-{store}")
    about_order = {"source": "orderhooks", "order_pk": str(order.pk), "number": order.number, "store": store}
    erasure = make_erasure(store=store, orders=[about_order], requested_by=f"{name} operator")
    jobs: list[Any] = [replay, backfill, consumer, erasure]
    rows: list[Any] = [order, subscription, event, failed_event, delivery, waiting, test, *jobs]
    texts = [name, store, *(row.public_id for row in rows)]
    return Shop(order, subscription, event, failed_event, delivery, replay, backfill, consumer, erasure, texts)


@dataclass
class Shops:
    """The shop `berlin`, and what a user of it may not see: `paris`, what is of all stores, and strays."""

    berlin: Shop
    paris: Shop
    texts: list[str]

    def rows_of_others(self, *, strays: bool = True) -> list[Any]:
        """All that no user of Berlin may change. `strays`: with what other stores' events brought to its subscription,
        which is deleted with the subscription.
        """
        kept: list[Any] = []
        others = Subscription.objects.exclude(store="berlin")
        kept += others.order_by("pk").values()
        kept += Order.objects.exclude(store="berlin").order_by("pk").values()
        kept += Event.objects.exclude(store="berlin").order_by("pk").values()
        kept += Delivery.objects.filter(subscription__in=others).order_by("pk").values()
        kept += Delivery.objects.exclude(event__store="berlin").order_by("pk").values() if strays else []
        for one in others.order_by("pk"):
            kept += [*one.replays.order_by("pk").values(), *one.backfills.order_by("pk").values()]
            kept += one.secrets.order_by("pk").values("pk", "expires_at")
        return kept


def make_shops() -> Shops:
    berlin, paris = make_shop("berlin"), make_shop("paris")
    everything = make_subscription(name="EVERYTHING", url="https://everything.example/", state="paused")
    seen_by_few = [
        # Of an order in Berlin, for a subscription to all stores.
        make_delivery(event=berlin.event, subscription=everything, state="failed", last_detail="EVERYTHING detail"),
        # Of an order in Paris, for a subscription that was of that store then.
        make_delivery(event=paris.event, subscription=berlin.subscription, state="failed"),
        make_delivery(event=make_event(store="", order_number="STORELESS-9"), subscription=everything),
    ]
    CaptureFailure.objects.create(source="orderhooks", fingerprint="x", order_pk="PARIS-PK", error="PARIS failed")
    Reconciliation.objects.create(
        state="done", source="orderhooks", compared=98765, changed=4321, finished_at=paris.event.occurred_at
    )
    texts = [*paris.texts, "EVERYTHING", "everything.example", "STORELESS-9", "98,765", "4,321", everything.public_id]
    return Shops(berlin, paris, [*texts, *(row.public_id for row in seen_by_few)])
