"""Planning: what a backfill is to send, judged before it begins. `operations` saves it."""

from datetime import datetime
from typing import Any

from django.db import router

from orderhooks import sources, topics
from orderhooks.models import Backfill, Subscription
from orderhooks.models.backfills import MOST_RATE
from orderhooks.models.events import OF_OPERATORS
from orderhooks.payloads import REDACTED
from orderhooks.sources import OrderSource

__all__ = ["BackfillError", "plan"]


class BackfillError(ValueError):
    """A backfill that is not possible. Its text says what to change; `field` is the argument of `plan`, or blank."""

    def __init__(self, text: str, *, field: str = "") -> None:
        super().__init__(text)
        self.field = field


def plan(
    subscription: Subscription, *, topic: str, source: str, since: datetime | None, rate: int, now: datetime
) -> Backfill:
    """A backfill that is not saved yet. `source`: blank for the only one that is configured.

    Raises:
        BackfillError: an argument is not valid, or one is already running for the subscription.
        topics.UnknownTopicError: there is no such topic.
    """
    _require_wanted(subscription, topics.require(topic).name)
    if not 1 <= rate <= MOST_RATE:
        raise BackfillError(f"The rate is from 1 to {MOST_RATE} orders a second, not {rate}.", field="rate")
    if since is not None and since >= now:
        raise BackfillError("Give a time before now: the orders since then are sent.", field="since")
    running = subscription.backfills.running().first()
    if running is not None:
        raise BackfillError(
            f"{running.public_id} is still running for {subscription}. Wait until it is done, or cancel it."
        )
    planned = Backfill(
        subscription=subscription, topic=topic, source=_chosen(source).name, since=since, rate=rate, next_batch_at=now
    )
    _look_ahead(planned)
    return planned


def _look_ahead(backfill: Backfill) -> None:
    """Find out which order is its last, and how many there are.

    They are not counted if some may be of stores that a user of the API must not know of. Raises BackfillError if
    the orders have no date and it has one.
    """
    source = sources.by_name(backfill.source)
    store = backfill.subscription.store
    chosen: dict[str, Any] = {
        "since": backfill.since,
        "store": store,
        "using": router.db_for_write(source.get_model()),
    }
    try:
        backfill.last_key = sources.last_order_key(source, **chosen)
        backfill.total = sources.count_orders(source, **chosen) if source.store_field or not store else None
    except sources.UndatedError as error:
        raise BackfillError(str(error), field="since") from None


def _require_wanted(subscription: Subscription, topic: str) -> None:
    if topic in NOT_OF_EXISTING or topic.startswith(OF_OPERATORS):
        raise BackfillError(f"{topic!r} is not about an order that exists. Choose another topic.", field="topic")
    if subscription.operational:
        raise BackfillError(
            f"{subscription} is operational: it gets no orders. Choose another subscription.", field="topic"
        )
    if not topics.matches(subscription.topics, topic):
        wanted = ", ".join(subscription.topics)
        raise BackfillError(
            f"{subscription} does not want {topic}. Choose a topic that it wants ({wanted}), or add this one to its "
            "topics.",
            field="topic",
        )


NOT_OF_EXISTING = ("order.deleted", REDACTED)


def _chosen(name: str) -> OrderSource:
    known = sources.configured()
    if name in known:
        return known[name]
    if not name and len(known) == 1:
        return next(iter(known.values()))
    if not known:
        raise BackfillError("ORDERHOOKS['SOURCES'] is empty. Name the class of an order source in it.", field="source")
    problem = f"There is no order source {name!r}." if name else "There are several order sources."
    raise BackfillError(f"{problem} Choose one of: {', '.join(known)}.", field="source")
