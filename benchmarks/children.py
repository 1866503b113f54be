"""What the benchmarks' processes do: `python -m benchmarks.children TASK JSON…` prints what the function returns.

Each works on the database that BENCH_DATABASE names; `databases.Database` starts them.
"""

import json
import os
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import django

django.setup()

import requests  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402
from django.utils import timezone  # noqa: E402

from benchmarks import names  # noqa: E402
from benchmarks.calibrated import drain_measured, route_one_by_one, save_and_flush, stored_bytes, work_one_by_one  # noqa: E402, F401
from benchmarks.capture_levels import capture_saves, capture_update, connect_handlers  # noqa: E402, F401
from benchmarks.coalesced import coalesce_waiting  # noqa: E402, F401
from benchmarks.grown import fill_long_log, measure_steps, read_through  # noqa: E402, F401
from benchmarks.processor_time import process_seconds  # noqa: E402
from benchmarks.reconciled import fill_published_orders, reconcile_all  # noqa: E402, F401
from benchmarks.routed import project, route_events  # noqa: E402, F401
from benchmarks.soaked import prune_always, sample, save_orders, work  # noqa: E402, F401
from benchmarks.traced import place_orders, pump_traced  # noqa: E402, F401
from benchmarks.turns import PAYLOAD, make_turn, wait_for_go  # noqa: E402
from benchmarks.visits import visit_pages  # noqa: E402, F401
from orderhooks import sending  # noqa: E402
from orderhooks.models import Delivery, Event, Order, Pump, Subscription  # noqa: E402
from orderhooks.partitions import by_sequence  # noqa: E402
from orderhooks.sending import claiming  # noqa: E402


def migrate() -> None:
    """The tables. BENCH_RANGES: divided, with this number of ranges of events and of deliveries (PostgreSQL)."""
    call_command("migrate", verbosity=0)
    if (ranges := int(os.environ.get("BENCH_RANGES", "0"))) and connection.vendor == "postgresql":
        by_sequence.RANGES_AHEAD = ranges
        call_command("orderhooks_partition", "--events", verbosity=0)


def subscribe(urls: list[str], topics: list[str], fields: dict[str, Any]) -> list[int]:
    """A subscription for each URL."""
    an_hour_ago = timezone.now() - timedelta(hours=1)
    return [
        Subscription.create_with_secret(name=url, url=url, topics=topics, created_at=an_hour_ago, **fields)[0].pk
        for url in urls
    ]


