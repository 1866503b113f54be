"""Fills a PostgreSQL database with a log of any length, for the tests of plans."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Model
from django.utils import timezone

from orderhooks.db import public_ids
from orderhooks.models import AttemptStats, Delivery, Event, Order, Subscription
from orderhooks.models.attempt_stats import bucket_of, hour_of

SUBSCRIPTIONS = 200
DELIVERIES_OF_EVENT = 5
EVENTS_OF_ORDER = 4
DAYS = 90
TOPICS = ("order.created", "order.updated", "order.paid", "order.fulfilled")
PAYLOAD = '{"order": {"number": "1001", "note": "' + "x" * 200 + '"}, "changes": {}}'


def fill(deliveries: int) -> None:
    """Make `deliveries` rows of the last 90 days to 200 subscriptions, with events, orders and attempt statistics."""
    now = timezone.now()
    an_age_ago = now - timedelta(days=DAYS + 1)
    subscriptions = Subscription.objects.bulk_create(
        Subscription(
            name=f"Endpoint {number}", url=f"http://localhost:9009/{number}", topics=["*"], created_at=an_age_ago
        )
        for number in range(SUBSCRIPTIONS)
    )
    keys = [subscription.pk for subscription in subscriptions]
    events = max(1, deliveries // DELIVERIES_OF_EVENT)
    _copy(Order, ("public_id", "number", *ORDER), _orders(events, now=now))
    orders = list(Order.objects.order_by("pk").values_list("pk", flat=True))
    _copy(Event, EVENT, _events(events, orders, now=now))
    first = Event.objects.order_by("pk").values_list("pk", flat=True)[0]
    counts: Counter[tuple[Any, ...]] = Counter()
    _copy(Delivery, DELIVERY, _deliveries(deliveries, events, first, keys, counts, now=now))
    _copy(AttemptStats, ATTEMPT_STATS, ((*cell, count) for cell, count in counts.items()))
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


ORDER = {
    **dict.fromkeys(("subtotal", "discount", "shipping", "tax", "total"), 0),
    **dict.fromkeys(("billing_address", "shipping_address", "metadata"), "{}"),
    **dict.fromkeys(("store", "customer_name", "customer_email", "customer_phone", "note", "cancel_reason"), ""),
    "status": "open",
    "payment_status": "paid",
    "fulfillment_status": "unfulfilled",
    "currency": "EUR",
    "is_test": False,
    "placed_at": datetime(2026, 1, 1, tzinfo=UTC),
    "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    "updated_at": datetime(2026, 1, 1, tzinfo=UTC),
}
EVENT = (
    *("public_id", "topic", "source", "order_pk", "order_number", "store", "payload", "changes", "error"),
    *("occurred_at", "published_at", "routed_at"),
)
DELIVERY = (
    *("public_id", "event_id", "subscription_id", "state", "trigger", "requested_by", "attempts_made"),
    *("next_attempt_at", "finished_at", "created_at", "last_status_code", "last_error", "last_detail"),
)
ATTEMPT_STATS = ("subscription_id", "hour", "outcome", "bucket", "count")


def _orders(events: int, *, now: datetime) -> Iterator[Sequence[Any]]:
    for number in range(max(1, events // EVENTS_OF_ORDER)):
        yield public_ids.order_id(), str(1000 + number), *ORDER.values()


def _events(count: int, orders: Sequence[int], *, now: datetime) -> Iterator[Sequence[Any]]:
    for number in range(count):
        at = _moment(number, count, now=now)
        order = min(number // EVENTS_OF_ORDER, len(orders) - 1)
        public_id = public_ids.earliest_at("evt_", at)[:-16] + f"{number:016d}"
        topic = TOPICS[number % len(TOPICS)]
        yield public_id, topic, "orderhooks", str(orders[order]), str(1000 + order), "", PAYLOAD, "{}", "", at, at, at


def _deliveries(
    count: int,
    events: int,
    first: int,
    subscriptions: Sequence[int],
    counts: Counter[tuple[Any, ...]],
    *,
    now: datetime,
) -> Iterator[Sequence[Any]]:
    for number in range(count):
        event, place = divmod(number, DELIVERIES_OF_EVENT)
        event = min(event, events - 1)
        at = _moment(event, events, now=now)
        subscription = subscriptions[(event * 7 + place) % len(subscriptions)]
        failed, pending = number % 97 == 0, number % 61 == 0
        state = "failed" if failed else "pending" if pending else "delivered"
        status, error = (503, "status") if failed or pending else (200, "")
        counts[subscription, hour_of(at), "5xx" if error else "2xx", bucket_of(5 + number % 400)] += 1
        public_id = public_ids.earliest_at("dlv_", at)[:-16] + f"{number:016d}"
        due, done = (now + timedelta(hours=1), None) if state == "pending" else (None, at)
        yield public_id, first + event, subscription, state, "automatic", "", 1, due, done, at, status, error, ""


def _moment(number: int, count: int, *, now: datetime) -> datetime:
    return now - timedelta(days=DAYS) * ((count - number) / count)


def _copy(model: type[Model], columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    statement = f"COPY {model._meta.db_table} ({', '.join(columns)}) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)
