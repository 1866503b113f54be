"""Publishing: the one call for the edges. Puts what happened into the outbox and, once committed, wakes a worker."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from django.db import models, router, transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from orderhooks import outbox, replaying, sources, tasks, topics
from orderhooks.db import DatabaseClock
from orderhooks.models import Delivery, Event, Replay, Subscription
from orderhooks.models.deliveries import DeliveryQuerySet
from orderhooks.models.subscriptions import SubscriptionQuerySet
from orderhooks.rehearsing import owe, preview, send_test
from orderhooks.replaying import Expected
from orderhooks.signals import announce, event_published
from orderhooks.sources import Role

__all__ = [
    "ReplayError",
    "cancel_replay",
    "held",
    "pause",
    "preview",
    "preview_replay",
    "publish",
    "publish_to",
    "reconfigure",
    "redeliver",
    "replay",
    "republish",
    "resume",
    "send_test",
    "skip",
]

REDELIVER_AT_ONCE = 1000


class ReplayError(ValueError):
    """A replay that makes no sense; the text says what to do."""


def publish(topic: str, order: models.Model, *, changes: Mapping[str, Sequence[Any]] | None = None) -> None:
    """Publish a topic about an order, with the order as the running transaction will commit it.

    `changes` holds the `[old, new]` values of watched fields that were written without `save()`, for example by
    `update()`. They are published like those of a save: in the event's `changes`, as `order.updated`, and as the topics
    that the new values stand for.

        Order.objects.filter(pk=order.pk).update(payment_status="paid")
        publish("order.paid", order, changes={"payment_status": ["pending", "paid"]})

    It takes part in the transaction like a save: a rollback takes it back. Nothing is written while there is no
    subscription.

    Raises: topics.UnknownTopicError; TypeError if `order` is not a saved order; ValueError if `changes` names a field
    that is not watched, or holds something other than `[old, new]`.
    """
    topics.require(topic)
    role = sources.role_of(order)
    if role is None or role.lines or order.pk is None:
        raise TypeError(
            f"publish() takes a saved order that a source of ORDERHOOKS['SOURCES'] describes, not {order!r}."
        )
    pairs = _stored_changes(role, order, changes or {})
    using = order._state.db or router.db_for_write(type(order), instance=order)
    outbox.capture_explicit(role, order, topic, pairs, using=using, on_events=announce_events)


def _stored_changes(role: Role, order: models.Model, changes: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """The changes as the database would store them, without those that change nothing. Raises ValueError."""
    pairs: dict[str, list[Any]] = {}
    for name, pair in changes.items():
        if name not in role.watched:
            known = ", ".join(role.watched)
            raise ValueError(f"publish() takes changes of watched fields, not of {name!r}. Watched are: {known}.")
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise ValueError(f"publish() takes [old, new] for each changed field, not {pair!r} for {name!r}.")
        attname = order._meta.get_field(name).attname  # type: ignore[union-attr]
        stored = [
            sources.stored_values(type(order), (name,), {attname: value}, using=order._state.db)[name] for value in pair
        ]
        if stored[0] != stored[1]:
            pairs[name] = stored
    return pairs


def publish_to(subscription: Subscription, topic: str, order_number: str = "", *, by: str = "") -> Delivery:
    """Send one subscription alone an event about an order as it is, whether it wants the topic or not.

    For development and for receivers that lost something. A blank number: the newest order. `by`: who wants it.
    Raises rehearsing.PreviewError and topics.UnknownTopicError.
    """
    delivery = owe(subscription, order_number, topic=topic, by=by, now=DatabaseClock().now())
    transaction.on_commit(tasks.wake, using=Delivery.objects.db)
    return delivery


def redeliver(deliveries: "models.QuerySet[Delivery]", *, by: str = "") -> int:
    """Send them again, now; those that are being sent at this moment are left alone. Returns how many will be.

    `by` is the name of who wants it. In batches, so that a million may be given.
    """
    # By primary key: an UPDATE takes no slice or ordering of the caller's.
    keys = deliveries.values_list("pk", flat=True).iterator(chunk_size=REDELIVER_AT_ONCE)
    count = 0
    while batch := list(islice(keys, REDELIVER_AT_ONCE)):
        count += Delivery.objects.filter(pk__in=batch).redeliver(by=by)
    if count:
        transaction.on_commit(tasks.wake, using=Delivery.objects.db)
    return count


def skip(deliveries: DeliveryQuerySet) -> int:
    """Decide not to send them, waiting or given up: what waits for them in an ordered subscription goes on."""
    count = deliveries.skip(failed=True)
    if count:
        transaction.on_commit(tasks.wake, using=Delivery.objects.db)
    return count


@sensitive_variables()
def reconfigure(subscription: Subscription, values: Mapping[str, Any]) -> str:
    """Give a subscription these values of its fields, its `state` (active or paused) among them if it shall change.

    No other column is written: workers note its health in the same row meanwhile. Returns its new secret, shown this
    once, if its `signature` needs one of another kind, else "".
    """
    values = dict(values)
    state = values.pop("state", subscription.state)
    for name, value in values.items():
        setattr(subscription, name, value)
    with transaction.atomic(using=Subscription.objects.db):
        subscription.save(update_fields=[*values, "updated_at"])
        secret = subscription.fit_secret(now=timezone.now())
        if state != subscription.state:
            change_state = resume if state == Subscription.State.ACTIVE else pause
            change_state(Subscription.objects.filter(pk=subscription.pk))
    return secret


def pause(subscriptions: SubscriptionQuerySet) -> int:
    """Hold their deliveries until they are resumed. Returns how many were not paused before."""
    return subscriptions.pause()


def held(subscriptions: Iterable[Subscription], *, since: datetime | None = None, most: int) -> int:
    """How many deliveries wait for these subscriptions, made since then if given; counted up to `most`."""
    waiting = Delivery.objects.filter(subscription__in=subscriptions, state=Delivery.State.PENDING)
    if since is not None:
        waiting = waiting.since(since)
    return waiting[:most].count()


@dataclass(frozen=True, slots=True)
class Resumed:
    """How many subscriptions had been stopped, and how many of their deliveries are skipped now."""

    subscriptions: int
    skipped: int


def resume(subscriptions: SubscriptionQuerySet, *, skip_before: datetime | None = None) -> Resumed:
    """Send again to paused and disabled subscriptions.

    What was held meanwhile goes out, but for deliveries made before `skip_before`: those are skipped.
    """
    stopped = Subscription.objects.filter(pk__in=list(subscriptions.values_list("pk", flat=True)))
    stopped = stopped.exclude(state=Subscription.State.ACTIVE)
    skipped = 0
    if skip_before is not None:
        skipped = Delivery.objects.filter(subscription__in=list(stopped), created_at__lt=skip_before).skip()
    count = stopped.resume()
    if count:
        transaction.on_commit(tasks.wake, using=Delivery.objects.db)
    return Resumed(count, skipped)


def replay(
    subscription: Subscription,
    *,
    since: datetime,
    until: datetime | None = None,
    topics: Iterable[str] = (),
    only: str = Replay.Only.ALL,
    by: str = "",
) -> Replay:
    """Send a subscription the events from `since` on again, in the background. Without `until`: those up to now.

    `only` is a value of Replay.Only, `topics` are patterns. Raises ReplayError for what can't be replayed and
    topics.UnknownTopicError.
    """
    planned = _plan(subscription, since=since, until=until, patterns=topics, only=only)
    expected = replaying.expect(planned)
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
) -> Expected:
    """How many deliveries `replay` would send. Raises what `replay` raises."""
    return replaying.expect(_plan(subscription, since=since, until=until, patterns=topics, only=only))


def cancel_replay(replay: Replay) -> bool:
    """Send nothing more of it than what is due already. False if it was through."""
    return bool(Replay.objects.filter(pk=replay.pk).cancel())


def _plan(
    subscription: Subscription, *, since: datetime, until: datetime | None, patterns: Iterable[str], only: str
) -> Replay:
    until = until or timezone.now()
    if since >= until:
        raise ReplayError("A replay needs a time that has begun: let `since` be before `until`, and before now.")
    if only not in Replay.Only.values:
        raise ReplayError(f"A replay sends one of {', '.join(Replay.Only.values)}, not {only!r}.")
    wanted = [topics.require_pattern(pattern) for pattern in patterns]
    planned = Replay(subscription=subscription, since=since, until=until, topics=wanted, only=only)
    planned.cursor = planned.start()
    return planned


def republish(event: Event) -> bool:
    """Publish an event whose payload could not be built, with the order as it is now. False if it failed again."""
    if not outbox.republish(event, now=timezone.now()):
        return False
    transaction.on_commit(lambda: announce_events([event]), using=Event.objects.db)
    return True


def announce_events(events: Sequence[Event]) -> None:
    """Wake a worker and send the public signal of each event that has a payload. Called once they are committed."""
    tasks.wake()
    for event in events:
        if event.published_at:
            announce(event_published, sender=Event, event=event)
