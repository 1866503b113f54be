"""The tasks of `capturing`, in a process of their own: the built-in orders at each level of capture."""

import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models.signals import post_save, pre_save
from django.test.utils import CaptureQueriesContext

from orderhooks import publishing, signal_handlers, triggers
from orderhooks.models import Order
from orderhooks.outbox import transaction_batch
from orderhooks.sources import BuiltInOrders


class TriggeredOrders(BuiltInOrders):
    """The built-in orders, captured by PostgreSQL."""

    capture = "triggers"


def capture_saves(level: str, saves: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of a save that changes the order, with capture and without, in turn."""
    _use(level)
    order = Order.objects.create(customer_name="Ada Byron", total="24.80")

    def save(turn: int) -> None:
        order.payment_status = ("pending", "paid")[turn % 2]
        order.save()

    return _in_turn(lambda captured: _switch(level, captured), save, saves, rounds)


def capture_update(level: str, orders: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of one statement that changes each order, with capture and without, in turn; its statements."""
    _use(level)
    Order.objects.bulk_create(Order(number=f"{level}-{number}", total=1) for number in range(orders))
    # So many orders are left to a worker.
    transaction_batch.MOST_ORDERS = 0
    rows = Order.objects.filter(number__startswith=level)
    tracked = {"on": level == "track"}

    def update(turn: int) -> None:
        tracking = publishing.track(rows) if tracked["on"] else nullcontext()
        with transaction.atomic(), tracking, connection.cursor() as cursor:
            cursor.execute("UPDATE orderhooks_order SET note = %s WHERE number LIKE %s", [str(turn), f"{level}%"])

    def switch(captured: bool) -> None:
        tracked["on"] = captured and level == "track"
        _switch(level, captured)

    with CaptureQueriesContext(connection) as statements:
        update(-1)
    return {**_in_turn(switch, update, 1, rounds), "statements": len(statements)}


def _use(level: str) -> None:
    path = f"{__name__}.TriggeredOrders" if level == "triggers" else "orderhooks.sources.BuiltInOrders"
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": [path]}
    triggers.install("default")


def _in_turn(switch: Callable[[bool], None], write: Callable[[int], None], writes: int, rounds: int) -> dict[str, Any]:
    took: dict[bool, list[float]] = {True: [], False: []}
    for number in range(rounds * 2):
        captured = number % 2 == 0
        switch(captured)
        for turn in range(writes):
            started = time.perf_counter()
            write(number * writes + turn)
            took[captured].append((time.perf_counter() - started) * 1e3)
    switch(True)
    return {"ours": statistics.median(took[True]), "plain": statistics.median(took[False])}


def _switch(level: str, captured: bool) -> None:
    connect_handlers(captured)
    if level == "triggers":
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE orderhooks_order {'ENABLE' if captured else 'DISABLE'} TRIGGER USER")


def connect_handlers(connected: bool) -> None:
    """Connect the handlers of a save of the built-in orders, or take them away."""
    for signal, handler, name in (
        (pre_save, signal_handlers.on_pre_save, "pre_save"),
        (post_save, signal_handlers.on_post_save, "post_save"),
    ):
        if connected:
            signal.connect(handler, sender=Order, dispatch_uid=f"orderhooks.{name}")
        else:
            signal.disconnect(sender=Order, dispatch_uid=f"orderhooks.{name}")
