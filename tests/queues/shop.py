"""What a test has the shop do, each in a process of its own: `python -m tests.queues.shop COMMAND [ARGUMENT]`."""

import importlib
import os
import sys
from datetime import timedelta

import django

if os.environ["TEST_QUEUE"] == "celery":
    # As a project's __init__.py does.
    importlib.import_module("tests.queues.celery_app")
django.setup()

from django.core.management import call_command  # noqa: E402
from django.utils import timezone  # noqa: E402

from orderhooks import conf, tasks  # noqa: E402
from orderhooks.models import Delivery, Order, Pump, Subscription  # noqa: E402


def prepare(url: str) -> None:
    call_command("check", fail_level="WARNING")
    call_command("migrate", verbosity=0)
    an_hour_ago = timezone.now() - timedelta(hours=1)
    Subscription.create_with_secret(name="Warehouse", url=url, topics=["order.created"], created_at=an_hour_ago)


def save() -> None:
    Order.objects.create()
    # On a busy machine its first connection to the broker may take longer than a process waits at its end.
    tasks.let_the_waker_finish(seconds=30)


def save_without_waking() -> None:
    tasks.wake = lambda: None
    Order.objects.create()


def pass_time() -> None:
    """As if a minute had gone by: leases run out, retries are due, the heartbeats of the dead go stale."""
    minute = timedelta(minutes=1)
    Delivery.objects.filter(state="sending").update(lease_expires_at=timezone.now() - minute)
    Delivery.objects.filter(state="pending").update(next_attempt_at=timezone.now() - minute)
    Pump.objects.update(beat_at=timezone.now() - minute)


def sweep() -> None:
    tasks.sweep()


def report() -> None:
    print(" ".join(f"{one.state}:{one.attempts_made}" for one in Delivery.objects.order_by("pk")))


def forget_the_queue() -> None:
    from celery import current_app

    with current_app.connection_for_write() as connection:
        connection.default_channel.queue_delete(os.environ["TEST_CELERY_QUEUE"])
        connection.default_channel.exchange_delete(os.environ["TEST_CELERY_QUEUE"])


def waiting_tasks() -> None:
    from django_tasks_db.models import DBTaskResult

    print(*DBTaskResult.objects.ready().values_list("task_path", flat=True))


def faults() -> None:
    print(*(one.msg for one in tasks.check()))


def worker_command() -> None:
    print(tasks.worker_command())


def problems() -> None:
    print(tasks.broker_problem())


if __name__ == "__main__":
    assert conf.current().queue == os.environ["TEST_QUEUE"]
    globals()[sys.argv[1]](*sys.argv[2:])
