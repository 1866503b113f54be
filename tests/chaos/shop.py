"""The store: a process that reads commands, a JSON line each, and prints one for each: `["place", {"count": 10}]`.

`sites.Shop` starts it (`python -m tests.chaos.shop`), and may kill it.
"""

import importlib
import json
import os
import random
import signal
import sys
import time
import traceback
from datetime import timedelta
from typing import Any, NoReturn
from unittest import mock

import django
from django.conf import settings

if hasattr(settings, "CELERY_BROKER_URL"):
    # As a project's __init__.py does.
    importlib.import_module("tests.chaos.celery_app")
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import DatabaseError, connection, transaction  # noqa: E402
from django.db.models import Count, Q  # noqa: E402
from django.utils import timezone  # noqa: E402
from django_q.brokers import get_broker  # noqa: E402
from django_q.models import Schedule  # noqa: E402
from django_q.scheduler import scheduler  # noqa: E402

from orderhooks import conf, operations, outbox, publishing, retention, routing, tasks  # noqa: E402
from orderhooks.db import DatabaseClock  # noqa: E402
from orderhooks.models import Attempt, Change, Delivery, Event, Order, OrderLine, Subscription  # noqa: E402
from orderhooks.tasks.names import SWEEP_SCHEDULE  # noqa: E402
from tests.factories import cutoffs_at  # noqa: E402

if "replica" in settings.DATABASES:
    # Only there its tables are made.
    from tests.chaos.purchases import (  # noqa: F401
        look_at_what_was_written,
        purchases,
        sign_in,
        trade_by_replica,
    )


def migrate() -> None:
    call_command("migrate", verbosity=0, run_syncdb="replica" in settings.DATABASES)


def subscribe(url: str, topics: list[str], **fields: Any) -> list[Any]:
    """Its key and its secret."""
    subscription, secret = Subscription.create_with_secret(name=url[-100:], url=url, topics=topics, **fields)
    return [subscription.pk, secret]


def place(
    count: int, seed: int, each_seconds: float = 0.0, rolled_back: float = 0.2, paid: float = 0.3
) -> dict[str, list[str]]:
    """Save this many orders, some of them paid later, some rolled back. Which ones, by public id.

    What the database refuses is `refused`: it may be there or not.
    """
    dice = random.Random(seed)
    told: dict[str, list[str]] = {"committed": [], "rolled_back": [], "refused": []}
    for _ in range(count):
        order = Order(customer_name="Ada Byron", total="24.80")
        undone, later = dice.random() < rolled_back, dice.random() < paid
        try:
            with transaction.atomic():
                order.save()
                OrderLine.objects.create(order=order, sku="TEA-1", name="Green tea", quantity=2, unit_price="9.95")
                if undone:
                    transaction.set_rollback(True)
            told["rolled_back" if undone else "committed"].append(order.public_id)
            if later and not undone:
                order.payment_status = "paid"
                order.save()
        except DatabaseError:
            told["refused"].append(order.public_id)
            connection.close()
            time.sleep(0.1)
        time.sleep(each_seconds * dice.uniform(0.5, 1.5))
    return told


def place_one(note: str = "") -> str:
    return Order.objects.create(note=note, total="24.80").public_id


def pay(public_ids: list[str]) -> None:
    for order in Order.objects.filter(public_id__in=public_ids):
        order.payment_status = "paid"
        order.save()


def edit_notes(note: str) -> int:
    return Order.objects.update(note=note)


def place_and_die(moment: str) -> None:
    """Killed after the commit: before the "coalesce" of its changes, or before the "wake" of a worker."""
    if moment == "coalesce":
        mock.patch.object(outbox.transaction_batch, "coalesce", _die).start()
    else:
        tasks.wake = _die
    Order.objects.create(total="24.80")


