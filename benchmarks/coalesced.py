"""The task of `coalescing`, in a process of its own: changes that wait become events."""

import json
import statistics
import time

from django.utils import timezone

from benchmarks.capture_levels import connect_handlers
from orderhooks import conf, outbox
from orderhooks.models import Order


def coalesce_waiting(orders: int, rounds: int) -> dict[str, float]:
    """Milliseconds for each of that many orders that wait, for one that waits alone, and of a save without orderhooks.

    Each has one change, which makes two events. BENCH_ORDERHOOKS has to leave them to a worker.
    """
    if not conf.current().coalesce_in_worker:
        raise RuntimeError(f"Set BENCH_ORDERHOOKS to {json.dumps({'COALESCE_IN_WORKER': True})}.")
    made = [Order.objects.create(customer_name="Ada Byron", total="24.80") for _ in range(orders)]
    _coalesce()
    together: list[float] = []
    alone: list[float] = []
    plain: list[float] = []
    for _ in range(rounds):
        for some, took in ((made, together), (made[:1], alone)):
            _change(some)
            took.append(_coalesce() / len(some))
        connect_handlers(False)
        plain.append(_change(made) / orders)
        connect_handlers(True)
    found = {"together": together, "alone": alone, "plain": plain}
    return {name: statistics.median(took) * 1e3 for name, took in found.items()}


def _change(orders: list[Order]) -> float:
    began = time.perf_counter()
    for order in orders:
        order.payment_status = "pending" if order.payment_status == "paid" else "paid"
        order.save()
    return time.perf_counter() - began


def _coalesce() -> float:
    began = time.perf_counter()
    while outbox.is_anything_left_behind(now=timezone.now()):
        outbox.coalesce_left_behind(now=timezone.now())
    return time.perf_counter() - began
