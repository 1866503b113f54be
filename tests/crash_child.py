"""The processes that tests/test_crashes.py kills: `python -m tests.crash_child COMMAND [ARGUMENT]`."""

import os
import signal
import sys
from datetime import timedelta
from typing import NoReturn
from unittest import mock

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db.models.sql import InsertQuery  # noqa: E402
from django.utils import timezone  # noqa: E402
from django_q.brokers import get_broker  # noqa: E402

from orderhooks import operations, outbox, sending, tasks, triggers  # noqa: E402
from orderhooks.backfilling import batches  # noqa: E402
from orderhooks.models import Backfill, Change, Delivery, Order, Subscription  # noqa: E402
from orderhooks.models.backfills import MOST_RATE  # noqa: E402
from orderhooks.sources import BuiltInOrders  # noqa: E402


def die(*_args: object, **_kwargs: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL ends every process")


def prepare(url: str) -> None:
    call_command("migrate", verbosity=0)
    an_hour_ago = timezone.now() - timedelta(hours=1)
    Subscription.create_with_secret(name="Warehouse", url=url, topics=["order.created"], created_at=an_hour_ago)
    get_broker().purge_queue()


def save_and_die_before_coalescing() -> None:
    mock.patch.object(outbox.transaction_batch, "coalesce", die).start()
    Order.objects.create()


def track_and_die_before_coalescing() -> None:
    mock.patch.object(outbox.transaction_batch, "coalesce", die).start()
    Order.objects.bulk_create([Order(number="7")])


class TriggeredOrders(BuiltInOrders):
    capture = "triggers"


def insert_by_sql_with_triggers_and_die() -> None:
    settings.ORDERHOOKS = {**settings.ORDERHOOKS, "SOURCES": ["tests.crash_child.TriggeredOrders"]}
    triggers.install("default")
    order = Order(number="7")
    insert = InsertQuery(Order)
    insert.insert_values(Order._meta.concrete_fields[1:], [order])
    # No handler of ours is called.
    insert.get_compiler("default").execute_sql()
    die()


def prepare_backfill(url: str) -> None:
    call_command("migrate", verbosity=0)
    for number in "12345":
        Order.objects.create(number=number)
    subscription, _secret = Subscription.create_with_secret(name="Warehouse", url=url, topics=["order.updated"])
    operations.backfill(subscription, rate=MOST_RATE)
    get_broker().purge_queue()


def backfill_and_die_while_an_order_is_read() -> None:
    orders = iter([batches._order, batches._order, die])
    mock.patch.object(batches, "_order", lambda *args, **options: next(orders)(*args, **options)).start()
    tasks.pump()


def backfill_and_die_before_the_commit() -> None:
    mock.patch.object(Delivery.objects, "bulk_create", die).start()
    tasks.pump()


def backfill_and_die_after_the_commit() -> None:
    mock.patch.object(sending.Sender, "claim", die).start()
    tasks.pump()


def save_and_die_before_the_wake() -> None:
    tasks.wake = die
    Order.objects.create()


def save() -> None:
    Order.objects.create()


def pump() -> None:
    tasks.pump()


def pass_time() -> None:
    """As if a minute had gone by: leases run out, changes are left behind, heartbeats go stale, retries are due."""
    minute = timedelta(minutes=1)
    Change.objects.update(created_at=timezone.now() - minute)
    Delivery.objects.filter(state="sending").update(lease_expires_at=timezone.now() - minute)
    Delivery.objects.filter(state="pending").update(next_attempt_at=timezone.now() - minute)
    Backfill.objects.update(next_batch_at=timezone.now() - minute)


def queued() -> None:
    print(get_broker().queue_size())


def report() -> None:
    print(" ".join(f"{one.state}:{one.attempts_made}" for one in Delivery.objects.order_by("pk")))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
