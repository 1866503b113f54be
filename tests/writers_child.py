"""What tests/test_snapshots.py runs beside itself: `python -m tests.writers_child COMMAND [ARGUMENT]`."""

import random
import sys

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import transaction  # noqa: E402

from orderhooks.models import Change, Event, Order, OrderLine, Subscription  # noqa: E402
from tests.publications import payload_of  # noqa: E402

TRANSACTIONS = 100
STATUSES = ["pending", "authorized", "paid", "refunded"]


def prepare() -> None:
    call_command("migrate", verbosity=0)
    Subscription.create_with_secret(name="Warehouse", url="http://127.0.0.1:59999/", topics=["*"])
    with transaction.atomic():
        order = Order.objects.create()
        for sku in ("A", "B", "C", "D"):
            OrderLine.objects.create(order=order, sku=sku, name=sku, unit_price=1)


def write(sku: str) -> None:
    """Change one order over and over, each time in a transaction of its own, and one line of it now and then."""
    dice = random.Random(sku)
    for count in range(TRANSACTIONS):
        with transaction.atomic():
            order = Order.objects.select_for_update().get()
            order.note = f"{sku} {count}"
            order.payment_status = dice.choice(STATUSES)
            order.save()
            line = order.lines.filter(sku=sku).first()
            if line is None:
                OrderLine.objects.create(order=order, sku=sku, name=sku, unit_price=1)
            elif count % 5 == 0:
                line.delete()
            elif count % 2 == 0:
                line.quantity = count + 1
                line.save()


def report() -> None:
    """How many events there are, and how many of them show another order than the changes so far come to."""
    assert not Change.objects.exists()
    events = list(Event.objects.order_by("sequence"))
    first = payload_of(events[0])["order"]
    fields = {"note": first["note"], "payment_status": first["payment_status"]}
    lines = {line["sku"]: line["quantity"] for line in first["lines"]}
    wrong = 0
    for event in events:
        for field, (_old, new) in event.changes.items():
            if field != "lines":
                fields[field] = new
        old_lines, new_lines = event.changes.get("lines", ([], []))
        for line in old_lines:
            lines.pop(line["sku"], None)
        lines |= {line["sku"]: line["quantity"] for line in new_lines}
        order = payload_of(event)["order"]
        told = {line["sku"]: line["quantity"] for line in order["lines"]}
        wrong += {field: order[field] for field in fields} != fields or told != lines
    print(len(events), wrong)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
