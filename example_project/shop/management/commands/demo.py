"""The shop with everything running and a customer in it; a line for each delivery attempt. Ctrl-C ends it."""

import fcntl
import os
import random
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import F
from django.utils import timezone

from orderhooks.models import Attempt, Delivery
from shop import processes
from shop.customers import Customer, ShopError
from shop.models import Product

PEOPLE = ["Ada Byron", "Grace Hopper", "Alan Turing", "Mary Shelley", "Emil Zola", "Rosa Park", "Søren Kirk"]
# What happens to an order, one button each time.
FATES = [
    ("pay", "ship"),
    ("pay", "ship"),
    ("pay", "ship", "refund"),
    ("pay", "ship-part", "refund-part", "ship"),
    ("cancel",),
    ("pay", "cancel", "refund"),
    ("pay",),
]
LOOK_SECONDS = 0.25
LOW_STOCK = 10
REFILL = 100


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0.2 <= value <= 3600:
        raise ArgumentTypeError("choose between 0.2 and 3600 seconds")
    return value


class Command(BaseCommand):
    help = "Run the example shop with its receivers and a worker, and place an order every few seconds. Ctrl-C ends it."
    setup = "setup_demo"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="the port of the shop (8000)")
        parser.add_argument("--every", type=seconds, default=4.0, help="seconds between two orders (4)")

    def handle(self, *, port: int, every: float, **options: Any) -> None:
        processes.end_on_signals()
        try:
            with sole_demo(), processes.running(settings.DEMO_DIR, port, setup=self.setup) as site:
                self.greet(site)
                self.run(site, every)
        except KeyboardInterrupt:
            self.stdout.write("\nStopped: web server and worker have ended.")
        except BrokenPipeError:
            # The program that read the lines has ended. Python would complain once more as it flushes on the way out.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def greet(self, site: processes.Site) -> None:
        self.stdout.write(
            f"Shop   {site.address}\n"
            f"Admin  {site.address}admin/  (user admin, password admin)\n"
            f"API    {site.address}api/orders/  (the same user), described at {site.address}api/docs/\n"
            f"Mails, logs and the database are in {settings.DEMO_DIR}. Ctrl-C ends the demo.\n\n"
            "The subscriptions `flaky` and `dead` fail on purpose.\n"
        )
        self.stdout.flush()

    def run(self, site: processes.Site, every: float) -> None:
        shopper = self.shopper(site)
        seen = Attempt.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        next_order = time.monotonic()
        while True:
            site.require_running()
            if time.monotonic() >= next_order:
                next_order = time.monotonic() + every
                try:
                    shopper.step()
                except ShopError as error:
                    self.stderr.write(str(error))
            for attempt in new_attempts(seen):
                seen = attempt.pk
                self.stdout.write(self.line(attempt))
            self.stdout.flush()
            time.sleep(LOOK_SECONDS)

    def shopper(self, site: processes.Site) -> "Shopper":
        return Shopper(site.address)

    def line(self, attempt: Attempt) -> str:
        delivery = attempt.delivery
        good = attempt.status_code is not None and 200 <= attempt.status_code < 300
        paint = self.style.SUCCESS if good else self.style.ERROR
        at = attempt.started_at.strftime("%H:%M:%S")
        return (
            f"{at}  order {delivery.event.order_number:<6} {delivery.event.topic:<24} "
            f"{delivery.subscription.name:<11} "
            + paint(f"{attempt.status_code or attempt.error or 'failed':<18}")
            + f" attempt {attempt.number}{what_next(delivery, attempt, now=timezone.now())}"
        )


class Shopper:
    """Places an order at each step, and presses the next button on those that are not done with."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.open: list[tuple[Customer, str, Iterator[str]]] = []

    def step(self) -> None:
        """Raises ShopError; the order that it was about is left alone from then on."""
        busy, self.open = self.open, []
        for customer, order, fate in busy:
            if button := next(fate, None):
                customer.press(order, button)
                self.open.append((customer, order, fate))
        name = random.choice(PEOPLE)
        customer = Customer(self.address, name, f"{name.split()[0].lower()}@example.com".replace("ø", "o"))
        order = customer.place(a_choice_of_products())
        self.open.append((customer, order, iter(random.choice(FATES))))


def a_choice_of_products() -> dict[str, int]:
    """One to three products, one to three of each; shelves that are nearly empty are filled first."""
    Product.objects.filter(stock__lt=LOW_STOCK).update(stock=F("stock") + REFILL)
    skus = list(Product.objects.filter(stock__gte=LOW_STOCK).values_list("sku", flat=True))
    return {sku: random.randint(1, 3) for sku in random.sample(skus, k=min(len(skus), random.randint(1, 3)))}


def new_attempts(after: int) -> list[Attempt]:
    """Those that were recorded since, oldest first."""
    attempts = Attempt.objects.filter(pk__gt=after).order_by("pk")
    return list(attempts.select_related("delivery__event", "delivery__subscription"))


def what_next(delivery: Delivery, attempt: Attempt, *, now: datetime) -> str:
    if attempt.number != delivery.attempts_made:  # tried again already; that attempt has a line of its own
        return ""
    if delivery.state == Delivery.State.FAILED:
        return ", given up"
    if delivery.state == Delivery.State.PENDING and delivery.next_attempt_at is not None:
        wait = max(0.0, (delivery.next_attempt_at - now).total_seconds())
        return f", next try in {wait:.0f} s" if wait < 90 else f", next try in {wait / 60:.0f} min"
    return ""


@contextmanager
def sole_demo() -> Iterator[None]:
    """Raises CommandError if a demo is running over the same folder; a second would turn its receivers away."""
    path = settings.DEMO_DIR / "demo.lock"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                f"A demo is running over {settings.DEMO_DIR} already. End it, or give this one another folder with the "
                "environment variable ORDERHOOKS_DEMO_DIR and another port with --port."
            ) from None
        yield
