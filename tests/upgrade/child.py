"""A process of the store, with the code of either version: `python -m tests.upgrade.child trade`. Prints one JSON line.

It uses nothing of orderhooks that a version could lack.
"""

import json
import select
import sys
import time
from datetime import timedelta
from typing import Any

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.utils import timezone  # noqa: E402
from django_q.brokers import get_broker  # noqa: E402
from django_q.models import Schedule  # noqa: E402
from django_q.scheduler import scheduler  # noqa: E402
from django_q.tasks import async_task  # noqa: E402

from orderhooks.models import Attempt, Change, Delivery, Event, Order, OrderLine, Subscription  # noqa: E402

PUMP = "orderhooks.tasks.pump"
SETTLE_SECONDS = 40.0


def migrate() -> None:
    call_command("migrate", verbosity=0)


def columns() -> dict[str, dict[str, bool]]:
    """By table of orderhooks and column, whether an INSERT may leave the column out. On SQLite alone."""
    migrate()
    found: dict[str, dict[str, bool]] = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            if table.startswith("orderhooks_"):
                cursor.execute(f"PRAGMA table_xinfo({table})")
                found[table] = {
                    name: not required or default is not None or bool(key) or bool(generated)
                    for _position, name, _type, required, default, key, generated in cursor.fetchall()
                }
    return found


def subscribe(url: str, ordered: str = "") -> None:
    Subscription.create_with_secret(name=url, url=url, topics=["*"], ordered=bool(ordered))


def trade() -> list[str]:
    """Save orders until standard input is closed; pay every third. Returns their public ids."""
    saved: list[str] = []
    print("trading", flush=True)
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        order = Order.objects.create(customer_name="Ada Byron", total="24.80")
        OrderLine.objects.create(order=order, sku="TEA-1", name="Green tea", quantity=2, unit_price="9.95")
        if len(saved) % 3 == 0:
            order.payment_status = "paid"
            order.save()
        saved.append(order.public_id)
    return saved


def wake() -> None:
    """Wake-ups for all workers of two clusters."""
    for _ in range(4):
        async_task(PUMP, save=False)


def settle() -> int:
    """Wait until everything is sent; every three seconds as if a minute had passed. How much still waits at the end."""
    end, next_sweep = time.monotonic() + SETTLE_SECONDS, 0.0
    while waiting := _waiting():
        if time.monotonic() > end:
            break
        if time.monotonic() > next_sweep:
            next_sweep = time.monotonic() + 3.0
            Schedule.objects.filter(func=PUMP).update(next_run=timezone.now() - timedelta(seconds=1))
            scheduler(get_broker())
        time.sleep(0.2)
    return waiting


def _waiting() -> int:
    owed = Delivery.objects.filter(state__in=["pending", "sending"])
    return Change.objects.count() + Event.objects.unrouted().count() + owed.count()


def report() -> dict[str, list[Any]]:
    deliveries = Delivery.objects.order_by("pk").values_list(
        "event__public_id", "event__topic", "event__payload__order__id", "subscription__url", "state"
    )
    lost = Attempt.objects.filter(status_code=None).values_list("delivery__event__public_id", "number")
    return {"deliveries": list(map(list, deliveries)), "unanswered": list(map(list, lost))}


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    print(json.dumps(globals()[command](*arguments)), flush=True)
