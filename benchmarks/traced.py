"""A shop and a pump that note when each order came to each stage; `stages` puts them together."""

import time
from collections.abc import Callable
from typing import Any

from benchmarks.turns import make_turn, wait_for_go
from orderhooks import routing
from orderhooks.models import Event, Order
from orderhooks.sending import pool

__all__ = ["place_orders", "pump_traced"]

# Workers may make the events, a little later.
EVENTS_SECONDS = 10.0


def place_orders(count: int, each_seconds: float) -> dict[str, tuple[float, float]]:
    """Save this many new orders at a steady pace. By the event's id: when the save began, and when it ended, with a
    pump notified (monotonic seconds).
    """
    saved: dict[str, tuple[float, float]] = {}
    wait_for_go()
    first = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, first + number * each_seconds - time.monotonic()))
        at = time.monotonic()
        order = Order.objects.create(customer_name="Ada Byron", total="24.80", note="x" * 800)
        saved[str(order.pk)] = (at, time.monotonic())
    events = Event.objects.filter(order_pk__in=saved, topic="order.created", source="orderhooks")
    until = time.monotonic() + EVENTS_SECONDS
    while events.count() < count and time.monotonic() < until:
        time.sleep(0.1)
    return {event.public_id: saved[event.order_pk] for event in events.all()}


def pump_traced(seconds: float) -> dict[str, Any]:
    """Pump and linger for this long. Returns when each routing and each claim that found something began and ended, and
    when the attempt of each event began (monotonic seconds).
    """
    routes: list[tuple[float, float]] = []
    claims: list[tuple[float, float]] = []
    attempts: dict[str, float] = {}

    def timed(function: Callable[..., int], log: list[tuple[float, float]]) -> Callable[..., int]:
        def run(*args: Any, **kwargs: Any) -> int:
            began = time.monotonic()
            if found := function(*args, **kwargs):
                log.append((began, time.monotonic()))
            return found

        return run

    attempt = pool.attempt

    def begin(delivery: Any, *args: Any, **kwargs: Any) -> Any:
        attempts[delivery.event.public_id] = time.monotonic()
        return attempt(delivery, *args, **kwargs)

    routing.route = timed(routing.route, routes)
    pool.Sender.claim = timed(pool.Sender.claim, claims)  # type: ignore[method-assign]
    pool.attempt = begin
    wait_for_go()
    make_turn().run(until=time.monotonic() + seconds)
    return {"routes": routes, "claims": claims, "attempts": attempts}