def _die(*_args: object, **_kwargs: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL ends every process")


def owe(count: int) -> None:
    """This many published events that wait for their deliveries."""
    now = timezone.now()
    order = Order.objects.create(total="24.80")
    Event.objects.bulk_create(
        [
            Event(
                topic="order.updated",
                source="orderhooks",
                order_pk=str(order.pk),
                payload={"order": {"id": order.public_id}, "changes": {}},
                occurred_at=now,
                published_at=now,
            )
            for _ in range(count)
        ],
        batch_size=1000,
    )


def pump_tasks(count: int) -> None:
    for _ in range(count):
        tasks.sweep()


def minute_passes() -> None:
    """The sweep is due now: django-q2's own scheduler, which looks every thirty seconds, is not waited for.

    Celery's is a process of its own, which does no more than enqueue it.
    """
    if conf.current().queue == "celery":
        tasks.sweep()
        return
    Schedule.objects.filter(name=SWEEP_SCHEDULE).update(next_run=timezone.now() - timedelta(seconds=1))
    scheduler(get_broker())


def edit(subscription: int, **fields: Any) -> int:
    return Subscription.objects.filter(pk=subscription).update(**fields)


def remove(subscription: int) -> None:
    Subscription.objects.get(pk=subscription).delete()


def resume(subscription: int) -> int:
    return operations.resume(Subscription.objects.filter(pk=subscription)).subscriptions


def pause(subscription: int) -> int:
    return operations.pause(Subscription.objects.filter(pk=subscription))


def rotate_secret(subscription: int, overlap_seconds: float) -> str:
    one = Subscription.objects.get(pk=subscription)
    return one.rotate_secret(now=timezone.now(), overlap=timedelta(seconds=overlap_seconds))


def redeliver(**chosen: Any) -> int:
    return operations.redeliver(Delivery.objects.filter(**chosen))


def republish() -> list[bool]:
    return [publishing.republish(event) for event in Event.objects.unpublished()]


def prune() -> int:
    """What is finished now is old."""
    return retention.prune(before=cutoffs_at(DatabaseClock().now()))


def hold_locks(seconds: float, **chosen: Any) -> int:
    """Lock the subscriptions for so long. How many."""
    with transaction.atomic():
        rows = list(Subscription.objects.select_for_update().filter(**chosen))
        time.sleep(seconds)
    return len(rows)


def wait_for_lock(subscription: int) -> None:
    """Until somebody has locked it."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with transaction.atomic():
            if not Subscription.objects.select_for_update(skip_locked=True).filter(pk=subscription):
                return
        time.sleep(0.05)
    raise TimeoutError("Nobody has locked the subscription.")


def hold_deliveries(seconds: float, state: str, count: int) -> int:
    """Lock up to this many of that state for that long. Returns how many."""
    with transaction.atomic():
        rows = list(Delivery.objects.select_for_update(skip_locked=True).filter(state=state).order_by("pk")[:count])
        time.sleep(seconds)
    return len(rows)


def hold_the_file(seconds: float) -> None:
    """SQLite's one write lock, waited for longer than others do."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout = 30000")
    with transaction.atomic():
        Change.objects.filter(pk=-1).delete()
        time.sleep(seconds)


def owed() -> int:
    """What is not done yet: changes to coalesce, events to route, deliveries of active subscriptions to send."""
    open_ = Delivery.objects.filter(
        Q(state="sending") | Q(state="pending", subscription__state=Subscription.State.ACTIVE)
    )
    return Change.objects.count() + Event.objects.unrouted().count() + open_.count()


def changes() -> int:
    """How many are not coalesced yet."""
    return Change.objects.count()


def states(**chosen: Any) -> dict[str, int]:
    """How many deliveries there are of each state."""
    counted = Delivery.objects.filter(**chosen).order_by().values_list("state").annotate(Count("pk"))
    return dict(counted)


def queued() -> int:
    return get_broker().queue_size()


def sweeps() -> int:
    return Schedule.objects.filter(name=SWEEP_SCHEDULE).count()


def route() -> int:
    return routing.route(now=DatabaseClock().now())


def report() -> dict[str, list[list[Any]]]:
    """What `reckoning` compares with the receiver's ledger."""
    return {
        "orders": [
            *rows(Order.objects.order_by("pk"), "public_id", "payment_status"),
            *(
                [[key, one["payment_status"]] for key, one in purchases().items()]
                if "replica" in settings.DATABASES
                else []
            ),
        ],
        "events": rows(
            Event.objects.order_by("pk"), "pk", "public_id", "topic", "payload__order__id", "published_at", "error"
        ),
        "subscriptions": rows(Subscription.objects.order_by("pk"), "pk", "topics", "state", "state_reason"),
        "deliveries": rows(
            Delivery.objects.order_by("pk"), "pk", "event__public_id", "subscription_id", "state", "attempts_made"
        ),
        "attempts": rows(
            Attempt.objects.order_by("delivery", "number"),
            *("delivery_id", "number", "trigger", "status_code", "error", "detail"),
        ),
    }


def rows(chosen: Any, *names: str) -> list[list[Any]]:
    return [list(row) for row in chosen.values_list(*names)]


def serve() -> None:
    for line in sys.stdin:
        name, arguments = json.loads(line)
        # It may have been cut off.
        connection.close()
        try:
            answer = {"returned": globals()[name](**arguments)}
        except Exception:
            # The suite raises it.
            answer = {"raised": traceback.format_exc()}
        print(json.dumps(answer, default=str), flush=True)


if __name__ == "__main__":
    serve()
