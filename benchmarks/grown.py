"""The steps of an order's way on a log of any length: filled and timed in the process of the benchmark's child."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import connection
from django.utils import timezone

from benchmarks.calibrated import make_events
from benchmarks.log import fill_log
from orderhooks import retention, routing, sending
from orderhooks.models import Event, Order, Pump, Subscription
from orderhooks.models.attempt_stats import StatsBuffer
from orderhooks.retention_periods import KINDS, Cutoffs
from orderhooks.sending import claiming

# The attempts of a delivery of the log, on average.
ATTEMPTS_PER_DELIVERY = 1.35
LOG_TABLES = ("order", "event", "delivery", "attempt")
WARM_UP, TURNS = 1, 3
SAVES = EVENTS = 20
CLAIMED_AT_ONCE = 200
# Events whose records are pruned in a turn, with their deliveries and attempts.
PRUNED = 20

# A tenth of the attempts.
ORDERS = """
INSERT INTO orderhooks_order (public_id, number, store, customer_name, customer_email, customer_phone, note,
    cancel_reason, status, payment_status, fulfillment_status, currency, subtotal, discount, shipping, tax, total,
    billing_address, shipping_address, metadata, is_test, placed_at, created_at, updated_at)
SELECT 'ord_' || left(upper(replace(gen_random_uuid()::text, '-', '')), 26), (1000 + number)::text, '', 'Ada Byron', '',
    '', '', '', 'open', 'paid', 'unfulfilled', 'EUR', 0, 0, 0, 0, 0, '{}', '{}', '{}', false, made_at, made_at, made_at
FROM (
    SELECT number, now() - interval '90 days' * (1 - number::float / %(orders)s) AS made_at
    FROM generate_series(1, %(orders)s) number
) made ORDER BY number
"""
# Pruning brings the digests up to date first. As in a shop that prunes each day, they are.
DIGESTS = """
INSERT INTO orderhooks_orderdigest (source, order_pk, order_id, order_number, store, sequence, published_at, digest)
SELECT 'orderhooks', order_pk, '', min(order_number), '', max(sequence), max(published_at), md5(order_pk)
FROM orderhooks_event GROUP BY order_pk
"""


def fill_long_log(attempts: int, subscriptions: int, urls: list[str]) -> dict[str, int]:
    """About this many attempts, a tenth as many orders. New events concern the subscriptions of `urls` alone."""
    with connection.cursor() as cursor:
        cursor.execute(ORDERS, {"orders": attempts // 10})
    fill_log(round(attempts / ATTEMPTS_PER_DELIVERY), subscriptions)
    Subscription.objects.update(topics=["order.returned"])
    # Since an hour ago, as a new subscription gets nothing older than itself.
    since = timezone.now() - timedelta(hours=1)
    for subscription, url in zip(Subscription.objects.order_by("pk"), urls, strict=False):
        Subscription.objects.filter(pk=subscription.pk).update(topics=["*"], url=url, created_at=since)
    with connection.cursor() as cursor:
        cursor.execute(DIGESTS)
        cursor.execute("VACUUM ANALYZE")
        counts = {}
        for table in LOG_TABLES:
            cursor.execute(f"SELECT count(*) FROM orderhooks_{table}")
            [counts[f"{table}_rows"]] = cursor.fetchone()
    return counts


def read_through() -> dict[str, int]:
    """How often each table of the log has been read from beginning to end since the database was made."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname = ANY (%s)",
            [[f"orderhooks_{table}" for table in LOG_TABLES]],
        )
        return dict(cursor.fetchall())


class Watch:
    """Adds up how long each step took, for how many rows."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.rows: dict[str, int] = {}

    @contextmanager
    def time(self, step: str) -> Iterator[list[int]]:
        """Yields a list with the count of rows, which the caller sets."""
        count = [1]
        began = time.perf_counter()
        yield count
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - began
        self.rows[step] = self.rows.get(step, 0) + count[0]

    def milliseconds(self) -> dict[str, float]:
        """Of each step, for a row."""
        return {step: seconds / self.rows[step] * 1e3 for step, seconds in self.seconds.items() if self.rows[step]}


def measure_steps() -> dict[str, float]:
    """Milliseconds of a save, and for each row of the other steps; one turn goes before, to warm up."""
    Pump.objects.all().delete()
    Pump.objects.create(beat_at=timezone.now() + timedelta(hours=1))
    orders = list(Order.objects.order_by("pk")[Order.objects.count() // 2 :][:SAVES])
    stats = StatsBuffer()
    for turn in range(WARM_UP + TURNS):
        if turn <= WARM_UP:
            watch = Watch()
        _save(orders, turn, watch)
        make_events(EVENTS)
        with watch.time("route") as count:
            count[0] = routing.route(now=timezone.now())
        while _send_some(watch, stats):
            pass
        _prune(watch)
    return watch.milliseconds()


def _save(orders: list[Order], turn: int, watch: Watch) -> None:
    for order in orders:
        order.customer_phone = f"{time.monotonic_ns()}-{turn}"
        with watch.time("save"):
            order.save()


def _send_some(watch: Watch, stats: StatsBuffer) -> int:
    now = timezone.now()
    with watch.time("claim") as count:
        due = claiming.due(now=now)
        for one in due:
            one.capacity = CLAIMED_AT_ONCE // len(due)
        claimed = claiming.claim(due, now=now, lease_until=now + timedelta(minutes=5))
        count[0] = len(claimed)
    results = [sending.attempt(delivery, 15.0, now=now) for delivery in claimed]
    if results:
        with watch.time("record") as count:
            sending.record(results, now=timezone.now(), stats=stats)
            count[0] = len(results)
    return len(claimed)


def _prune(watch: Watch) -> None:
    before = Event.objects.order_by("pk").values_list("occurred_at", flat=True)[PRUNED]
    with watch.time("prune") as count:
        count[0] = 0
        while pruned := retention.prune(before=Cutoffs(dict.fromkeys(KINDS, before))):
            count[0] += pruned
