"""Routing: which subscriptions an event goes to, and why not to others. The pump calls `route`; deliveries come out."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import connections, models
from django.utils.translation import gettext_lazy as _

from orderhooks import topics
from orderhooks.db.locks import brief_transaction
from orderhooks.models import Delivery, Event, Subscription
from orderhooks.models.deliveries import UNENDED

__all__ = ["Account", "Reason", "Standing", "account_for", "explain", "route"]

ROUTE_AT_ONCE = 200


class Reason(models.TextChoices):
    """What came of an event for a subscription, or why nothing did."""

    DELIVERED = "delivered", _("delivered")
    SENDING = "sending", _("being sent")
    WAITING = "waiting", _("waiting for its next try")
    BEHIND = "behind", _("waiting for an earlier event of this order")  # the subscription is ordered
    PAUSED = "paused", _("held: the subscription is paused")
    DISABLED = "disabled", _("held: the subscription is disabled")
    FAILED = "failed", _("failed")
    SKIPPED = "skipped", _("skipped by an operator")
    NO_PAYLOAD = "no_payload", _("the event could not be published")
    OTHER_STORE = "other_store", _("for another store")
    TOPIC = "topic", _("topic not wanted")
    TOO_EARLY = "too_early", _("happened before it subscribed")
    NOT_ROUTED = "not_routed", _("about to be sent")  # no worker has come by yet
    # It wants the event now, and has not got it: its settings were others, or the log of it was pruned.
    NOT_THEN = "not_then", _("not wanted at that time")


def explain(event: Event, subscription: Subscription, delivery: Delivery | None, *, is_behind: bool = False) -> Reason:
    """Why an event went, or did not go, to a subscription. `delivery` is what is owed of the one to the other, if any;
    `is_behind` tells that an earlier one of the same order holds it up, if the subscription is ordered.
    """
    if delivery is not None and delivery.state != Delivery.State.PENDING:
        return ENDED[delivery.state]
    if delivery is not None:
        if subscription.state != Subscription.State.ACTIVE:
            return Reason.PAUSED if subscription.state == Subscription.State.PAUSED else Reason.DISABLED
        return Reason.BEHIND if is_behind and subscription.ordered else Reason.WAITING
    if event.published_at is None:
        return Reason.NO_PAYLOAD
    if not subscription.is_for_store(event.store):
        return Reason.OTHER_STORE
    if not topics.matches(subscription.topics, event.topic):
        return Reason.TOPIC
    if not subscription.was_there(event.occurred_at):
        return Reason.TOO_EARLY
    return Reason.NOT_THEN if event.routed_at else Reason.NOT_ROUTED


ENDED: dict[str, Reason] = {
    Delivery.State.SENDING: Reason.SENDING,
    Delivery.State.DELIVERED: Reason.DELIVERED,
    Delivery.State.FAILED: Reason.FAILED,
    Delivery.State.SKIPPED: Reason.SKIPPED,
}


@dataclass(frozen=True, slots=True)
class Standing:
    """What came of an event for one subscription."""

    subscription: Subscription
    reason: Reason
    delivery: Delivery | None


@dataclass(frozen=True, slots=True)
class Account:
    """What came of an event, for each subscription in the order of their names; events are told newest first."""

    event: Event
    standings: tuple[Standing, ...]


def account_for(
    events: Iterable[Event], *, at_most: int, among: "models.QuerySet[Subscription] | None" = None
) -> list[Account]:
    """Explain each event for the first so many subscriptions, of all or `among` some. Two queries for all events."""
    chosen = Subscription.objects.all() if among is None else among
    subscriptions = list(chosen.order_by("name", "pk")[:at_most])
    events = sorted(events, key=lambda event: event.pk)
    rows = Delivery.objects.filter(event__in=[event.pk for event in events], subscription__in=subscriptions)
    owed = {(delivery.event_id, delivery.subscription_id): delivery for delivery in rows}
    accounts: list[Account] = []
    # Whom an event that is not done keeps from the later ones of its order.
    kept: set[tuple[str, str, int]] = set()
    for event in events:
        standings = []
        for subscription in subscriptions:
            delivery = owed.get((event.pk, subscription.pk))
            lane = (event.source, event.order_pk, subscription.pk)
            standings.append(
                Standing(subscription, explain(event, subscription, delivery, is_behind=lane in kept), delivery)
            )
            if delivery is not None and delivery.state in UNENDED:
                kept.add(lane)
        accounts.append(Account(event, tuple(standings)))
    return accounts[::-1]


def route(*, now: datetime) -> int:
    """Make the deliveries of events that wait for theirs. Returns how many events; may run twice or side by side.

    Raises an error that `locks.is_lock_timeout` knows if somebody keeps a subscription locked.
    """
    if not Event.objects.unrouted().exists():
        return 0
    skip_locked = connections[Event.objects.db].features.has_select_for_update_skip_locked
    # If it is forgotten, the events are routed again; and the claim that comes before each request does wait.
    with brief_transaction(Event.objects.db, durable=False):
        unrouted = Event.objects.unrouted().only("topic", "store", "occurred_at")
        events = list(unrouted.select_for_update(skip_locked=skip_locked)[:ROUTE_AT_ONCE])
        subscriptions = list(Subscription.objects.only("store", "topics", "created_at"))
        deliveries = [
            Delivery(event=event, subscription=subscription, next_attempt_at=now)
            for event in events
            for subscription in subscriptions
            if subscription.wants(event.topic, store=event.store, at=event.occurred_at)
        ]
        Delivery.objects.bulk_create(deliveries, batch_size=1000, ignore_conflicts=True)
        Event.objects.filter(pk__in=[event.pk for event in events]).update(routed_at=now)
    return len(events)
