"""`manage.py orderhooks_trigger order.paid`: publish an event by hand, to all subscriptions or to one."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from orderhooks import catalogue, operations, outbox, previews, publishing, reporting, topics
from orderhooks.management import actor, lookup
from orderhooks.models import Delivery, Event, Subscription
from orderhooks.previews import PreviewError
from orderhooks.sources import WatchedModel

MOST_SHOWN = 100


class Command(BaseCommand):
    help = (
        "Publishes an event of a topic about an order, as if it had happened now: to all subscriptions that want it, "
        "or to one. The order itself is not changed. `webhook.test --to` sends a test and waits for the response."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("topic", help="such as order.paid")
        parser.add_argument("--to", metavar="sub_…", help="the id or name of the only subscription that gets it")
        parser.add_argument(
            "--order",
            default="",
            metavar="NUMBER",
            help="the order's number, or its primary key if no order has that number; default: the newest order",
        )
        parser.add_argument("--store", default="", help="the order's store; default: any")

    def handle(self, *args: Any, topic: str, to: str | None, order: str, store: str, **options: Any) -> None:
        try:
            topics.require_publishable(topic)
            if to is None:
                self._publish(topic, order, store)
            elif topic == catalogue.TEST:
                self._test(lookup.subscription(to))
            else:
                self._publish_to(lookup.subscription(to), topic, order)
        except (topics.UnknownTopicError, PreviewError) as error:
            raise CommandError(str(error)) from None

    def _publish(self, topic: str, wanted: str, store: str) -> None:
        if topic == catalogue.TEST:
            raise CommandError(f"A {catalogue.TEST} event goes to one subscription: name it with --to.")
        if not Subscription.objects.exists():
            raise CommandError(
                "There is no subscription that could get it. Add one in the admin or with orderhooks_listen."
            )
        source, order = previews.find_order(wanted, store=store, or_by_key=True)
        key, number = WatchedModel(source).order_pk(order), source.number(order)
        events = Event.objects.filter(topic=topic, source=source.name, order_pk=key).order_by("-sequence")
        last = events.values_list("sequence", flat=True).first() or 0
        with transaction.atomic(using=Event.objects.db):
            publishing.publish(topic, order)
            outbox.coalesce_here(Event.objects.db)
        event = events.filter(sequence__gt=last).first()
        if event is None:
            raise CommandError(
                "The event was recorded, but not published yet. A worker does that: see its log, or "
                "`manage.py orderhooks_status`."
            )
        self.stdout.write(f"{topic} of order {_named(number, key, wanted)}: {event.public_id}")
        if event.error:
            raise CommandError(f"Its payload could not be built: {event.error}. Fix the order source, then try again.")
        [report] = reporting.event_reports([event], at_most=MOST_SHOWN)
        for outcome in report.outcomes:
            text = reporting.subscription_outcome_text(outcome, now=timezone.now())
            self.stdout.write(f"  {outcome.subscription}: {text}")

    def _publish_to(self, subscription: Subscription, topic: str, wanted: str) -> None:
        delivery = publishing.publish_to(subscription, topic, wanted, by=actor.current())
        event = delivery.event
        self.stdout.write(
            f"{topic} of order {_named(event.order_number, event.order_pk, wanted)} to {subscription}: "
            f"{event.public_id}, delivery {delivery.public_id}"
        )
        if subscription.state != Subscription.State.ACTIVE:
            self.stdout.write(self.style.WARNING(f"  It waits: the subscription is {subscription.state}."))

    def _test(self, subscription: Subscription) -> None:
        delivery = operations.send_test(subscription, by=actor.current())
        attempt = delivery.attempts.get()
        self.stdout.write(f"{attempt.detail} ({attempt.duration_ms} ms)")
        if attempt.response_body:
            self.stdout.write(attempt.response_body)
        if delivery.state != Delivery.State.DELIVERED:
            raise CommandError(f"{subscription} did not accept the test: see the lines above.")


def _named(number: str, key: str, wanted: str) -> str:
    """The order's number, with its primary key if the order was found by that."""
    return number if wanted in ("", number) else f"{number} (primary key {key})"
