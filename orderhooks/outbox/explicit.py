"""Explicit changes: what is published about an order without a save of it. `publishing` calls it."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import models, transaction

from orderhooks.models import Change
from orderhooks.outbox.capturing import change_of, write_change
from orderhooks.outbox.transaction_batch import OnEvents, is_wanted
from orderhooks.sources import WatchedModel

__all__ = ["capture_difference", "capture_explicit", "capture_missed_deletion"]


def capture_explicit(
    watched_model: WatchedModel,
    order: models.Model,
    topic: str,
    changes: Mapping[str, Sequence[Any]],
    *,
    using: str,
    on_events: OnEvents,
) -> None:
    """Capture that the store publishes a topic about an order, with the `[old, new]` values of changed fields."""
    if not is_wanted(using):
        return
    with transaction.atomic(using=using):
        before = {field: old for field, (old, _new) in changes.items()}
        after = {field: new for field, (_old, new) in changes.items()}
        (order_pk,) = watched_model.order_pks(order, using=using)
        change = change_of(watched_model, order_pk, topic, Change.Kind.EXPLICIT, before, after)
        write_change(change, using=using, on_events=on_events)


def capture_difference(
    watched_model: WatchedModel,
    order_pk: str,
    topic: str,
    published: Mapping[str, Any] | None,
    *,
    using: str,
    on_events: OnEvents,
) -> None:
    """Capture that an order differs from the payload that was last published of it, or that none ever was.

    The topic's event shows the difference in `changes`. There is no event if nothing differs any more.
    """
    change = change_of(watched_model, order_pk, topic, Change.Kind.EXPLICIT, {}, {})
    change.snapshot = None if published is None else dict(published)
    write_change(change, using=using, on_events=on_events)


def capture_missed_deletion(
    watched_model: WatchedModel,
    order_pk: str,
    published: Mapping[str, Any],
    *,
    number: str,
    store: str,
    using: str,
    on_events: OnEvents,
) -> None:
    """Capture that an order is gone. Its event shows the order as it was last published."""
    change = change_of(watched_model, order_pk, "", Change.Kind.DELETED, {}, {})
    change.snapshot, change.order_number, change.store = dict(published), number, store
    write_change(change, using=using, on_events=on_events)
