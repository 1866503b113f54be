"""Composing: the events of one transaction, of its captured changes and the order as it was committed.

`coalescing` stores them, with the changes taken out of the outbox.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from orderhooks import logs, payloads
from orderhooks.db.savepoints import undone_if_it_fails
from orderhooks.db.transient_errors import is_transient
from orderhooks.models import Change, Event
from orderhooks.outbox.guarding import describe_error
from orderhooks.outbox.lifetimes import as_one_lifetime, has_ended, is_made_again
from orderhooks.outbox.membership import as_seen
from orderhooks.outbox.net_changes import NetChange, net_change, payload_changes
from orderhooks.outbox.reading import OrderRead, read_order_before

__all__ = ["TopicsNotComputedError", "computed_topics", "events_of", "presented"]

logger = logs.get_logger(__name__)


class Step(Protocol):
    """What the changes of a transaction are to receivers, by the order as it was committed."""

    def __call__(self, captured: Sequence[Change], order: OrderRead, *, using: str) -> Sequence[Change]: ...


class TopicsNotComputedError(RuntimeError):
    """The source's `compute_topics` failed, so events are missing. Publishing another one again makes them."""


def events_of(
    captured: Sequence[Change],
    order: OrderRead,
    later: Sequence[Change] = (),
    *,
    known: Collection[int] = (),
    now: datetime,
    using: str,
) -> list[Event]:
    """The events of one transaction. `later` holds the changes of later transactions, as far as they are known, and
    `known` the keys of all changes that are.
    """
    lived, unread = captured, ""
    if is_made_again(captured):
        lived, unread = _guarded(as_one_lifetime, captured, order, using=using)
    seen, unseen = lived, ""
    if order.source is not None and order.source.only is not None:
        seen, unseen = _guarded(as_seen, lived, order, using=using)
    if has_ended(seen) and not has_ended(captured) and not order.error:
        # It is no order any more. Receivers get it as it was while it was one.
        undone = [*captured, *later]
        before = read_order_before(captured[0].source, captured[0].order_pk, undone, known=known, using=using)
        order = replace(before, instance=None)
    net = net_change(seen, order.source)
    error = next((change.error for change in lived if change.error), "") or order.error or unread or unseen
    changes, names = net.changes, net.topics
    try:
        names = tuple(dict.fromkeys((*net.topics, *computed_topics(net, order, using=using))))
        changes = presented(net.changes, order)
        if (published := _last_published(captured)) is not None and order.source and order.snapshot is not None:
            current = json.loads(payloads.encode(order.snapshot))  # as it would be stored
            changes = {**payload_changes(published, current, order.source), **changes}
            names = names if changes else ()
        payloads.check(changes)
    except Exception as problem:
        if is_transient(problem):
            raise
        logger.exception(
            "could not present the changes of an order", source=captured[0].source, order=captured[0].order_pk
        )
        error = error or describe_error(problem)
        changes = {field: pair for field, pair in net.changes.items() if _can_be_kept(pair)}
    return [
        Event(
            topic=topic,
            source=captured[0].source,
            order_pk=captured[0].order_pk,
            order_number=order.number,
            store=order.store,
            payload=None if error else {"order": order.snapshot, "changes": changes},
            changes=changes,
            error=error,
            occurred_at=captured[-1].created_at,
            published_at=None if error else now,
        )
        for topic in names
    ]


def _guarded(step: Step, captured: Sequence[Change], order: OrderRead, *, using: str) -> tuple[Sequence[Change], str]:
    """What the step makes of the changes, with the error that has kept it from reading the rows of the order."""
    try:
        # Inside a transaction, a query that fails would spoil what is written there.
        with undone_if_it_fails(using):
            return step(captured, order, using=using), ""
    except Exception as error:
        if is_transient(error):
            raise
        logger.exception("could not read the rows of an order", source=captured[0].source, order=captured[0].order_pk)
        return step(captured, replace(order, instance=None), using=using), describe_error(error)


def _last_published(captured: Sequence[Change]) -> dict[str, Any] | None:
    """The payload that an order is compared with: see `explicit.capture_difference`."""
    explicit = (change.snapshot for change in captured if change.kind == Change.Kind.EXPLICIT)
    return next((snapshot for snapshot in explicit if snapshot is not None), None)


def computed_topics(net: NetChange, order: OrderRead, *, using: str) -> list[str]:
    """The topics that the source computes from the net change.

    Raises TopicsNotComputedError, or what `is_transient` recognizes.
    """
    source = order.source
    if source is None or order.instance is None or not source.computed_topics or not net.topics:
        return []
    try:
        # Inside a transaction, a query that fails would spoil what is written there.
        with undone_if_it_fails(using):
            found = list(source.compute_topics(order.instance, net.changes))
    except Exception as error:
        if is_transient(error):
            raise
        raise TopicsNotComputedError(describe_error(error)) from error
    if unknown := [topic for topic in found if topic not in source.computed_topics]:
        raise TopicsNotComputedError(
            f"compute_topics() returns {unknown[0]!r}. Add it to `computed_topics`, and to TOPICS."
        )
    return found


def _can_be_kept(value: Any) -> bool:
    try:
        payloads.check(value)
    except (TypeError, ValueError):
        return False
    return True


def presented(changes: dict[str, list[Any]], order: OrderRead) -> dict[str, list[Any]]:
    source, instance = order.source, order.instance
    if source is None or instance is None:
        return changes
    keys = {related.key for related in source.all_related}

    def present(field: str, value: Any) -> Any:
        if field not in keys:
            return source.present(instance, field, value)
        return [{name: source.present(instance, f"{field}.{name}", one) for name, one in row.items()} for row in value]

    return {field: [present(field, value) for value in pair] for field, pair in changes.items()}
