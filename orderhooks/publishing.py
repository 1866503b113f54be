"""Publishing: the one call for the edges. Puts what happened into the outbox and, once committed, wakes a worker."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import uuid4

from django.db import connections, models, router, transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from orderhooks import outbox, replaying, sources, tasks, topics
from orderhooks.db import DatabaseClock
from orderhooks.db.transient_errors import is_transient
from orderhooks.models import Change, Delivery, Event, Replay, Subscription
from orderhooks.models.deliveries import DeliveryQuerySet
from orderhooks.models.subscriptions import SubscriptionQuerySet
from orderhooks.outbox import Note, Stored
from orderhooks.previews import create_manual_delivery, preview, send_test
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
# Of rows that were deleted together and could not be captured; one says what is wrong with all of them.
MARKED_AT_ONCE = 1


class ReplayError(ValueError):
    """A replay that makes no sense; the text says what to do."""


def publish(topic: str, order: models.Model, *, changes: Mapping[str, Sequence[Any]] | None = None) -> None:
    """Tell a moment of the store's own about an order, with the order as the running transaction will commit it.

    `changes` are the `[old, new]` values of watched fields that were written past `save()`, as `update()` does. They
    are told like a save's: in the event's `changes`, to subscribers of `order.updated`, and with the topics that the
    new values stand for.

        Order.objects.filter(pk=order.pk).update(payment_status="paid")
        publish("order.paid", order, changes={"payment_status": ["pending", "paid"]})

    Like a save, it takes part in the transaction: rolled back, it never happened. Nothing is written while there is no
    subscription. Raises topics.UnknownTopicError, TypeError for what is not an order, and ValueError for changes of
    fields that are not watched or that are not pairs.
    """
    topics.require(topic)
    role = sources.role_of(order)
    if role is None or role.lines or order.pk is None:
        raise TypeError(
            f"publish() takes a saved order that a source of ORDERHOOKS['SOURCES'] describes, not {order!r}."
        )
    pairs = _told_changes(role, order, changes or {})
    using = order._state.db or router.db_for_write(type(order), instance=order)
    if not _listened_to(using):
        return
    with transaction.atomic(using=using):
        unit = _Unit.current(using)
        note = Note(unit.id, role.source, role.order_pk(order, using=using), topic)
        unit.fold_on_commit(outbox.note_moment(note, pairs, using=using))


def _told_changes(role: Role, order: models.Model, changes: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
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
    Raises previews.PreviewError and topics.UnknownTopicError.
    """
    delivery = create_manual_delivery(subscription, order_number, topic=topic, by=by, now=DatabaseClock().now())
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
    """Keep the stored values on the instance until the save is through. Each save leaves one entry."""
    entries = instance.__dict__.setdefault(BEFORE, [])
    entries.append(None)
    watched = _touched(role, instance, update_fields)
    if not watched or not _has_row(role, instance):
        return
    if is_elsewhere(role, instance, using=using):
        return
    # All of a line: what changes hands is told whole, whatever the save names.
    before = outbox.read_before(role, instance, role.watched if role.lines else watched, using=using)
    outer = next((entry.before for entry in reversed(entries) if entry is not None), None)
    if before is not None and outer is not None:
        # A handler saves it again inside a save: both tell the change from where it began.
        values = {**before.values, **{name: outer.values[name] for name in before.values if name in outer.values}}
        before = Stored(values, outer.order_pk)
    entries[-1] = None if before is None else _BeforeSave(before, watched)


def saved(role: Role, instance: models.Model, *, created: bool, using: str) -> None:
    """Note what the save changed."""
    entries = instance.__dict__.get(BEFORE) or [None]
    entry: _BeforeSave | None = entries.pop()
    if not entries:
        instance.__dict__.pop(BEFORE, None)
    # A new row of a parent model alone is no order yet.
    if created and not role.is_part(instance):
        if is_elsewhere(role, instance, using=using) or not _listened_to(using):
            return
        before = Stored({} if role.lines else role.defaults(), None)
        watched = role.watched if role.lines else tuple(before.values)
    elif entry is None:
        return
    else:
        before, watched = entry.before, entry.touched
    after = Stored({}, before.order_pk)
    error = ""
    try:
        after = outbox.read_after(role, instance, watched, using=using)
    except Exception as problem:
        logger.exception("could not read what was saved of %s %s", instance._meta.label, instance.pk)
        error = outbox.describe(problem)
        after = Stored({}, before.order_pk or role.order_pk(instance, using=using))
    if role.lines and entry is not None and not created:
        # What was not saved is as it was, whatever the instance holds.
        is_moved = role.lines.order_field in watched
        after = Stored({**before.values, **after.values}, after.order_pk if is_moved else before.order_pk)
    if role.lines is None:
        kind = Change.Kind.CREATED if created else Change.Kind.UPDATED
        _note(role, after.order_pk, "", kind, before.values, after.values, error, using)
        return
    # A line that belongs to no order, as in a cart, is nobody's news.
    subject = role.subject(instance)
    was_elsewhere = before.order_pk != after.order_pk
    if was_elsewhere and before.order_pk is not None:
        _note(role, before.order_pk, subject, Change.Kind.UPDATED, before.values, {}, error, using)
    if after.order_pk is not None:
        values = {} if was_elsewhere else before.values
        _note(role, after.order_pk, subject, Change.Kind.UPDATED, values, after.values, error, using)