def make_due(subscriptions: list[int], count: int) -> None:
    """This many due deliveries for each subscription."""
    now = timezone.now()
    times = {"occurred_at": now, "published_at": now, "routed_at": now}
    events = Event.objects.bulk_create(
        [
            Event(topic="order.paid", source="orderhooks", order_pk=str(number), payload=PAYLOAD, **times)
            for number in range(count)
        ],
        batch_size=1000,
    )
    Delivery.objects.bulk_create(
        [
            Delivery(event_id=event.pk, subscription_id=subscription, next_attempt_at=now)
            for event in events
            for subscription in subscriptions
        ],
        batch_size=1000,
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def owe_millions(subscription: int, count: int) -> None:
    """The same for one subscription, made by PostgreSQL."""
    with connection.cursor() as cursor:
        cursor.execute(OWE_MILLIONS, {"subscription": subscription, "count": count, "payload": json.dumps(PAYLOAD)})
        cursor.execute("ANALYZE")


OWE_MILLIONS = """
WITH event AS (
    INSERT INTO orderhooks_event (public_id, topic, source, order_pk, order_number, store, payload, changes, error,
        occurred_at, published_at, routed_at)
    SELECT 'evt_' || left(upper(replace(gen_random_uuid()::text, '-', '')), 26),
        'order.paid', 'orderhooks', number, '', '', %(payload)s, '{}', '',
        now(), now(), now()
    FROM generate_series(1, %(count)s) number
    RETURNING sequence
)
INSERT INTO orderhooks_delivery (public_id, event_id, subscription_id, state, trigger, requested_by, attempts_made,
    next_attempt_at, last_error, last_detail, created_at)
SELECT 'dlv_' || left(upper(replace(gen_random_uuid()::text, '-', '')), 26),
    sequence, %(subscription)s, 'pending', 'automatic', '', 0, now(), '', '', now()
FROM event
"""


def drain() -> dict[str, Any]:
    """Pump until nothing is due. When it began and ended (monotonic seconds), the memory it took (bytes), and the
    processor seconds of this process and of PostgreSQL for it (None for another database).
    """
    backend = connection.cursor().connection.info.backend_pid if connection.vendor == "postgresql" else None
    wait_for_go()
    before = process_seconds(backend) if backend else 0.0
    python, began = time.process_time(), time.monotonic()
    make_turn().run(until=began + 300)
    ended = time.monotonic()
    return {
        "began": began,
        "ended": ended,
        "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "python": time.process_time() - python,
        "postgres": process_seconds(backend) - before if backend else None,
    }


def pump_until_all_is_delivered(seconds: float) -> dict[str, int]:
    """Pump while anything waits, at most for this long. Returns how many deliveries there are of each state."""
    until = time.monotonic() + seconds
    waiting = Delivery.objects.exclude(state__in=["delivered", "failed"])
    while waiting.exists() and time.monotonic() < until:
        make_turn().run(until=until)
        time.sleep(0.2)
    states = Delivery.objects.order_by().values_list("state", flat=True)
    return {state: Delivery.objects.filter(state=state).count() for state in states.distinct()}


def pump(seconds: float) -> None:
    """Pump and linger for this long."""
    names.install()
    wait_for_go()
    make_turn().run(until=time.monotonic() + seconds)


def loop(url: str, count: int, threads: int) -> dict[str, float]:
    """What a plain loop does: the same signed body, a `requests.Session` for each thread."""
    [delivery] = Delivery.objects.select_related("event", "subscription")[:1]
    request = sending.prepare(delivery, now=timezone.now())

    def post(times: int) -> None:
        with requests.Session() as session:
            for _ in range(times):
                session.post(url, data=request.body, headers=request.headers, timeout=15).raise_for_status()

    wait_for_go()
    began = time.monotonic()
    workers = [threading.Thread(target=post, args=(count // threads,)) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"began": began, "ended": time.monotonic(), "sent": count // threads * threads}


def reset(subscription: int, state: str) -> None:
    """As if nothing had been sent to it: in that state, with nothing waiting."""
    Delivery.objects.filter(subscription=subscription).delete()
    Subscription.objects.filter(pk=subscription).update(
        state=state,
        circuit_open_until=None,
        circuit_openings=0,
        slow_start_limit=None,
        failing_since=None,
        consecutive_failures=0,
    )


def reset_all(subscriptions: list[int], state: str) -> None:
    for subscription in subscriptions:
        reset(subscription, state)


def unlimit(subscription: int) -> None:
    Subscription.objects.filter(pk=subscription).update(max_per_second=None)


def claim_times(times: int, capacity: int) -> list[float]:
    """Milliseconds of looking for what is due and claiming `capacity` from each subscription; it is given back."""
    taken = []
    for _ in range(times):
        now = timezone.now()
        started = time.perf_counter()
        due = claiming.due(now=now)
        for one in due:
            one.capacity = capacity
        claimed = claiming.claim(due, now=now, lease_until=now + timedelta(seconds=30))
        taken.append((time.perf_counter() - started) * 1e3)
        if not claimed:
            raise RuntimeError("There was nothing to claim.")
        claiming.release(claimed)
    return taken


def save(saves: int, rounds: int, pump_at_work: bool) -> dict[str, Any]:
    """Milliseconds of a save that changes the order, with and without orderhooks, in turn; queries of each."""
    order = Order.objects.create(customer_name="Ada Byron", total="24.80")
    Pump.objects.all().delete()
    if pump_at_work:
        Pump.objects.create(beat_at=timezone.now() + timedelta(hours=1))
    ours: list[float] = []
    plain: list[float] = []
    states = ("pending", "paid")

    def one(number: int) -> float:
        order.payment_status = states[number % 2]
        started = time.perf_counter()
        order.save()
        return (time.perf_counter() - started) * 1e3

    counted = []
    for handlers in (True, False):
        connect_handlers(handlers)
        with CaptureQueriesContext(connection) as captured:
            one(0)
            one(1)
        counted.append(len(captured) / 2)
    for number in range(rounds * 2):
        handlers = number % 2 == 0
        connect_handlers(handlers)
        (ours if handlers else plain).extend(one(turn) for turn in range(saves))
    return {
        "ours": statistics.median(ours),
        "plain": statistics.median(plain),
        "queries": counted[0],
        "plain_queries": counted[1],
    }


if __name__ == "__main__":
    task: Callable[..., Any] = globals()[sys.argv[1]]
    print(json.dumps(task(*map(json.loads, sys.argv[2:]))))
