"""Operations: what operators request. The one door for the admin, the API and the commands.

Each function changes the records, and wakes a worker once that is committed.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from django.db import OperationalError, models, transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from orderhooks import backfilling, erasing, replaying, retention_periods, tasks, topics
from orderhooks.backfilling import BackfillError
from orderhooks.db import DatabaseClock
from orderhooks.db.locks import is_lock_timeout, one_at_a_time
from orderhooks.erasing import ErasureError
from orderhooks.models import Backfill, Delivery, Erasure, Event, Replay, Subscription
from orderhooks.models.backfills import DEFAULT_RATE
from orderhooks.models.deliveries import DeliveryQuerySet
from orderhooks.models.signing_secrets import OVERLAP
from orderhooks.models.subscriptions import SubscriptionQuerySet
from orderhooks.previews import preview, send_test
from orderhooks.replaying import Estimate
from orderhooks.signals import announce_published

__all__ = [
    "BackfillError",
    "ErasureError",
    "ReplayError",
    "Resumed",
    "backfill",
    "cancel_backfill",
    "cancel_replay",
    "carry_out",
    "erase",
    "erasure_paths",
    "estimate_erasure",
    "held",
    "pause",
    "preview",
    "preview_backfill",
    "preview_erasure",
    "preview_replay",
    "reconfigure",
    "redeliver",
    "replay",
    "resume",
    "resume_by_receiver",
    "revoke_former_secrets",
    "rotate",
    "send_test",
    "skip",
    "try_again",
]

# None: all.
Stores = Collection[str] | None
REDELIVER_AT_ONCE = 1000
ERASE_RETRY_SECONDS = 0.1
# What may repair an endpoint that was overloaded or away.
REPAIRS = frozenset({"url", "format", "headers", "authentication", "client_certificate"})


class ReplayError(ValueError):
    """A replay that is not possible. Its text says what to change."""


def redeliver(deliveries: "models.QuerySet[Delivery]", *, by: str = "") -> int:
    """Send deliveries again, now, except those that are being sent. Returns how many will be sent.

    `by` is the name of the user who requests it. Works in batches, so that the query may find a million.
    """
    # By primary key: an UPDATE can't have the slice or the ordering that the caller's query may have.
    keys = deliveries.values_list("pk", flat=True).iterator(chunk_size=REDELIVER_AT_ONCE)
    count = 0
    while batch := list(islice(keys, REDELIVER_AT_ONCE)):
        count += Delivery.objects.filter(pk__in=batch).redeliver(by=by)
    if count:
        transaction.on_commit(tasks.wake, using=Delivery.objects.db)
    return count


def skip(deliveries: DeliveryQuerySet) -> int:
    """Skip deliveries that are pending or have failed. Returns how many are skipped.

    In an ordered subscription, the deliveries that waited for them go on.
    """
    count = deliveries.skip(failed=True)
    if count:
        transaction.on_commit(tasks.wake, using=Delivery.objects.db)
    return count


@sensitive_variables()
def reconfigure(subscription: Subscription, values: Mapping[str, Any]) -> str:
    """Set fields of a subscription. `values` may hold its `state` too: active or paused.

    No other column is written, because workers write the endpoint's health to the same row. Returns a new signing
    secret, shown this once, if the new `signature` needs another kind of secret, otherwise "".
    """
    values = dict(values)
    state = values.pop("state", subscription.state)
    changed = {name for name, value in values.items() if getattr(subscription, name) != value}
    for name, value in values.items():
        setattr(subscription, name, value)
    with transaction.atomic(using=Subscription.objects.db):
        subscription.save(update_fields=[*values, "updated_at"])
        secret = subscription.fit_secret(now=timezone.now())
        try_again(subscription, changed)
        if state != subscription.state:
            change_state = resume if state == Subscription.State.ACTIVE else pause
            change_state(Subscription.objects.filter(pk=subscription.pk))
    return secret


def try_again(subscription: Subscription, changed: Iterable[str]) -> None:
    """Let one request try the endpoint now if these fields, which were changed, may have repaired it."""
    if not REPAIRS.isdisjoint(changed):
        opened = Subscription.objects.filter(pk=subscription.pk, circuit_open_until__isnull=False)
        if opened.update(circuit_open_until=None, circuit_openings=0):
            transaction.on_commit(tasks.wake, using=Delivery.objects.db)


@sensitive_variables()
def rotate(subscription: Subscription, *, overlap: timedelta = OVERLAP) -> str:
    """Make a new signing secret and return it, shown this once. The former ones sign beside it for `overlap`."""
    return subscription.rotate_secret(now=timezone.now(), overlap=overlap)


def revoke_former_secrets(subscription: Subscription) -> int:
    """End the overlap: from now on, only the newest secret signs. Returns how many were revoked."""
    return subscription.revoke_former_secrets(now=timezone.now())


def pause(subscriptions: SubscriptionQuerySet) -> int:
    """Hold the deliveries of subscriptions until they are resumed. Returns how many were not paused before."""
    return subscriptions.pause()


def held(
    subscriptions: Iterable[Subscription], *, since: datetime | None = None, most: int, stores: Stores = None
) -> int:
    """How many deliveries of these subscriptions, about orders of `stores`, are pending since then, at most `most`."""
    waiting = Delivery.objects.filter(subscription__in=subscriptions, state=Delivery.State.PENDING).about_stores(stores)
    if since is not None:
        waiting = waiting.since(since)
    return waiting[:most].count()


@dataclass(frozen=True, slots=True)
class Resumed:
    """How many subscriptions are active again, and how many of their deliveries were skipped."""

    subscriptions: int
    skipped: int


def resume(
    subscriptions: SubscriptionQuerySet, *, skip_before: datetime | None = None, stores: Stores = None
) -> Resumed:
    """Send to paused and disabled subscriptions again.

    The deliveries that were held are sent now, also those that wait for a retry, except those made before
    `skip_before`, which are skipped. `stores`: only those about these stores' orders are counted; None for all.
    """
    stopped = Subscription.objects.filter(pk__in=list(subscriptions.values_list("pk", flat=True)))
    stopped = stopped.exclude(state=Subscription.State.ACTIVE)
    keys = list(stopped.values_list("pk", flat=True))
    skipped = 0
    if skip_before is not None:
        late = Delivery.objects.filter(subscription__in=list(stopped), created_at__lt=skip_before)
        skipped = late.about_stores(stores).skip()
        late.skip()
    count = stopped.resume()
    if count:
        Delivery.objects.filter(subscription__in=keys).bring_forward()
        transaction.on_commit(tasks.wake, using=Delivery.objects.db)
    return Resumed(count, skipped)


def resume_by_receiver(subscription: Subscription) -> bool | None:
    """Send to a subscription again because its receiver says that it is back: end a disabling, and any cooling down.

    Returns whether it was disabled; None if an operator has paused it, which its receiver can't change.
    """
    chosen = Subscription.objects.filter(pk=subscription.pk)
    with transaction.atomic(using=Subscription.objects.db):
        resumed = bool(chosen.resume_disabled())
        if not chosen.filter(state=Subscription.State.ACTIVE).exists():
            return None
        try_again(subscription, REPAIRS)
    if resumed:
        # Apart from the subscription's lock, for which workers wait: there may be many.
        Delivery.objects.filter(subscription=subscription).bring_forward()
        transaction.on_commit(tasks.wake, using=Delivery.objects.db)
    return resumed


def replay(
    subscription: Subscription,
    *,
    since: datetime,
    until: datetime | None = None,
    topics: Iterable[str] = (),
    only: str = Replay.Only.ALL,
    by: str = "",
) -> Replay:
    """Send the events from `since` until `until` (now, if it is None) to a subscription again, in the background.

    `topics` are patterns; none stands for all that the subscription wants. `only` is a value of Replay.Only. `by` is
    the name of the user who requests it.

    Raises: ReplayError if the times or `only` are not valid; topics.UnknownTopicError.
    """
    planned = _plan(subscription, since=since, until=until, patterns=topics, only=only)
    expected = replaying.estimate(planned)
    planned.total, planned.total_is_exact = expected.count, expected.is_exact
    planned.requested_by = by[:150]
    planned.save()
    transaction.on_commit(tasks.wake, using=Delivery.objects.db)
    return planned


def preview_replay(
    subscription: Subscription,
    *,
    since: datetime,
    until: datetime | None = None,
    topics: Iterable[str] = (),
    only: str = Replay.Only.ALL,
) -> Estimate:
    """How many deliveries `replay` would send. Raises the errors of `replay`."""
    return replaying.estimate(_plan(subscription, since=since, until=until, patterns=topics, only=only))


def cancel_replay(replay: Replay) -> bool:
    """Stop a replay. Deliveries that it has made due already are sent. False if it had already finished."""
    return bool(Replay.objects.filter(pk=replay.pk).cancel())


def backfill(
    subscription: Subscription,
    *,
    topic: str = "order.updated",
    source: str = "",
    since: datetime | None = None,
    rate: int = DEFAULT_RATE,
    by: str = "",
) -> Backfill:
    """Send the orders that a source has already to one subscription, in the background: one event for each order.

    Each event has the topic, no changes, and the order as it is then. No other subscription gets it. `source` is the
    name of an order source; blank: the only one. `since`: only orders dated since then. `rate`: at most this many
    orders a second. `by` is the name of the user who requests it.

    Raises: BackfillError if an argument is not valid, or if one is already running; topics.UnknownTopicError.
    """
    now = DatabaseClock().now()
    # Two that begin at the same time must not both find that none is running.
    with one_at_a_time(Backfill.objects.db, f"backfill {subscription.pk}"):
        planned = backfilling.plan(subscription, topic=topic, source=source, since=since, rate=rate, now=now)
        planned.requested_by = by[:150]
        planned.save()
    transaction.on_commit(tasks.wake, using=Delivery.objects.db)
    return planned


def preview_backfill(
    subscription: Subscription,
    *,
    topic: str = "order.updated",
    source: str = "",
    since: datetime | None = None,
    rate: int = DEFAULT_RATE,
) -> Backfill:
    """What `backfill` would begin, not saved: `total` is how many orders it would go through. Raises its errors."""
    now = DatabaseClock().now()
    return backfilling.plan(subscription, topic=topic, source=source, since=since, rate=rate, now=now)


def cancel_backfill(backfill: Backfill) -> bool:
    """Stop a backfill. Deliveries that it has made already are sent. False if it had already finished."""
    return bool(Backfill.objects.filter(pk=backfill.pk).cancel())


def erase(
    *,
    customer: str = "",
    order: str = "",
    store: str = "",
    source: str = "",
    stores: Stores = None,
    by: str = "",
) -> Erasure:
    """Erase the personal data of orders from all that is stored of them, for good, and publish `order.redacted`.

    `customer` is an e-mail address: the orders that hold it among their personal data. `order` is an order's number;
    with both, the order has to be the customer's. `store` and `source`: blank for any. `stores`: the stores whose
    orders may be erased; None for all. `by` is the name of the user who requests it. Workers carry it out in the
    background; so does `carry_out`, without a worker. A running erasure of the same request is returned, not begun
    again.

    Raises: ErasureError if an argument is not valid, nothing is stored of such orders, or SOURCES lacks their source.
    """
    planned = erasing.plan(customer=customer, order=order, store=store, source=source, stores=stores)
    if planned.pk is None:
        planned.requested_by = by[:150]
        planned.save()
    transaction.on_commit(tasks.wake, using=Erasure.objects.db)
    return planned


def preview_erasure(
    *, customer: str = "", order: str = "", store: str = "", source: str = "", stores: Stores = None
) -> Erasure:
    """What `erase` would begin, not saved; or the running erasure of the same request. Raises its errors."""
    return erasing.plan(customer=customer, order=order, store=store, source=source, stores=stores)


def estimate_erasure(erasure: Erasure) -> erasing.Estimate:
    """How many orders, events, deliveries and attempts an erasure goes through."""
    return erasing.estimate(erasure)


def erasure_paths(erasure: Erasure) -> list[str]:
    """The paths of stored payloads at which an erasure erases something. Reads all payloads of its orders."""
    return erasing.paths(erasure)


def carry_out(erasure: Erasure) -> Iterator[Erasure]:
    """Carry an erasure out here and now, and yield it after each step. Outside of a transaction.

    Workers may be at it too. Locks that others hold are waited for.

    Raises: ErasureError if SOURCES of this process lacks the source of the next order.
    """
    while True:
        try:
            step = erasing.advance(erasure)
        except OperationalError as error:
            if not is_lock_timeout(error):
                raise
            step = erasing.Step(moved=False, is_running=True)
        if step.events:
            tasks.wake()
        announce_published(step.events)
        erasure.refresh_from_db()
        yield erasure
        if not step.is_running:
            return
        if not step.moved:
            time.sleep(ERASE_RETRY_SECONDS)


def _plan(
    subscription: Subscription, *, since: datetime, until: datetime | None, patterns: Iterable[str], only: str
) -> Replay:
    # The ids, which lead to the events of a time, have its millisecond: what was published in this one is among them.
    until = until or timezone.now() + timedelta(milliseconds=1)
    if since >= until:
        raise ReplayError("`since` must be a time before `until` and before now.")
    if only not in Replay.Only.values:
        raise ReplayError(f"{only!r} is not a valid choice of `only`. Choose one of {', '.join(Replay.Only.values)}.")
    if only == Replay.Only.NEVER_SENT:
        _require_kept_deliveries(since)
    wanted = [_require_replayable(subscription, pattern) for pattern in patterns]
    planned = Replay(subscription=subscription, since=since, until=until, topics=wanted, only=only)
    planned.cursor = planned.start()
    return planned


def _require_replayable(subscription: Subscription, pattern: str) -> str:
    """The pattern, if the subscription can want it, or it is a topic that is no longer made and that events have."""
    try:
        require = topics.require_operational_pattern if subscription.operational else topics.require_pattern
        return require(pattern)
    except topics.UnknownTopicError:
        is_dropped = topics.of_kind(pattern, is_operational=subscription.operational)
        # Of the subscription's store: those of another one say nothing, and it would not get them.
        stores = [subscription.store] if subscription.store else None
        if is_dropped and Event.objects.of_stores(stores).filter(topic=pattern).exists():
            return pattern
        raise


def _require_kept_deliveries(since: datetime) -> None:
    """An event whose deliveries have been pruned would look as if it had never been sent."""
    periods = retention_periods.current()
    kept_since = periods.cutoffs(now=timezone.now())["deliveries"]
    if periods.deliveries < periods.events and since < kept_since:
        raise ReplayError(
            f"Deliveries are deleted after {periods.deliveries:g} days, so it is not known which older events were "
            f"never sent. Begin at {kept_since:%Y-%m-%d %H:%M %Z} or later, or replay everything."
        )
