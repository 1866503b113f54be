"""Steps of a pump one by one in one thread, with the processor time that each took. Run by `children`."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from benchmarks.capture_levels import connect_handlers
from benchmarks.processor_time import process_seconds
from benchmarks.turns import PAYLOAD, make_turn, wait_for_go
from orderhooks import routing, sending
from orderhooks.models import Event, Order, Pump, Subscription
from orderhooks.models.attempt_stats import StatsBuffer
from orderhooks.sending import claiming

# (endpoints with something due, claimed at once, results at once): such that fixed and variable parts can be separated.
SHAPES = ((1, 200, 25), (1, 25, 5), (20, 200, 50), (20, 40, 25))
ROUNDS = 5
EVENTS_AT_ONCE = (20, 200)
SAVES = 60
FLUSHES = 100


class Meter:
    """Adds up what each step took: [step, rows, endpoints, Python's seconds, PostgreSQL's, the receiver's]."""

    def __init__(self, receiver: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            [self.backend] = cursor.fetchone()
        self.receiver = receiver
        self.samples: list[list[Any]] = []

    @contextmanager
    def measure(self, step: str) -> Iterator[list[Any]]:
        """Yields the sample, whose rows and endpoints the caller sets."""
        sample: list[Any] = [step, 1, 0]
        database, receiver = process_seconds(self.backend), process_seconds(self.receiver)
        python = time.thread_time()
        yield sample
        python = time.thread_time() - python
        servers = process_seconds(self.backend) - database, process_seconds(self.receiver) - receiver
        self.samples.append([*sample, python, *servers])


def work_one_by_one(subscriptions: list[int], receiver: int) -> list[list[Any]]:
    """The samples of claims, requests and results of what is due to 20 endpoints, in one thread.

    `receiver`: its process.
    """
    meter = Meter(receiver)
    stats = StatsBuffer()
    for _ in range(ROUNDS):
        for endpoints, claimed_at_once, results_at_once in SHAPES:
            _activate(subscriptions[:endpoints])
            with meter.measure("claim") as sample:
                now = timezone.now()
                due = claiming.due(now=now)
                for one in due:
                    one.capacity = claimed_at_once // endpoints
                claimed = claiming.claim(due, now=now, lease_until=now + timedelta(minutes=5))
                sample[1:] = len(claimed), len(due)
            results = []
            for delivery in claimed:
                with meter.measure("send"):
                    results.append(sending.attempt(delivery, 15.0, now=now))
            for start in range(0, len(results), results_at_once):
                with meter.measure("record") as sample:
                    batch = results[start : start + results_at_once]
                    sending.record(batch, now=timezone.now(), stats=stats)
                    sample[1] = len(batch)
        with meter.measure("look") as sample:
            sample[1] = routing.route(now=timezone.now())
        stats.write()
    return meter.samples


def route_one_by_one(subscriptions: list[int], receiver: int) -> list[list[Any]]:
    """The same of routing new events, each to one endpoint."""
    _activate(subscriptions[:1])
    Subscription.objects.exclude(pk=subscriptions[0]).delete()
    meter = Meter(receiver)
    for _ in range(ROUNDS):
        for count in EVENTS_AT_ONCE:
            make_events(count)
            with meter.measure("route") as sample:
                sample[1] = routing.route(now=timezone.now())
    return meter.samples


def make_events(count: int) -> None:
    """New events that wait to be routed."""
    now = timezone.now()
    Event.objects.bulk_create(
        Event(topic="order.paid", source="orderhooks", order_pk=str(number), payload=PAYLOAD, **_published(now))
        for number in range(count)
    )


def _published(now: datetime) -> dict[str, datetime]:
    return {"occurred_at": now, "published_at": now}


def _activate(subscriptions: Sequence[int]) -> None:
    Subscription.objects.exclude(pk__in=subscriptions).update(state="paused")
    Subscription.objects.filter(pk__in=subscriptions).update(state="active")


def save_and_flush(receiver: int) -> dict[str, float]:
    """What a save that makes one event costs more than without orderhooks, and how long a commit takes to be on the
    disk; seconds. A pump is at work, so that no save wakes one.
    """
    meter = Meter(receiver)
    order = Order.objects.create(customer_name="Ada Byron", total="24.80", note="x" * 800)
    Pump.objects.all().delete()
    Pump.objects.create(beat_at=timezone.now() + timedelta(hours=1))
    wal = {}
    for captured in (True, False) * 2:
        connect_handlers(captured)
        before = wal_position()
        for number in range(SAVES):
            order.customer_phone = str(number)
            with meter.measure("saved" if captured else "plain"):
                order.save()
        wal[captured] = (wal_position() - before) / SAVES
    connect_handlers(True)
    saved, plain = (_medians([one[3:5] for one in meter.samples if one[0] == kind]) for kind in ("saved", "plain"))
    return {
        "save_python": saved[0] - plain[0],
        "save_database": saved[1] - plain[1],
        "wal_bytes_of_event": wal[True] - wal[False],
        "flush": _flush_seconds(),
    }


def _medians(rows: Sequence[Sequence[float]]) -> list[float]:
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def _flush_seconds() -> float:
    """How much longer a commit takes that waits for the disk."""
    took: dict[str, list[float]] = {"on": [], "off": []}
    with connection.cursor() as cursor:
        for number in range(2 * FLUSHES):
            setting = ("on", "off")[number % 2]
            cursor.execute(f"SET synchronous_commit = {setting}")
            started = time.perf_counter()
            cursor.execute("UPDATE orderhooks_pump SET beat_at = beat_at + interval '1 second'")
            took[setting].append(time.perf_counter() - started)
        cursor.execute("SET synchronous_commit = on")
    return max(0.0, statistics.median(took["on"]) - statistics.median(took["off"]))


def wal_position() -> int:
    """Bytes that PostgreSQL has written to its log so far."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
        return int(cursor.fetchone()[0])


def stored_bytes() -> int:
    """Bytes of the events, deliveries and attempts with their indexes."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(%s::text[]) AS name",
            [["orderhooks_event", "orderhooks_delivery", "orderhooks_attempt"]],
        )
        return int(cursor.fetchone()[0])


def drain_measured(receiver: int) -> dict[str, float]:
    """Pump with threads until nothing is due. Returns when it began and ended (monotonic seconds), the processor
    seconds of this process, of PostgreSQL for it and of the receiver, and the bytes that PostgreSQL logged meanwhile.
    """
    backend = Meter(receiver).backend
    wait_for_go()
    pids = {"database": backend, "receive": receiver}
    before = {name: process_seconds(pid) for name, pid in pids.items()}
    wal, python, began = wal_position(), time.process_time(), time.monotonic()
    make_turn().run(until=began + 300)
    ended = time.monotonic()
    after = {name: process_seconds(pid) - before[name] for name, pid in pids.items()}
    wal = wal_position() - wal
    return {"began": began, "ended": ended, "python": time.process_time() - python, "wal_bytes": wal, **after}
