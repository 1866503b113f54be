"""Publishing: what the store says about its orders goes into the outbox; once that is committed, a worker is woken.

For the store's own code, the commands and the admin. Saves are captured by `signal_handlers`, without a call.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import models, router, transaction

from orderhooks import digests, outbox, reconciling, sources, tasks, topics
from orderhooks.db import DatabaseClock
from orderhooks.models import Change, Delivery, Event, Subscription
from orderhooks.previews import create_manual_delivery
from orderhooks.signals import announce_published
from orderhooks.sources import WatchedModel

__all__ = ["publish", "publish_differences", "publish_to", "republish", "track"]


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
    topics.require_publishable(topic)
    watched_model = sources.watched_order(order)
    if watched_model is None or order.pk is None:
        raise TypeError(
            f"publish() takes a saved order that a source of ORDERHOOKS['SOURCES'] describes, not {order!r}."
        )
    pairs = _stored_changes(watched_model, order, changes or {})
    # As for a save: the order may have been read from a replica.
    using = router.db_for_write(type(order), instance=order)
    outbox.capture_explicit(watched_model, order, topic, pairs, using=using, on_events=announce_events)


@contextmanager
def track(rows: "models.QuerySet[Any]") -> Iterator[outbox.Tracking]:
    """Capture what the block changes in these rows, even if it sends no signals: `update()`, bulk methods, raw SQL.

        with track(Order.objects.filter(placed_at__lt=year_begin)):
            cursor.execute("UPDATE shop_order SET status = 'closed' WHERE placed_at < %s", [year_begin])

    `rows` is a queryset of orders or of related rows. The watched columns of its rows are read before the block, with a
    lock, and again after it, a thousand rows at a time. The block and its captured changes are one transaction.
    Several changes of a row in the block are one change.

    The value of the `with` statement takes the rows that the block has inserted, as instances or primary keys:

        with track(Order.objects.none()) as tracking:
            tracking.add(copy_orders_from_csv(path))

    An error in our own reading or writing is logged and counted; the block goes on. Raises TypeError if no order source
    watches the model of the rows.
    """
    if not sources.watched_models_of(rows.model):
        raise TypeError(f"track() takes rows of a model that an order source watches, not of {rows.model._meta.label}.")
    with outbox.track(rows, on_events=announce_events) as tracking:
        yield tracking


def _stored_changes(
    watched_model: WatchedModel, order: models.Model, changes: Mapping[str, Sequence[Any]]
) -> dict[str, list[Any]]:
    """The changes as the database would store them, without those that change nothing. Raises ValueError."""
    pairs: dict[str, list[Any]] = {}
    for name, pair in changes.items():
        if name not in watched_model.watched:
            known = ", ".join(watched_model.watched)
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


def publish_to(subscription: Subscription, topic: str, order: str = "", *, by: str = "") -> Delivery:
    """Send an event about an order, as it is now, to one subscription only, whether it wants the topic or not.

    For development, and for receivers that lost something. `order` is the order's number, or its primary key if no
    order has that number; blank stands for the newest order. `by` is the name of the user who requests it. Raises
    previews.PreviewError and topics.UnknownTopicError.
    """
    delivery = create_manual_delivery(subscription, order, topic=topic, by=by, now=DatabaseClock().now())
    transaction.on_commit(tasks.wake, using=Delivery.objects.db)
    return delivery


def republish(event: Event) -> bool:
    """Publish an event whose payload could not be built, with the order as it is now. False if it failed again."""
    published = outbox.republish(event)
    if published:
        transaction.on_commit(lambda: announce_events(published), using=Event.objects.db)
    return bool(published)


def publish_differences(differences: Iterable[reconciling.Difference]) -> int:
    """Publish what a reconciliation found, so that receivers have each order as it is. Returns how many it published.

    An order that changed gets one `order.updated` whose `changes` show the difference of the payloads; one without
    any event gets it with empty `changes`. An order that is gone gets `order.deleted` with the content that was last
    published; if that has been pruned, there is no event, and the list of digests shows it as deleted. Those that can't
    be read are left out.

    Raises ValueError if the orders are kept in another database than orderhooks.
    """
    using = Change.objects.db
    # One transaction, so that the orders are coalesced together.
    with transaction.atomic(using=using):
        return sum(_publish_difference(one, using=using) for one in differences)


def _publish_difference(difference: reconciling.Difference, *, using: str) -> bool:
    watched_model = WatchedModel(sources.by_name(difference.source))
    if not outbox.can_capture(router.db_for_write(watched_model.model)):
        raise ValueError(
            f"The orders of the source {difference.source!r} are kept in another database than orderhooks, so events "
            "about them can't be made. Route both to one database."
        )
    event = reconciling.last_published(difference.source, difference.order_pk)
    published = digests.published_order(event) if event else None
    if difference.kind in (reconciling.Kind.CHANGED, reconciling.Kind.UNKNOWN):
        outbox.capture_difference(
            watched_model, difference.order_pk, "order.updated", published, using=using, on_events=announce_events
        )
        return True
    if difference.kind == reconciling.Kind.DELETED and published is not None:
        outbox.capture_missed_deletion(
            watched_model,
            difference.order_pk,
            published,
            number=difference.number,
            store=difference.store,
            using=using,
            on_events=announce_events,
        )
        return True
    if difference.kind == reconciling.Kind.DELETED:
        digests.mark_deleted(difference.source, difference.order_pk)
        return True
    return False


def announce_events(events: Sequence[Event]) -> None:
    """Wake a worker and send the public signal of each event that has a payload. Called once they are committed."""
    tasks.wake()
    announce_published(events)
