"""What came of an order's events for each subscription, or why nothing did, in the same words wherever it is shown."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import models, router
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from orderhooks import logs, sources, transport
from orderhooks.expressions import shown
from orderhooks.matching import Matcher, Mismatch
from orderhooks.models import CaptureFailure, Change, Delivery, Event, Subscription
from orderhooks.models.deliveries import UNENDED
from orderhooks.models.events import EventQuerySet
from orderhooks.reporting.delivery_summary import interval_text
from orderhooks.reporting.durations import relative_text, time_text
from orderhooks.reporting.endpoint_health import held_text

__all__ = [
    "EventReport",
    "Reason",
    "SubscriptionOutcome",
    "event_reports",
    "explain",
    "find_order",
    "find_order_of_stores",
    "order_events",
    "order_has_no_events_text",
    "order_waits_text",
    "order_without_events_text",
    "subscription_outcome_text",
    "waiting_change_text",
]

logger = logs.get_logger(__name__)

NOTHING_WATCHED = "No order is watched: ORDERHOOKS['SOURCES'] is empty or wrong. `manage.py check` says more."


class Reason(models.TextChoices):
    """What came of an event for a subscription, or why nothing did."""

    DELIVERED = "delivered", gettext_lazy("delivered")
    SENDING = "sending", gettext_lazy("being sent")
    WAITING = "waiting", gettext_lazy("waiting for the next try")
    BEHIND = "behind", gettext_lazy("waiting for an earlier event of this order")  # the subscription is ordered
    PAUSED = "paused", gettext_lazy("held: the subscription is paused")
    DISABLED = "disabled", gettext_lazy("held: the subscription is disabled")
    FAILED = "failed", gettext_lazy("failed")
    # By the header `webhook-delivery` of its response.
    ABORTED = "aborted", gettext_lazy("failed: the receiver asked that it is not tried again")
    SKIPPED = "skipped", gettext_lazy("skipped by an operator")
    # The subscription gets at most one update of an order in some time.
    MERGED = "merged", gettext_lazy("merged into a later update")
    NO_PAYLOAD = "no_payload", gettext_lazy("the event could not be published")
    # A backfill made it, or an operator by hand.
    ONE_ONLY = "one_only", gettext_lazy("sent to one other subscription only")
    OTHER_STORE = "other_store", gettext_lazy("for another store")
    TOPIC = "topic", gettext_lazy("topic not wanted")
    TOO_EARLY = "too_early", gettext_lazy("happened before it subscribed")
    UNTOUCHED = "untouched", gettext_lazy("changed none of the fields that it wants")
    FILTERED = "filtered", gettext_lazy("filtered out")
    NOT_ROUTED = "not_routed", gettext_lazy("about to be sent")  # no worker has routed it yet
    # It wants the event now, and has not got it: its settings were different, or its log was pruned.
    NOT_THEN = "not_then", gettext_lazy("not wanted at that time")


def explain(
    event: Event,
    subscription: Subscription,
    delivery: Delivery | None,
    *,
    is_behind: bool = False,
    matcher: Matcher | None = None,
) -> Reason:
    """Why an event went, or did not go, to a subscription. `delivery`: the event's delivery to it, if there is one.
    `is_behind`: in an ordered subscription an earlier delivery of the same order holds it up. `matcher`: one for all
    subscriptions saves evaluating a filter again.
    """
    if delivery is not None and delivery.is_merged:
        return Reason.MERGED
    if delivery is not None and delivery.state == Delivery.State.SKIPPED and delivery.last_error == transport.FILTERED:
        return Reason.FILTERED
    if delivery is not None and delivery.state == Delivery.State.FAILED and delivery.last_error == transport.ABORTED:
        return Reason.ABORTED
    if delivery is not None and delivery.state != Delivery.State.PENDING:
        return ENDED[delivery.state]
    if delivery is not None:
        if subscription.state != Subscription.State.ACTIVE:
            return Reason.PAUSED if subscription.state == Subscription.State.PAUSED else Reason.DISABLED
        return Reason.BEHIND if is_behind and subscription.ordered else Reason.WAITING
    if event.published_at is None:
        return Reason.NO_PAYLOAD
    mismatch = (matcher or Matcher()).judge(event, subscription).mismatch
    if mismatch is not None:
        return MISMATCHES[mismatch]
    return Reason.NOT_THEN if event.routed_at else Reason.NOT_ROUTED


MISMATCHES: dict[Mismatch, Reason] = {
    Mismatch.ONE_ONLY: Reason.ONE_ONLY,
    Mismatch.OTHER_STORE: Reason.OTHER_STORE,
    Mismatch.TOPIC: Reason.TOPIC,
    Mismatch.TOO_EARLY: Reason.TOO_EARLY,
    Mismatch.UNTOUCHED: Reason.UNTOUCHED,
    Mismatch.FILTERED: Reason.FILTERED,
}
ENDED: dict[str, Reason] = {
    Delivery.State.SENDING: Reason.SENDING,
    Delivery.State.DELIVERED: Reason.DELIVERED,
    Delivery.State.FAILED: Reason.FAILED,
    Delivery.State.SKIPPED: Reason.SKIPPED,
}


# What is said of an update whose carrier has not arrived.
MERGED = {
    Delivery.State.FAILED: gettext_lazy("merged into %(event)s, which failed"),
    Delivery.State.SKIPPED: gettext_lazy("merged into %(event)s, which was skipped"),
}


@dataclass(frozen=True, slots=True)
class SubscriptionOutcome:
    """What came of an event for one subscription.

    `deciding`: the values for which the filter left the event out, for users who may see payloads. `carrier`: the
    delivery that it was merged into, with its event.
    """

    subscription: Subscription
    reason: Reason
    delivery: Delivery | None
    deciding: str = ""
    carrier: Delivery | None = None


def not_wanted(event: Event, subscription: Subscription, mismatch: Mismatch, matcher: Matcher) -> SubscriptionOutcome:
    """Why a subscription does not get an event that the matcher has judged."""
    deciding = matcher.deciding_values(event, subscription) if mismatch is Mismatch.FILTERED else ""
    return SubscriptionOutcome(subscription, MISMATCHES[mismatch], None, deciding)


@dataclass(frozen=True, slots=True)
class EventReport:
    """What came of an event, for each subscription in the order of their names; the reports come newest event first."""

    event: Event
    outcomes: tuple[SubscriptionOutcome, ...]


def event_reports(
    events: Iterable[Event],
    *,
    at_most: int,
    among: "models.QuerySet[Subscription] | None" = None,
    stores: Collection[str] | None = None,
) -> list[EventReport]:
    """Explain each event for the first `at_most` subscriptions, of all or `among` some. `stores`: the stores whose
    events may be named; None for all.

    Two queries for all events, one more if a subscription chooses by what they hold, and one more if there are merged
    updates.
    """
    chosen = Subscription.objects.all() if among is None else among
    subscriptions = list(chosen.order_by("name", "pk")[:at_most])
    events = sorted(events, key=lambda event: event.pk)
    if any(subscription.is_selective for subscription in subscriptions):
        _read_contents(events)
    rows = Delivery.objects.filter(event__in=[event.pk for event in events], subscription__in=subscriptions)
    deliveries = {(delivery.event_id, delivery.subscription_id): delivery for delivery in rows}
    carriers = _carriers([delivery for delivery in deliveries.values() if delivery.is_merged], stores)
    reports: list[EventReport] = []
    matcher = Matcher()
    # The orders and subscriptions with an event that has not ended; it holds up the later ones.
    held_up: set[tuple[str, str, int]] = set()
    for event in events:
        outcomes = []
        for subscription in subscriptions:
            delivery = deliveries.get((event.pk, subscription.pk))
            if delivery is not None:
                # Saves a query where its endpoint is asked for.
                delivery.subscription = subscription
            order = (event.source, event.order_pk, subscription.pk)
            reason = explain(event, subscription, delivery, is_behind=order in held_up, matcher=matcher)
            deciding = matcher.deciding_values(event, subscription) if reason == Reason.FILTERED else ""
            carrier = carriers.get((subscription.pk, delivery.merges_from)) if delivery else None
            outcomes.append(SubscriptionOutcome(subscription, reason, delivery, deciding, carrier))
            if delivery is not None and delivery.state in UNENDED:
                held_up.add(order)
        reports.append(EventReport(event, tuple(outcomes)))
    return reports[::-1]


def _carriers(merged: Sequence[Delivery], stores: Collection[str] | None) -> dict[tuple[int, int | None], Delivery]:
    """What updates were merged into, by subscription and by the first of those that merged."""
    if not merged:
        return {}
    groups = {delivery.merges_from for delivery in merged if delivery.merges_from is not None}
    first = Event.objects.filter(pk__in=groups)
    carriers = Delivery.objects.about_stores(stores).carriers()
    rows = carriers.filter(
        merges_from__in=groups,
        subscription__in={delivery.subscription_id for delivery in merged},
        # By the index of an order's events.
        event__source__in=first.values("source"),
        event__order_pk__in=first.values("order_pk"),
    )
    return {(delivery.subscription_id, delivery.merges_from): delivery for delivery in rows}


def _read_contents(events: Iterable[Event]) -> None:
    """In one query, although the caller has deferred them."""
    missing = [event for event in events if event.get_deferred_fields() & {"payload", "changes"}]
    read = Event.objects.only("payload", "changes").in_bulk([event.pk for event in missing])
    for event in missing:
        if found := read.get(event.pk):
            event.payload, event.changes = found.payload, found.changes


def subscription_outcome_text(one: SubscriptionOutcome, *, now: datetime, confidential: bool = True) -> str:
    """What became of an event for one subscription, or why it has not been sent yet, in the same words everywhere.

    `confidential`: with values of the payload.
    """
    delivery, label = one.delivery, str(one.reason.label)
    if one.reason == Reason.OTHER_STORE:
        return _("%(reason)s: it gets only orders of %(store)s") % {"reason": label, "store": one.subscription.store}
    if one.reason == Reason.UNTOUCHED:
        return _("%(reason)s: %(fields)s") % {"reason": label, "fields": ", ".join(one.subscription.changed_fields)}
    if one.reason == Reason.FILTERED:
        text = _("%(reason)s: %(filter)s") % {"reason": label, "filter": shown(one.subscription.filter)}
        return f"{text} ({one.deciding})" if confidential and one.deciding else text
    if one.reason == Reason.NOT_ROUTED:
        return _("waiting for a worker to take it up")
    if one.reason == Reason.MERGED and one.carrier is not None:
        sentence = MERGED.get(Delivery.State(one.carrier.state), gettext_lazy("merged into %(event)s"))
        return str(sentence) % {"event": one.carrier.event.public_id}
    if one.reason != Reason.WAITING or delivery is None:
        return label
    due_at = delivery.next_attempt_at or now
    by_hand = delivery.trigger == delivery.Trigger.MANUAL
    if one.subscription.is_circuit_open(at=max(due_at, now)) and not by_hand:
        return held_text(one.subscription, now=now)
    if due_at > now and delivery.waits_for_interval:
        return interval_text(delivery, now=now)
    if due_at > now:
        return _("next try %(when)s, at %(time)s") % {
            "when": relative_text(due_at, now=now),
            "time": time_text(due_at, now=now),
        }
    return _("due since %(time)s: a worker sends it next") % {"time": time_text(due_at, now=now)}


def order_without_events_text(number: str, *, stores: Collection[str] | None = None) -> str:
    """What to say about an order number without events: `No order 99999 was found.`

    Of captured changes, deletions alone hold the number. `stores`: the stores whose orders are looked for; None for
    all. One query for each source (with `stores` for each of them), one more, and those of `no_events_text`.
    """
    known = _configured()
    if not known:
        return _(NOTHING_WATCHED)
    for source in known.values():
        # People write #1003 of the order 1003.
        spellings = dict.fromkeys([number, number.lstrip("#")])
        order = next(
            (found for one in spellings if (found := find_order_of_stores(source, one, stores)) is not None), None
        )
        if order is not None:
            why = no_events_text(source.name, sources.WatchedModel(source).order_pk(order))
            return _("Order %(number)s was found. %(why)s") % {"number": number, "why": why}
    deletions = Change.objects.filter(order_number=number)
    if (deletions if stores is None else deletions.filter(store__in=stores)).exists():
        return _("Order %(number)s was deleted, and no worker has made an event of it yet.") % {"number": number}
    return _("No order %(number)s was found.") % {"number": number}


def order_events(order: models.Model) -> EventQuerySet:
    """The events of an order, whatever model it is of. No events if no source describes it."""
    if (watched := _watched_order(order)) is None:
        return Event.objects.none()
    return Event.objects.filter(source=watched.source.name, order_pk__in=watched.order_pks(order))


def order_has_no_events_text(order: models.Model) -> str:
    """Why no event is kept of an order, whatever model it is of. At most four queries."""
    if (watched := _watched_order(order)) is None:
        if not _configured():
            return _(NOTHING_WATCHED)
        return _("Its changes are not captured: no source in ORDERHOOKS['SOURCES'] describes %(model)s.") % {
            "model": order._meta.label
        }
    if order_pks := watched.order_pks(order):
        return no_events_text(watched.source.name, order_pks[0])
    # The row of a parent (multi-table inheritance), whose child would be the order.
    return _("It is not an order of the source “%(source)s”.") % {"source": watched.source.name}


def _watched_order(order: models.Model) -> sources.WatchedModel | None:
    """None while the setting SOURCES is wrong, too."""
    try:
        return sources.watched_order(order)
    except Exception:
        logger.exception("an order has no source: the setting SOURCES is wrong")
        return None


def order_waits_text(order: models.Model) -> str:
    """That a change of the order, whatever model it is of, is no event yet. Blank if none waits. One query."""
    if (watched := _watched_order(order)) is None:
        return ""
    return waiting_change_text(watched.source.name, watched.order_pks(order))


def waiting_change_text(source: str, order_pks: Collection[str]) -> str:
    """The same for orders with these keys. One query."""
    if not Change.objects.filter(source=source, order_pk__in=order_pks).exists():
        return ""
    return _("A change of it is saved, and no worker has made an event of it yet.")


def no_events_text(source: str, order_pk: str) -> str:
    """Why no event is kept of an order that exists. At most three queries."""
    known = _configured()
    if not known:
        return _(NOTHING_WATCHED)
    if source not in known:
        return _("Its changes are not captured: ORDERHOOKS['SOURCES'] has no source called “%(source)s”.") % {
            "source": source
        }
    if waits := waiting_change_text(source, [order_pk]):
        return waits
    if not Subscription.objects.exists():
        return _(
            "There is no subscription, so nothing that happens to orders is written down. Add a subscription: it gets "
            "what happens from then on."
        )
    if CaptureFailure.objects.filter(source=source, order_pk=order_pk).exists():
        return _("A change of it could not be captured. The dashboard and `manage.py orderhooks_status` say why.")
    return _(
        "No event about it is kept: nothing that is watched has changed since the first subscription was made, or its "
        "events were pruned."
    )


def _configured() -> dict[str, sources.OrderSource]:
    """Empty while the setting SOURCES is wrong."""
    try:
        return sources.configured()
    except Exception:
        logger.exception("no order is watched: the setting SOURCES is wrong")
        return {}


def find_order(source: sources.OrderSource, number: str, *, store: str = "") -> Any:
    """The order with that number, of any store if `store` is blank. None, with an error in the log, if looking for it
    fails.
    """
    try:
        order = source.find(number, store=store, using=router.db_for_write(source.get_model()))
        return order if order is not None and store in ("", source.store(order)) else None
    except Exception:
        # The store's own code; the doctor says what is wrong with it.
        logger.exception("an order source could not look for an order", source=source.name)
        return None


def find_order_of_stores(source: sources.OrderSource, number: str, stores: Collection[str] | None) -> Any:
    """The order with that number in one of these stores, or with None in any. None if there is none."""
    order = find_order(source, number)
    if order is None or stores is None:
        return order
    # Another store's order of this number may hide theirs.
    found = (find_order(source, number, store=store) for store in sorted(stores))
    return next((order for order in found if order is not None), None)
