"""How far the consumers of the feed are behind. For the admin's pages and the API."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Subquery

from orderhooks.db.bounded_counts import counts_up_to
from orderhooks.models.events import Event, EventQuerySet
from orderhooks.models.feed_consumers import FeedConsumer

__all__ = ["BOUND", "FeedLag", "feed_lags"]

# How far events are counted.
BOUND = 10_000


@dataclass(frozen=True, slots=True)
class FeedLag:
    """The events that wait: how many, counted to BOUND, and when the oldest of them was published."""

    events: int
    is_exact: bool
    since: datetime | None


def feed_lags(
    consumers: Iterable[FeedConsumer], feeds: Mapping[int, EventQuerySet | None]
) -> dict[int, FeedLag | None]:
    """The lag of each consumer, by its primary key, in two queries. `feeds`: see `stores.feeds_of`.

    What a subscription's filter leaves out counts too. None where the feed is not known.
    """
    lags: dict[int, FeedLag | None] = dict.fromkeys(feeds)
    waiting = {
        one.pk: feed.filter(sequence__gt=one.acknowledged, published_at__isnull=False).order_by("sequence")
        for one in consumers
        if (feed := feeds[one.pk]) is not None
    }
    if waiting:
        counts, oldest = counts_up_to(BOUND, waiting), _oldest(waiting)
        lags |= {key: FeedLag(min(counts[key], BOUND), counts[key] <= BOUND, oldest[key]) for key in waiting}
    return lags


def _oldest(waiting: Mapping[int, EventQuerySet]) -> dict[int, datetime | None]:
    columns = [Subquery(events.values("published_at")[:1]) for events in waiting.values()]
    # One row carries them; where there is none, nothing waits.
    found = next(iter(Event.objects.order_by("-pk").values_list(*columns)[:1]), (None,) * len(columns))
    return dict(zip(waiting, found, strict=True))
