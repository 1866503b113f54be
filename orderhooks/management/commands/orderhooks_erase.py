"""`manage.py orderhooks_erase --customer ada@example.com`: erase a person's data from all that is stored of orders."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from orderhooks import operations
from orderhooks.encryption import UndecryptableError
from orderhooks.management import actor
from orderhooks.models import Erasure
from orderhooks.reporting.counts import counted


class Command(BaseCommand):
    help = (
        "Erases the personal data of a customer's orders, or of one order, from all that is stored of their webhooks, "
        "for good, and publishes order.redacted for each order. It needs no worker. If it is stopped, call it again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--customer", default="", metavar="E-MAIL", help="the orders of this e-mail address")
        parser.add_argument("--order", default="", metavar="NUMBER", help="the order with this number")
        parser.add_argument("--store", default="", help="only orders of this store")
        parser.add_argument("--source", default="", help="only orders of the order source with this name")
        parser.add_argument(
            "--dry-run", action="store_true", help="only count what would be erased, and list its paths"
        )

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        request = {name: options[name] for name in ("customer", "order", "store", "source")}
        try:
            if dry_run:
                return self._preview(operations.preview_erasure(**request))
            self._carry_out(operations.erase(**request, by=actor.current()))
        except (operations.ErasureError, UndecryptableError) as error:
            raise CommandError(str(error)) from None

    def _preview(self, planned: Erasure) -> None:
        self.stdout.write(f"It would erase the personal data of {_expected(planned)}.")
        paths = ", ".join(operations.erasure_paths(planned)) or "none"
        self.stdout.write(f"Paths of stored payloads that hold some: {paths}.")

    def _carry_out(self, erasure: Erasure) -> None:
        self.stdout.write(f"{erasure.public_id}: erases the personal data of {_expected(erasure)}.")
        for _step in operations.carry_out(erasure):
            if self.stdout.isatty() and erasure.is_running:
                self.stdout.write(f"{erasure.orders_done} of {counted(len(erasure.orders), 'order', 'orders')} done.")
        self.stdout.write(f"Erased: {_done(erasure)}. Receivers get order.redacted for each order.")


def _expected(erasure: Erasure) -> str:
    found = operations.estimate_erasure(erasure)
    return _counts(found.orders, found.events, found.deliveries, found.attempts)


def _done(erasure: Erasure) -> str:
    return _counts(len(erasure.orders), erasure.events, erasure.deliveries, erasure.attempts)


def _counts(orders: int, events: int, deliveries: int, attempts: int) -> str:
    """`2 orders: 12 events, 24 deliveries, 25 attempts`."""
    parts = [counted(events, "event", "events"), counted(deliveries, "delivery", "deliveries")]
    return f"{counted(orders, 'order', 'orders')}: {', '.join([*parts, counted(attempts, 'attempt', 'attempts')])}"
