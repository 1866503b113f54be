"""Every page of ours, and how an operator gets there, in a shop where something of each kind has happened."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from orderhooks.models import (
    AttemptStats,
    Backfill,
    Delivery,
    Erasure,
    Event,
    FeedConsumer,
    Order,
    Replay,
    Subscription,
)
from tests.browser.visiting import Visit
from tests.factories import (
    make_attempt,
    make_attempt_stats,
    make_backfill,
    make_consumer,
    make_delivery,
    make_erasure,
    make_failed_event,
    make_fulfillment,
    make_order,
    make_payment,
    make_refund,
    make_replay,
    make_subscription,
)


@dataclass(frozen=True)
class Shop:
    """`text` is what customers, receivers and the store's people wrote wherever they could."""

    order: Order
    event: Event
    subscription: Subscription
    paused: Subscription
    delivery: Delivery
    replay: Replay
    backfill: Backfill
    erasure: Erasure
    consumer: FeedConsumer


def open_shop(*, url: str, text: str = "Warehouse") -> Shop:
    now = timezone.now()
    order = make_order(
        [{"name": text, "sku": text[:64]}], number=text[:64], customer_name=text, note=text, metadata={"gift": text}
    )
    make_fulfillment(order, quantity=1, carrier=text[:100], tracking_url="https://example.com/X1", shipped_at=now)
    make_payment(order, reference=text[:200])
    make_refund(order, reason=text[:500])
    subscription = make_subscription(name=text[:100], url=url, last_success_at=now)
    paused = make_subscription(name=f"Paused {text}"[:100], url=url, state="paused")
    Subscription.objects.filter(pk=subscription.pk).update(
        failing_since=now - timedelta(hours=2), consecutive_failures=3, last_failure=text, last_failure_at=now
    )
    event = make_failed_event(order_number=order.number, order_pk=str(order.pk), error=text)
    Event.objects.filter(pk=event.pk).update(published_at=now, routed_at=now, payload={"order": {"note": text}})
    event.refresh_from_db()
    delivery = make_delivery(
        event=event,
        subscription=subscription,
        state="failed",
        attempts_made=1,
        last_status_code=500,
        last_error="status",
        last_detail=text,
        requested_by=text[:150],
    )
    make_attempt(
        delivery,
        status_code=500,
        error="status",
        detail=text,
        response_body=text,
        response_headers={"x-hello": text, text: "x"},
        requested_by=text[:150],
    )
    make_delivery(event=event, subscription=paused)
    make_attempt_stats(subscription, 7)
    make_attempt_stats(subscription, 2, outcome=AttemptStats.Outcome.BROKEN)
    replay = make_replay(subscription=subscription, total=9, done=4)
    backfill = make_backfill(
        subscription=subscription, total=9, walked=4, done=3, failed=1, first_error=f"Order 7: ValueError: {text[:200]}"
    )
    about = {"source": "orderhooks", "order_pk": str(order.pk), "number": order.number, "store": ""}
    erasure = make_erasure(orders=[about], requested_by=text[:150])
    consumer = make_consumer(subscription=subscription, missed=3)
    return Shop(order, event, subscription, paused, delivery, replay, backfill, erasure, consumer)


def _after(address: str, *buttons: str) -> Callable[[Visit, Shop], None]:
    def go(visit: Visit, shop: Shop) -> None:
        visit.go(address.format(shop=shop))
        for button in buttons:
            visit.press(button)
            visit.page.wait_for_load_state()

    return go


def _asked_to_redeliver(visit: Visit, shop: Shop) -> None:
    visit.go("delivery/")
    visit.run_action("Redeliver selected")
    visit.page.wait_for_load_state()


SUBSCRIPTION = "subscription/{shop.subscription.pk}"

PAGES: dict[str, Callable[[Visit, Shop], None]] = {
    "dashboard": _after("dashboard/"),
    "order of the dashboard": _after("dashboard/order/?number={shop.event.order_number}"),
    "orders": _after("order/"),
    "order": _after("order/{shop.order.pk}/change/"),
    "events": _after("event/"),
    "event": _after("event/{shop.event.pk}/change/"),
    "log": _after("delivery/"),
    "delivery": _after("delivery/{shop.delivery.pk}/change/"),
    "delivery's history": _after("delivery/{shop.delivery.pk}/history/"),
    "redelivered": _after("delivery/{shop.delivery.pk}/change/", "Redeliver now"),
    "redeliver?": _asked_to_redeliver,
    "subscriptions": _after("subscription/"),
    "subscription": _after(f"{SUBSCRIPTION}/change/"),
    "paused subscription": _after("subscription/{shop.paused.pk}/change/"),
    "new subscription": _after("subscription/add/"),
    "test": _after(f"{SUBSCRIPTION}/change/", "Send a test"),
    "resume?": _after("subscription/{shop.paused.pk}/change/", "Resume…"),
    "resumed": _after("subscription/{shop.paused.pk}/change/", "Resume…", "Resume"),
    "new secret?": _after(f"{SUBSCRIPTION}/change/", "New secret…"),
    "new secret": _after(f"{SUBSCRIPTION}/change/", "New secret…", "Make it"),
    "subscription's history": _after(f"{SUBSCRIPTION}/history/"),
    "preview": _after(f"{SUBSCRIPTION}/preview/?topic=order.paid&order={{shop.order.number}}"),
    "code for receivers": _after(f"{SUBSCRIPTION}/code-samples/"),
    "versions of the body": _after(f"{SUBSCRIPTION}/versions/"),
    "topics": _after("subscription/topics/"),
    "replays": _after("replay/"),
    "replay": _after("replay/{shop.replay.pk}/change/"),
    "new replay": _after("replay/add/?subscription={shop.subscription.pk}"),
    "replay?": _after("replay/add/?subscription={shop.subscription.pk}", "Count what would be sent"),
    "feed consumers": _after("feedconsumer/"),
    "feed consumer": _after("feedconsumer/{shop.consumer.pk}/change/"),
    "erasures": _after("erasure/"),
    "erasure": _after("erasure/{shop.erasure.pk}/change/"),
    "new erasure": _after("erasure/add/"),
    "backfills": _after("backfill/"),
    "backfill": _after("backfill/{shop.backfill.pk}/change/"),
    "new backfill": _after("backfill/add/?subscription={shop.subscription.pk}"),
    "backfill?": _after("backfill/add/?subscription={shop.paused.pk}", "Count what would be sent"),
}
