"""`manage.py orderhooks_listen`: a receiver for development that subscribes itself and shows each webhook."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.views.decorators.debug import sensitive_variables

from orderhooks import formats, reporting, tasks, transport
from orderhooks.db import DatabaseClock
from orderhooks.management.dev_receiver import Arrival, ForwardError, Listener, check_forward_url
from orderhooks.models import Subscription

SETTINGS_NEEDED = (
    'The settings refuse requests to this machine. For development set ORDERHOOKS = {"REQUIRE_HTTPS": False, '
    '"ALLOWED_NETWORKS": ["127.0.0.0/8"]}, and restart the worker.'
)
PORTS = range(65536)


class Command(BaseCommand):
    help = (
        "Starts a receiver on this machine, subscribes it, and shows each webhook and whether its signature is valid. "
        "With --forward-to, each webhook is forwarded to that URL and gets the status of its response. Ctrl-C stops "
        "the receiver and deletes its subscription, with the deliveries that wait for it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--topics", nargs="+", default=["*"], metavar="TOPIC", help="order.paid, order.* or *")
        parser.add_argument("--store", default="", help="only events of this store's orders")
        parser.add_argument("--format", default=formats.STANDARD, help=f"one of: {', '.join(formats.names())}")
        parser.add_argument("--port", type=int, default=0, help="the port to listen on; default: any that is free")
        parser.add_argument("--forward-to", default="", metavar="URL", help="forward each webhook to this URL")
        parser.add_argument("--body", action="store_true", help="also show the bodies")
        parser.add_argument("--count", type=int, default=0, metavar="N", help="stop after N webhooks")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["port"] not in PORTS:
            raise CommandError("--port takes a number from 0 (any that is free) to 65535.")
        done, arrived = threading.Event(), 0

        def show(arrival: Arrival) -> None:
            nonlocal arrived
            arrived += 1
            self._show(arrival, with_body=options["body"])
            if arrived == options["count"]:
                done.set()

        try:
            if options["forward_to"]:
                check_forward_url(options["forward_to"])
            listener = Listener(
                port=options["port"], on_arrival=show, forward_to=options["forward_to"], format=options["format"]
            )
        except ForwardError as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(
                f"Port {options['port']} can't be used: {error.strerror}. Choose another with --port."
            ) from None
        with listener, _ended_by_signals(done), self._subscribed(listener, options):
            done.wait()
        self.stdout.write(f"Stopped after {arrived} webhooks; the subscription is deleted.")

    @contextmanager
    @sensitive_variables("secret")
    def _subscribed(self, listener: Listener, options: dict[str, Any]) -> Iterator[None]:
        try:
            transport.check_url(listener.url)
        except transport.UrlRefusedError:
            raise CommandError(SETTINGS_NEEDED) from None
        name = f"listen-{listener.server.server_port}"
        chosen = {key: options[key] for key in ("topics", "store", "format")}
        fields = {"name": name, "url": listener.url, **chosen}
        try:
            Subscription(**fields).full_clean()
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        subscription, secret = Subscription.create_with_secret(**fields)
        listener.secrets = [secret]
        try:
            self.stdout.write(f"Listening at {listener.url} for {', '.join(options['topics'])} as {subscription}.")
            if options["forward_to"]:
                self.stdout.write(f"Each webhook is forwarded to {options['forward_to']}.")
            for problem in reporting.worker_problems(tasks.look_at_worker(), now=DatabaseClock().now()):
                self.stdout.write(self.style.WARNING(problem))
            self.stdout.flush()
            yield
        finally:
            subscription.delete()

    def _show(self, arrival: Arrival, *, with_body: bool) -> None:
        event = arrival.event
        if event is None and not arrival.is_genuine:
            line = self.style.ERROR(f"{arrival.status}  not a valid webhook: {arrival.problem}")
        else:
            if event is None:
                # Its format is the store's own, which the receiver kit does not read.
                what = f"{arrival.header('webhook-topic')}  {arrival.header('webhook-id')}"
            else:
                what = f"{event.topic}  order {_number_of(event.data.get('order'))}  {event.id}"
            text = f"{arrival.status}  {what}  signature valid"
            good = 200 <= arrival.status < 300
            line = (self.style.SUCCESS if good else self.style.ERROR)(f"{text}  {arrival.problem}".rstrip())
        self.stdout.write(line)
        if with_body:
            self.stdout.write(arrival.pretty())
        self.stdout.flush()


def _number_of(order: Any) -> str:
    """How people find the order: its number; or its id, if an order source of the store gives it no number."""
    found = (order.get("number") or order.get("id")) if isinstance(order, dict) else None
    return str(found or "-")


@contextmanager
def _ended_by_signals(done: threading.Event) -> Iterator[None]:
    """Let SIGINT and SIGTERM set `done`. Does nothing outside the main thread, where Python handles no signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.signal(number, lambda *_: done.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
