"""`manage.py orderhooks_trigger order.paid`: tell of something by hand, to all who want it or to one subscription."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from orderhooks import catalogue, publishing, rehearsing, reporting, topics
from orderhooks.management import choosing, operators
from orderhooks.models import Delivery, Event, Subscription
from orderhooks.rehearsing import PreviewError

MOST_SHOWN = 100


class Command(BaseCommand):
    help = (
        "Publishes a topic about an order as it is, as if it had happened now: to all subscriptions that want it, or "
        "to one alone. Nothing of the order is changed. `webhook.test --to` sends a test and waits for the answer."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("topic", help="such as order.paid")
        parser.add_argument("--to", metavar="sub_…", help="the id or name of the one subscription that gets it")
        parser.add_argument("--order", default="", metavar="NUMBER", help="the order's number; else the newest")
        parser.add_argument("--store", default="", help="the store whose order it is; else any")

    def handle(self, *args: Any, topic: str, to: str | None, order: str, store: str, **options: Any) -> None:
        try:
            topics.require(topic)
            if to is None:
                self._tell_all(topic, order, store)
            elif topic == catalogue.TEST:
                self._test(choosing.subscription(to))
            else:
                self._tell(choosing.subscription(to), topic, order)
        except (topics.UnknownTopicError, PreviewError) as error:
            raise CommandError(str(error)) from None

    def _tell_all(self, topic: str, number: str, store: str) -> None:
        if topic == catalogue.TEST:
            raise CommandError(f"A {catalogue.TEST} goes to one subscription: name it with --to.")
        if not Subscription.objects.exists():
            raise CommandError(
                "There is no subscription, so nobody would get it. Add one in the admin or with orderhooks_listen."
            )
        source, order = rehearsing.find_order(number, store=store)
        with transaction.atomic(using=Event.objects.db):
            publishing.publish(topic, order)
        events = Event.objects.filter(topic=topic, source=source.name, order_pk=str(order.pk))
        event = events.order_by("-sequence").first()
        if event is None:
            raise CommandError(
                "The event was recorded, but not published yet. A worker does that: see its log, or "
                "`manage.py orderhooks_status`."
            )
        self.stdout.write(f"{topic} of order {source.number(order)}: {event.public_id}")
        if event.error:
            raise CommandError(
                f"Its payload could not be built: {event.error}. Correct the order source, then try again."
            )
        [report] = reporting.event_reports([event], at_most=MOST_SHOWN)
        for outcome in report.outcomes:
            self.stdout.write(f"  {outcome.subscription}: {outcome.reason.label}")

    def _tell(self, subscription: Subscription, topic: str, number: str) -> None:
        delivery = publishing.publish_to(subscription, topic, number, by=operators.current())
        self.stdout.write(
            f"{topic} of order {delivery.event.order_number} to {subscription}: {delivery.event.public_id}, "
            f"delivery {delivery.public_id}"
        )
        if subscription.state != Subscription.State.ACTIVE:
            self.stdout.write(self.style.WARNING(f"  It waits: the subscription is {subscription.state}."))

    def _test(self, subscription: Subscription) -> None:
        delivery = publishing.send_test(subscription, by=operators.current())
        attempt = delivery.attempts.get()
        self.stdout.write(f"{attempt.detail} ({attempt.duration_ms} ms)")
        if attempt.response_body:
            self.stdout.write(attempt.response_body)
        if delivery.state != Delivery.State.DELIVERED:
            raise CommandError(f"{subscription} did not accept the test: see the lines above.")
