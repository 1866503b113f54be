"""Publishing: the one call for the edges. Puts what happened into the outbox and, once committed, wakes a worker."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import uuid4

from django.db import connections, models, router, transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from orderhooks import outbox, replaying, sources, tasks, topics
from orderhooks.models import Change, DatabaseClock, Delivery, Event, Replay, Subscription
from orderhooks.models.deliveries import DeliveryQuerySet
from orderhooks.models.subscriptions import SubscriptionQuerySet
from orderhooks.outbox import Note
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

logger = logging.getLogger(__name__)

BEFORE = "_orderhooks_before"
REDELIVER_AT_ONCE = 1000


class ReplayError(ValueError):
    """A replay that makes no sense; the text says what to do."""


def publish(topic: str, order: models.Model) -> None:
    """Tell a moment of the store's own about an order, with the order as the running transaction will commit it.

    Like a save, it takes part in the transaction: rolled back, it never happened. Nothing is written while there is no
    subscription. Raises topics.UnknownTopicError, and TypeError for what is no order.
    """
    topics.require(topic)
    role = sources.role_of(order)
    if role is None or role.lines or order.pk is None:
        raise TypeError(
            f"publish() takes a saved order that a source of ORDERHOOKS['SOURCES'] describes, not {order!r}."
        )
    using = order._state.db or router.db_for_write(type(order), instance=order)
    if not _listened_to(using):
        return
    with transaction.atomic(using=using):
        unit = _Unit.current(using)
        unit.fold_on_commit(outbox.note_moment(Note(unit.id, role.source, order.pk, topic), using=using))


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
    transaction.on_commit(lambda: _tell([event]), using=Event.objects.db)
    return True


def fold_now(using: str) -> list[Event]:
    """Publish what the running transaction has noted so far at once, and wake nobody. Returns the events.

    For tests, whose transactions are rolled back: elsewhere it would tell of what may yet be undone.
    """
    unit = _Unit.find(using)
    if unit is None:
        return []
    hooks = connections[using].run_on_commit
    hooks[:] = [entry for entry in hooks if entry[1] is not unit]
    return unit.fold()


def about_to_save(role: Role, instance: models.Model, *, update_fields: Iterable[str] | None, using: str) -> None:
    """Keep the stored values on the instance until the save is through."""
    watched = _touched(role, instance, update_fields)
    before = None
    if watched and instance.pk is not None and not (instance._state.adding and _has_new_pk(instance)):
        before = outbox.read_before(instance, watched, using=using)
    instance.__dict__[BEFORE] = before


def saved(role: Role, instance: models.Model, *, created: bool, using: str) -> None:
    """Note what the save changed."""
    before = instance.__dict__.pop(BEFORE, None)
    if created:
        if not _listened_to(using):
            return
        before = {} if role.lines else role.defaults()
        watched = role.watched if role.lines else tuple(before)
    elif before is None:
        return
    else:
        watched = tuple(before)
    after: dict[str, Any] = {}
    error = ""
    try:
        after = outbox.read_after(instance, watched, using=using)
    except Exception as problem:
        logger.exception("could not read what was saved of %r", instance)
        error = outbox.describe(problem)
    kind = Change.Kind.CREATED if created and not role.lines else Change.Kind.UPDATED
    if role.lines is None:
        _note(role, instance.pk, "", kind, before, after, error, using)
        return
    old_order, new_order = before.pop(role.lines.order_field, None), after.pop(role.lines.order_field, None)
    subject = role.subject(instance)
    if old_order is not None and new_order is not None and old_order != new_order:
        _note(role, old_order, subject, kind, before, {}, error, using)
        before = {}
    _note(role, role.order_pk(instance), subject, kind, before, after, error, using)


def about_to_delete(role: Role, instance: models.Model, *, using: str) -> None:
    """Note a deletion while there is still something to read."""
    if not _listened_to(using):
        return
    if role.lines:
        before = outbox.read_before(instance, role.lines.watched, using=using)
        if before is not None:
            order_pk = role.order_pk(instance)
            _note(role, order_pk, role.subject(instance), Change.Kind.UPDATED, before, {}, "", using)
        return
    with transaction.atomic(using=using):
        unit = _Unit.current(using)
        unit.fold_on_commit(outbox.note_deletion(Note(unit.id, role.source, instance.pk), using=using))


def _note(
    role: Role,
    order_pk: Any,
    subject: str,
    kind: Change.Kind,
    before: dict[str, Any],
    after: dict[str, Any],
    error: str,
    using: str,
) -> None:
    # Atomic, so that in autocommit mode the fold comes after the change is written, not before.
    with transaction.atomic(using=using, savepoint=False):
        unit = _Unit.current(using)
        note = Note(unit.id, role.source, order_pk, subject)
        if change := outbox.note_change(note, kind, before=before, after=after, error=error, using=using):
            unit.fold_on_commit(change)


def _touched(role: Role, instance: models.Model, update_fields: Iterable[str] | None) -> tuple[str, ...]:
    if update_fields is None:
        return role.watched
    fields = frozenset(update_fields)
    return tuple(
        name
        for name in role.watched
        if name in fields or instance._meta.get_field(name).attname in fields  # type: ignore[union-attr]
    )


def _has_new_pk(instance: models.Model) -> bool:
    return instance._meta.pk.has_default()


def _listened_to(using: str) -> bool:
    return _Unit.find(using) is not None or outbox.anyone_listens(using)


class _Unit:
    """A transaction that has noted changes; as an on-commit hook, it folds them. See Note [Changes and units].

    There is at most one among a connection's hooks. Django drops a hook together with the savepoint in which it was
    registered, and every change of that unit was written inside it: so the unit found, or a new one, is right.
    """

    def __init__(self, using: str) -> None:
        self.id = uuid4()
        self.using = using
        # What was noted of each order; a savepoint may have taken some of it back.
        self.noted: dict[tuple[str, str], list[Change]] = {}
        self.registered = False

    @classmethod
    def find(cls, using: str) -> "_Unit | None":
        hooks = (entry[1] for entry in connections[using].run_on_commit)
        return next((hook for hook in hooks if isinstance(hook, cls)), None)

    @classmethod
    def current(cls, using: str) -> "_Unit":
        return cls.find(using) or cls(using)

    def fold_on_commit(self, change: Change) -> None:
        self.noted.setdefault((change.source, change.order_pk), []).append(change)
        if not self.registered:
            self.registered = True
            transaction.on_commit(self, using=self.using)

    def __call__(self) -> None:
        if events := self.fold():
            _tell(events)

    def fold(self) -> list[Event]:
        events: list[Event] = []
        for (source, order_pk), changes in self.noted.items():
            try:
                events += outbox.fold(source, order_pk, now=timezone.now(), using=self.using, noted=changes)
            except Exception:
                # The order is saved and its changes are on record: the pump folds them.
                logger.exception("could not fold the changes of order %s:%s yet", source, order_pk)
        return events


def _tell(events: Iterable[Event]) -> None:
    tasks.wake()
    for event in events:
        if event.published_at:
            announce(event_published, sender=Event, event=event)
