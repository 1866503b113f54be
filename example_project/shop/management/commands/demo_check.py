"""The demo without a person: 20 orders over HTTP on a fresh database, then: did every receiver do what it should?

Ends with a line that begins `ok:` (exit code 0) or `failed:` (exit code 1).
"""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from crm.models import CustomerOrder, Summary
from fulfilment.models import Parcel
from mailroom.models import SentMail
from orderhooks.models import Delivery, Subscription
from shop import developers, ordering, processes
from shop.customers import Customer, ShopError
from shop.models import Product

ORDERS = 20
# From the first order to the last receipt. Starting and ending take at most 25 s more.
PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.2
NOTHING = Decimal(0)
# Each order's fate by its turn, so that every run does the same.
FATES = [
    (),
    ("pay",),
    ("pay", "ship"),
    ("cancel",),
    ("pay", "cancel", "refund"),
    ("pay", "ship-part", "refund-part", "ship"),
    ("pay", "refund-part", "refund"),
]
TOPIC_OF = {
    "pay": "order.paid",
    "ship-part": "order.partially_fulfilled",
    "ship": "order.fulfilled",
    "cancel": "order.cancelled",
    "refund-part": "order.partially_refunded",
    "refund": "order.refunded",
}
CUSTOMERS = 8
RECEIVERS = ("inventory", "fulfilment", "mailroom", "crm")


@dataclass
class Expected:
    """What the receivers will have done once everything has arrived."""

    stock: Counter[str]
    parcels: Counter[str] = field(default_factory=Counter)  # by order
    mails: Counter[tuple[str, str]] = field(default_factory=Counter)  # by topic and order
    customers: dict[str, Summary] = field(default_factory=dict)  # by e-mail address
    deliveries: Counter[str] = field(default_factory=Counter)  # by receiver

    def note_placed(self, order: str, email: str, quantities: dict[str, int]) -> None:
        self.stock.subtract(quantities)
        self.mails["order.created", order] += 1
        self.deliveries.update(["inventory", "mailroom", "crm"])
        self.note_money(email, orders=1)

    def note_money(self, email: str, *, orders: int = 0, paid: Decimal = NOTHING, refunded: Decimal = NOTHING) -> None:
        known = self.customers.get(email, Summary(0, NOTHING, NOTHING))
        self.customers[email] = Summary(known.orders + orders, known.refunded + refunded, known.total + paid - refunded)

    def note_pressed(self, order: str, button: str, quantities: dict[str, int]) -> None:
        self.mails[TOPIC_OF[button], order] += 1
        self.deliveries.update(["mailroom", "crm"])
        if button == "cancel":
            self.stock.update(quantities)
            self.deliveries["inventory"] += 1
        if button == "pay":
            self.parcels[order] += 1
            self.deliveries["fulfilment"] += 1


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    receiver: str
    what: str
    expected: int
    seen: int
    # Counted the same is not enough: the parcels must be those of the right orders, with the right amounts.
    right: bool = True

    @property
    def ok(self) -> bool:
        return self.right and self.expected == self.seen

    def __str__(self) -> str:
        verdict = "ok" if self.ok else "NOT OK" if self.expected != self.seen else "NOT OK: other orders or amounts"
        return f"{self.receiver:<12}{self.what:<36}{self.expected:>9}{self.seen:>7}  {verdict}"


class Command(BaseCommand):
    help = "Run the example shop for a minute at most, on a fresh database, and check what its receivers did."
    # The command that fills the database, and how many orders the customers place.
    setup, orders = "setup_demo", ORDERS

    def go_shopping(self, address: str) -> Expected:
        """Place the orders, and do with them what their fates say. Raises ShopError."""
        return go_shopping(address)

    def handle(self, **options: Any) -> None:
        processes.end_on_signals()
        started = time.monotonic()
        try:
            with tempfile.TemporaryDirectory(prefix="orderhooks-demo-") as name, fresh_database(Path(name)):
                problem = self.try_out(Path(name))
        except KeyboardInterrupt:
            problem = "interrupted."
        except (CommandError, ShopError) as error:
            problem = str(error)
        took = time.monotonic() - started
        if problem:
            self.stdout.write(f"failed: {problem}")
            sys.exit(1)
        self.stdout.write(f"ok: {self.orders} orders, and every receiver did its part, in {took:.0f} s.")

    def try_out(self, directory: Path) -> str:
        """Why it failed; blank if it did not."""
        with processes.running(directory, processes.free_port(), setup=self.setup) as site:
            expected = self.go_shopping(site.address)
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not all_delivered(expected) and time.monotonic() < deadline:
                site.require_running()
                time.sleep(LOOK_SECONDS)
            rows = compare(expected, directory / "mails")
            mailroom = Subscription.objects.get(name="mailroom").public_id
            counted = developers.delivered(site.address, to=mailroom, user="admin", password="admin")
            rows.append(Row("mailroom", "the same, says the API", expected.deliveries["mailroom"], counted))
            self.stdout.write(f"{'receiver':<12}{'what':<36}{'expected':>9}{'seen':>7}")
            for row in rows:
                self.stdout.write(str(row))
            wrong = sum(not row.ok for row in rows)
            if not wrong:
                return ""
            self.tell_what_is_known(site)
            return f"{wrong} of {len(rows)} rows are not as expected."

    def tell_what_is_known(self, site: processes.Site) -> None:
        for child in site.children:
            self.stdout.write(f"\nThe end of the {child.name}'s log:\n{processes.tail(child.log)}")
        missing = Delivery.objects.filter(subscription__name__in=RECEIVERS).exclude(state=Delivery.State.DELIVERED)
        for delivery in missing.select_related("event", "subscription")[: processes.LOG_LINES]:
            self.stdout.write(
                f"{delivery.event} to {delivery.subscription}: {delivery.state}, "
                f"{delivery.attempts_made} attempts, last outcome: {delivery.last_detail or 'none'}"
            )


