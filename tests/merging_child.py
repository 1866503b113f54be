"""What tests/test_merging_side_by_side.py runs beside itself: `python -m tests.merging_child COMMAND [ARGUMENT]`."""

import json
import sys
from datetime import timedelta

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import OperationalError, connection, connections, transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from orderhooks import routing, sending, shaping  # noqa: E402
from orderhooks.db.locks import is_lock_timeout  # noqa: E402
from orderhooks.models import Delivery, Event  # noqa: E402
from orderhooks.routing import batches  # noqa: E402
from orderhooks.transport import Outcome  # noqa: E402
from tests.factories import claim, make_event, make_subscription  # noqa: E402

ORDERS = 4
UPDATES = 60
START = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)


def prepare() -> None:
    call_command("migrate", verbosity=0)
    make_subscription(update_interval_seconds=3600)


def publish() -> None:
    """Counts up a number of each order, an event each time."""
    for number in range(UPDATES):
        with transaction.atomic():
            for order in range(ORDERS):
                changes = {"count": [number, number + 1]}
                make_event(
                    topic="order.updated",
                    order_pk=str(order),
                    changes=changes,
                    payload={"order": {}, "changes": changes},
                    routed_at=None,
                )


def work() -> None:
    """Route, claim and send at one and the same time of day, until all is published and nothing is left."""
    batches.ROUTE_AT_ONCE = 3
    idle = 0
    while idle < 20 or Event.objects.count() < ORDERS * UPDATES or Event.objects.unrouted().exists():
        try:
            moved = routing.route(now=START)
            claimed = claim(1, now=START)
        except OperationalError as error:
            # On a busy machine another worker may keep a row for a second. A pump leaves it for its next turn.
            if not is_lock_timeout(error):
                raise
            continue
        for delivery in claimed:
            body = shaping.shape(delivery.event, delivery.subscription, changes=delivery.merged_changes).body
            print(delivery.event.order_pk, json.loads(body)["data"]["changes"]["count"], flush=True)
        sent = [sending.Sent(one, {}, START, Outcome(status_code=200)) for one in claimed]
        while sent:
            sent = sending.record(sent, now=START)
        idle = 0 if moved or claimed else idle + 1
        if not moved:
            connections.close_all()
    assert connection.vendor


def finish() -> None:
    """What waits is due an hour later."""
    for delivery in claim(100, now=START + timedelta(hours=1)):
        body = shaping.shape(delivery.event, delivery.subscription, changes=delivery.merged_changes).body
        print(delivery.event.order_pk, json.loads(body)["data"]["changes"]["count"])
    states = Delivery.objects.values_list("state", flat=True)
    print("left", sum(state == "pending" for state in states), len(states))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
