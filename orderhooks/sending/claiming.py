"""Claiming: which subscriptions have deliveries due, and the lease that a worker takes on some of them.

# Note [Claims]
Each subscription is claimed from by itself. Its oldest due delivery is found by index, so that a million waiting for
one endpoint slow nobody's claim. Rows that another worker has locked are skipped, never waited for. A subscription
with a limit that all workers share is locked while its capacity is counted. The others need no lock, because their
share is each worker's own affair.
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connections, transaction
from django.db.models import Count, F, OuterRef, Q, Subquery
from django.db.models.query import QuerySet

from orderhooks.compiled_queries import CompiledQuery
from orderhooks.db.locks import brief_transaction, locked_if_free
from orderhooks.models.deliveries import Delivery, DeliveryQuerySet
from orderhooks.models.events import Event
from orderhooks.models.signing_secrets import SubscriptionSecret
from orderhooks.models.subscriptions import Subscription
from orderhooks.sending import claiming_postgresql

__all__ = [
    "DueSubscription",
    "claim",
    "claim_portably",
    "due",
    "due_portably",
    "due_subscriptions",
    "keys_by_token",
    "release",
]

AT_ONCE = 500
# Without what sending does not read; a signal's receiver that does fetches it.
EVENTS = CompiledQuery(lambda: Event.objects.defer("changes", "error", "published_at", "routed_at"))


@dataclass(slots=True)
class DueSubscription:
    """A subscription with deliveries due: by the retry table, or because a person requested it.

    `capacity` is how many of them to claim.
    """

    subscription: Subscription
    trigger: str
    capacity: int = 0


def due(*, now: datetime) -> list[DueSubscription]:
    """What could be claimed, most urgent first; what people requested comes before the rest.

    Each subscription comes with its secrets. What an ordered subscription must not get yet is left out: otherwise it
    would take the turns of others. At most AT_ONCE subscriptions for each trigger.
    """
    if connections[Delivery.objects.db].vendor == "postgresql":
        found = [DueSubscription(*found) for found in claiming_postgresql.due(now=now, at_most=AT_ONCE)]
    else:
        found = due_portably(now=now)
    SubscriptionSecret.objects.attach(one.subscription for one in found)
    return found


def due_portably(*, now: datetime) -> list[DueSubscription]:
    """`due` for any database, without the secrets."""
    found = [
        DueSubscription(subscription, trigger)
        for trigger in (Delivery.Trigger.MANUAL, Delivery.Trigger.AUTOMATIC)
        for subscription in due_subscriptions(trigger, now=now)[:AT_ONCE]
    ]
    # A query of its own, because Django needs four times as long to build it as the other.
    return [one for one in found if not one.subscription.ordered or _deliveries(one, now=now).unblocked().exists()]


def due_subscriptions(trigger: str, *, now: datetime) -> QuerySet[Subscription]:
    """Those that have deliveries to send now, whose head has waited longest first; ordered ones maybe not just now."""
    head = Delivery.objects.filter(
        subscription=OuterRef("pk"), trigger=trigger, state=Delivery.State.PENDING, next_attempt_at__lte=now
    ).order_by("next_attempt_at", "id")
    # A subquery with a LIMIT is one search of the index for each subscription; EXISTS may become a scan of the log.
    chosen = Subscription.objects.filter(state=Subscription.State.ACTIVE)
    if trigger == Delivery.Trigger.AUTOMATIC:
        chosen = chosen.filter(Q(circuit_open_until=None) | Q(circuit_open_until__lte=now))
    heads = chosen.alias(head=Subquery(head.values("next_attempt_at")[:1]))
    return heads.filter(head__isnull=False).order_by("head")


def claim(due: Sequence[DueSubscription], *, now: datetime, lease_until: datetime) -> list[Delivery]:
    """Claim up to the capacity of each: a lease, a fencing token, and the attempt is counted before it is made.

    The deliveries come with their events and with the subscriptions that are given.
    """
    limited = {one.subscription.pk for one in due if one.subscription.is_limited}
    if not limited:
        return _claim(due, now=now, lease_until=lease_until)
    with brief_transaction(Delivery.objects.db):
        locked, in_flight = _lock(limited)
        claimed: list[Delivery] = []
        # One kind after the other: a delivery that can't be taken yet, because an earlier one of its order is not
        # done, leaves its capacity to the rest.
        for trigger in (Delivery.Trigger.MANUAL, Delivery.Trigger.AUTOMATIC):
            turn = [one for one in due if one.trigger == trigger]
            for one in turn:
                if (key := one.subscription.pk) in limited:
                    one.capacity = min(one.capacity, _capacity(one, locked.get(key), in_flight[key], now=now))
            taken = _claim(turn, now=now, lease_until=lease_until)
            for key, count in Counter(delivery.subscription_id for delivery in taken).items():
                in_flight[key] += count
                if key in locked:
                    locked[key].spend(count, now=now)
            claimed += taken
    return claimed


def _lock(limited: Iterable[int]) -> tuple[dict[int, Subscription], Counter[int]]:
    """Those of these subscriptions that nobody else has locked, and what is in flight to each."""
    locked = locked_if_free(Subscription.objects.all(), no_key=True).in_bulk(limited)
    in_flight = dict(
        Delivery.objects.filter(state=Delivery.State.SENDING, subscription__in=list(locked))
        .values_list("subscription")
        .annotate(Count("pk"))
        .order_by()
    )
    return locked, Counter(in_flight)


def _capacity(one: DueSubscription, locked: Subscription | None, in_flight: int, *, now: datetime) -> int:
    if locked is None:
        return 0  # another worker is claiming from it now; its turn is the next time
    return locked.capacity(in_flight, by_hand=one.trigger == Delivery.Trigger.MANUAL, now=now)


def _claim(due: Sequence[DueSubscription], *, now: datetime, lease_until: datetime) -> list[Delivery]:
    wanted = [one for one in due if one.capacity > 0]
    if not wanted:
        return []
    take = claiming_postgresql.claim if connections[Delivery.objects.db].vendor == "postgresql" else claim_portably
    claimed = take(wanted, now=now, lease_until=lease_until)
    subscriptions = {one.subscription.pk: one.subscription for one in wanted}
    keys = {delivery.event_id for delivery in claimed}
    events = {event.pk: event for event in EVENTS.of(keys, using=Event.objects.db)}
    for delivery in claimed:
        delivery.subscription = subscriptions[delivery.subscription_id]
        delivery.event = events[delivery.event_id]
    return sorted(claimed, key=lambda delivery: (delivery.trigger == Delivery.Trigger.AUTOMATIC, delivery.pk))


def _deliveries(one: DueSubscription, *, now: datetime) -> DeliveryQuerySet:
    return Delivery.objects.filter(
        subscription=one.subscription,
        trigger=one.trigger,
        state=Delivery.State.PENDING,
        next_attempt_at__lte=now,
    )


def claim_portably(due: Sequence[DueSubscription], *, now: datetime, lease_until: datetime) -> list[Delivery]:
    """Claim up to the capacity of each, which is at least one; for any database."""
    token = uuid.uuid4()
    deliveries = Delivery.objects
    with transaction.atomic(using=deliveries.db):
        keys: list[int] = []
        for one in due:
            rows = _deliveries(one, now=now).order_by("next_attempt_at", "id")
            if one.subscription.ordered:
                rows = rows.unblocked()
            keys += locked_if_free(rows).values_list("pk", flat=True)[: one.capacity]
        # Where nothing can be locked, the condition again: what another worker has claimed meanwhile is not pending.
        deliveries.filter(pk__in=keys, state=Delivery.State.PENDING, next_attempt_at__lte=now).update(
            state=Delivery.State.SENDING,
            attempts_made=F("attempts_made") + 1,
            lease_token=token,
            lease_expires_at=lease_until,
        )
    return list(deliveries.filter(pk__in=keys, state=Delivery.State.SENDING, lease_token=token))


def release(deliveries: Iterable[Delivery]) -> None:
    """Give claims back that were not begun: due as before, and no attempt counted."""
    for token, keys in keys_by_token(deliveries).items():
        Delivery.objects.filter(pk__in=keys, state=Delivery.State.SENDING, lease_token=token).update(
            state=Delivery.State.PENDING,
            attempts_made=F("attempts_made") - 1,
            lease_token=None,
            lease_expires_at=None,
        )


def keys_by_token(deliveries: Iterable[Delivery]) -> dict[uuid.UUID | None, list[int]]:
    """The primary keys of claimed deliveries by the token of their claim."""
    keys: dict[uuid.UUID | None, list[int]] = {}
    for delivery in deliveries:
        keys.setdefault(delivery.lease_token, []).append(delivery.pk)
    return keys