def go_shopping(address: str) -> Expected:
    """Place the orders and press their buttons, one after the other. Raises ShopError."""
    expected = Expected(stock=Counter(dict(Product.objects.values_list("sku", "stock"))))
    skus = sorted(expected.stock)
    prices = dict(Product.objects.values_list("sku", "price"))
    for turn in range(ORDERS):
        number = turn % CUSTOMERS
        customer = Customer(address, f"Customer {number}", f"customer{number}@example.com")
        quantities = {skus[turn % len(skus)]: 1 + turn % 3, skus[(turn + 1) % len(skus)]: 2}
        order = customer.place(quantities)
        expected.note_placed(order, customer.email, quantities)
        total = sum((prices[sku] * quantity for sku, quantity in quantities.items()), ordering.SHIPPING)
        left = NOTHING
        for button in FATES[turn % len(FATES)]:
            customer.press(order, button)
            expected.note_pressed(order, button, quantities)
            if button == "pay":
                left = total
                expected.note_money(customer.email, paid=total)
            if button in ("refund", "refund-part"):
                refunded = left if button == "refund" else ordering.SHIPPING
                left -= refunded
                expected.note_money(customer.email, refunded=refunded)
    return expected


def all_delivered(expected: Expected) -> bool:
    """Whether each of the well-behaved receivers has responded with 2xx to all events that it should get."""
    done = Delivery.objects.filter(state=Delivery.State.DELIVERED)
    return all(done.filter(subscription__name=name).count() >= expected.deliveries[name] for name in RECEIVERS)


def compare(expected: Expected, mails: Path) -> list[Row]:
    rows = []
    stock = dict(Product.objects.values_list("sku", "stock"))
    for sku, number in sorted(expected.stock.items()):
        rows.append(Row("inventory", f"stock of {sku}", number, stock[sku]))
    parcels = Counter(Parcel.objects.values_list("order_id", flat=True))
    rows.append(
        Row("fulfilment", "parcels", expected.parcels.total(), parcels.total(), right=parcels == expected.parcels)
    )
    booked = Counter(SentMail.objects.values_list("topic", "order_id"))
    for topic in ("order.created", *TOPIC_OF.values()):
        wanted, seen = of_topic(expected.mails, topic), of_topic(booked, topic)
        rows.append(Row("mailroom", f"mails on {topic}", wanted.total(), seen.total(), right=wanted == seen))
    rows.append(Row("mailroom", "mails in their folder", expected.mails.total(), mails_written(mails)))
    customers = CustomerOrder.summaries()
    rows.append(Row("crm", "customers", len(expected.customers), len(customers), right=customers == expected.customers))
    done = Delivery.objects.filter(state=Delivery.State.DELIVERED)
    for name in RECEIVERS:
        seen_here = done.filter(subscription__name=name).count()
        rows.append(Row(name, "deliveries that arrived", expected.deliveries[name], seen_here))
    return sorted(rows, key=lambda row: RECEIVERS.index(row.receiver))


def of_topic(mails: Counter[tuple[str, str]], topic: str) -> Counter[str]:
    return Counter({order: number for (of, order), number in mails.items() if of == topic})


def mails_written(folder: Path) -> int:
    """A file may hold several mails: the backend names files by the second."""
    files = folder.glob("*.log") if folder.exists() else []
    return sum(line.startswith(b"Message-ID:") for file in files for line in file.read_bytes().splitlines())


@contextmanager
def fresh_database(directory: Path) -> Iterator[None]:
    """Point this process at a database of its own, as Django's test runner does; the children get it by environment."""
    former = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = directory / "demo.sqlite3"
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = former