@dataclass(frozen=True, slots=True)
class _BeforeSave:
    """What was stored before a save, and which of the watched fields it may alter."""

    before: Stored
    touched: tuple[str, ...]


def save_atomically(
    role: Role,
    instance: models.Model,
    save: Callable[[], None],
    *,
    update_fields: Iterable[str] | None = None,
    using: str,
) -> None:
    """Run a save of the store's so that the change and its capture are committed together or not at all.

    Outside of a transaction Django commits the row before it sends `post_save`: what another handler raises, or the
    death of the process, would lose the change. See `OrderSource.atomic_saves`.
    """
    depth = len(instance.__dict__.get(BEFORE, ()))
    try:
        with _own_transaction(role, instance, update_fields, using):
            save()
    finally:
        # A save that failed never came to `saved`.
        if entries := instance.__dict__.get(BEFORE):
            del entries[depth:]
        if not entries:
            instance.__dict__.pop(BEFORE, None)


def _own_transaction(
    role: Role, instance: models.Model, update_fields: Iterable[str] | None, using: str
) -> AbstractContextManager[Any]:
    if connections[using].in_atomic_block or not role.source.atomic_saves or not outbox.can_capture(using):
        return nullcontext()
    try:
        is_wanted = bool(_touched(role, instance, update_fields))
    except Exception:
        is_wanted = False  # a source that is wrong; the guard of the signals tells of it
    return transaction.atomic(using=using) if is_wanted else nullcontext()


def is_elsewhere(role: Role, instance: models.Model, *, using: str) -> bool:
    """Whether the order is changed in another database than that of orderhooks, where nothing can be captured.

    Marks the change if anybody would want to hear of it.
    """
    if outbox.can_capture(using):
        return False
    home = router.db_for_write(Change)
    if outbox.anyone_listens(home):
        text = (
            f"The order was changed in the database {using!r}, and orderhooks keeps its tables in {home!r}: no "
            "transaction holds both. Route the orders, orderhooks and users to one database."
        )
        outbox.mark_missed(role, instance, text, using=using)
    return True


def about_to_delete(role: Role, instance: models.Model, *, using: str) -> None:
    """Note a deletion while there is still something to read. See Note [Deletions]."""
    if instance.pk is None or is_elsewhere(role, instance, using=using):
        return
    # Django deletes in a transaction; who sends the signal by hand may not.
    is_alone = not connections[using].in_atomic_block
    with transaction.atomic(using=using, savepoint=False):
        deletions = _Deletions.pending(using)
        deletions.gone.append((role, instance))
        if is_alone:
            deletions.write_down()


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
    # Atomic, so that in autocommit mode the fold comes after the change is written, not before. Not inside the store's
    # transaction: an error of ours would have Django roll it back.
    with nullcontext() if connections[using].in_atomic_block else transaction.atomic(using=using):
        unit = _Unit.current(using)
        note = Note(unit.id, role.source, order_pk, subject)
        if change := outbox.note_change(note, kind, before=before, after=after, error=error, using=using):
            unit.fold_on_commit(change)


def _touched(role: Role, instance: models.Model, update_fields: Iterable[str] | None) -> tuple[str, ...]:
    """The watched fields that a save of these fields may alter."""
    watched = role.watched
    if role.is_part(instance):
        own = {field.name for field in instance._meta.concrete_fields}
        watched = tuple(name for name in watched if name in own)
    if update_fields is None:
        return watched
    fields = frozenset(update_fields)
    if not fields:
        return ()

    def is_touched(name: str) -> bool:
        field: Any = role.model._meta.get_field(name)
        return name in fields or field.attname in fields

    # A generated column may change with any other.
    generated = tuple(name for name in watched if isinstance(role.model._meta.get_field(name), models.GeneratedField))
    touched = tuple(name for name in watched if is_touched(name))
    return (*touched, *(name for name in generated if name not in touched))


def _has_row(role: Role, instance: models.Model) -> bool:
    """Whether there may be a row already. What has a key of its own making is new until it is saved."""
    of = role.model if isinstance(instance, role.model) else type(instance)
    key: list[Any] = list(of._meta.pk_fields)
    if any(value is None or hasattr(value, "resolve_expression") for value in role.where(instance).values()):
        return False
    return not (instance._state.adding and all(field.has_default() or field.has_db_default() for field in key))


def _listened_to(using: str) -> bool:
    unit = _Unit.find(using)
    return (unit is not None and bool(unit.noted)) or outbox.anyone_listens(using)


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
        # Whether the pump has to fold what this process could not.
        self.is_left_behind = False

    @classmethod
    def find(cls, using: str) -> "_Unit | None":
        hooks = (entry[1] for entry in connections[using].run_on_commit)
        return next((hook for hook in hooks if isinstance(hook, cls)), None)

    @classmethod
    def current(cls, using: str) -> "_Unit":
        return cls.find(using) or cls(using)

    def fold_on_commit(self, change: Change) -> None:
        noted = self.noted.setdefault((change.source, change.order_pk), [])
        # SQLite gives a key out again if the savepoint that took it was rolled back.
        noted[:] = [*(one for one in noted if one.pk != change.pk), change]
        self.register()

    def register(self) -> None:
        """Have it called once the transaction has committed, before the store's own hooks: if one of those raises,
        Django calls none of the rest.
        """
        if self.registered:
            return
        self.registered = True
        transaction.on_commit(self, using=self.using, robust=True)
        hooks = connections[self.using].run_on_commit
        # A test case never commits, and `captureOnCommitCallbacks` counts the hooks from the front.
        if not any(getattr(block, "_from_testcase", False) for block in connections[self.using].atomic_blocks):
            hooks.insert(0, hooks.pop())

    def __call__(self) -> None:
        events = self.fold()
        if events or self.is_left_behind:
            _tell(events)

    def fold(self) -> list[Event]:
        noted, self.noted = self.noted, {}
        if len(noted) > 1:
            try:
                events = outbox.fold_many(noted, now=timezone.now(), using=self.using)
                self.is_left_behind = not events
                return events
            except Exception:
                logger.exception("could not fold the changes of %d orders together", len(noted))
        events = []
        for (source, order_pk), changes in noted.items():
            try:
                events += outbox.fold(source, order_pk, now=timezone.now(), using=self.using, noted=changes)
            except Exception as error:
                # The order is saved and its changes are on record: the pump folds them.
                self.is_left_behind = True
                logger.log(
                    logging.WARNING if is_transient(error) else logging.ERROR,
                    "could not fold the changes of order %s:%s yet",
                    source,
                    order_pk,
                    exc_info=True,
                )
        return events


class _Deletions:
    """What is about to be deleted on a connection; written down right before the statement that deletes.

    # Note [Deletions]
    Django tells of each row that it is about to delete, then deletes all of them. To read them one by one takes some
    ten statements a row. So they are kept in memory until the connection's next statement, whatever it is, and then
    written down together. A rollback takes away the unit that they belong to, and so they are forgotten.
    """

    def __init__(self, using: str, unit: "_Unit") -> None:
        self.using = using
        self.unit = unit
        self.gone: list[tuple[Role, models.Model]] = []

    @classmethod
    def pending(cls, using: str) -> "_Deletions":
        wrappers = connections[using].execute_wrappers
        unit = _Unit.current(using)
        unit.register()
        for pending in [one for one in wrappers if isinstance(one, cls)]:
            if pending.unit is unit:
                return pending
            wrappers.remove(pending)
        deletions = cls(using, unit)
        wrappers.append(deletions)
        return deletions

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        self.write_down()
        return execute(sql, params, many, context)

    def write_down(self) -> None:
        connection = connections[self.using]
        if self in connection.execute_wrappers:
            connection.execute_wrappers.remove(self)
        gone, self.gone = self.gone, []
        if not gone or connection.needs_rollback or _Unit.find(self.using) is not self.unit:
            return
        try:
            with transaction.atomic(using=self.using):
                changes = outbox.note_deletions(self.unit.id, gone, using=self.using)
        except Exception as error:
            for role, instance in gone[:MARKED_AT_ONCE]:
                outbox.mark_missed(role, instance, outbox.describe(error), using=self.using, error=error)
            return
        for change in changes:
            self.unit.fold_on_commit(change)


def _tell(events: Iterable[Event]) -> None:
    tasks.wake()
    for event in events:
        if event.published_at:
            announce(event_published, sender=Event, event=event)
