"""The feed: a page of the events after a sequence, or after the place of a consumer."""

from dataclasses import dataclass

from rest_framework.request import Request

from orderhooks import matching, stores
from orderhooks.api.consumers import (
    UNKNOWN_SUBSCRIPTION,
    consumer_of,
    require_nothing_missed,
    visible_subscription,
)
from orderhooks.api.filters import PAGING, EventFilters, require_known
from orderhooks.api.protocol.drf import FORMAT_PARAMETER
from orderhooks.api.protocol.pagination import page_size_of
from orderhooks.api.protocol.problems import ParameterError
from orderhooks.api.protocol.query_parameters import sequence_parameter
from orderhooks.db import DatabaseClock
from orderhooks.models import Event, FeedConsumer, Subscription
from orderhooks.models.events import EventQuerySet

__all__ = ["FEED_PARAMETERS", "FeedPage", "is_feed", "read_feed"]

# Each of these makes a request one of the feed.
PLACES = ("after", "consumer")
FEED_PARAMETERS = (*PLACES, "page_size", "subscription")


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Events, oldest first. `last`: the last sequence that was examined. `subscription`: whose feed it is, if any's."""

    events: list[Event]
    last: int
    has_more: bool
    subscription: Subscription | None


def is_feed(request: Request) -> bool:
    """Whether the request is one of the feed. Raises ParameterError if it has a parameter of the feed alone."""
    if any(name in request.query_params for name in PLACES):
        return True
    if "subscription" in request.query_params:
        raise ParameterError({"subscription": ["This parameter needs `after` or `consumer`."]}, code="clash")
    return False


def read_feed(request: Request) -> FeedPage:
    """The page that the request asks for. Raises ParameterError, ConflictError, EventsMissedError."""
    _require_parameters(request)
    text = "Send the sequence of the last event that you have, or 0 to start with the oldest one."
    after, size = sequence_parameter(request, text), page_size_of(request)
    subscription = _subscription_of(request)
    if "consumer" not in request.query_params:
        return _page(stores.feed_of(request.user, subscription), subscription, after=after, size=size)
    consumer = consumer_of(request, subscription)
    require_nothing_missed(consumer)
    if "after" not in request.query_params:
        after = consumer.acknowledged
    page = _page(stores.feed_of(request.user, subscription), subscription, after=after, size=size)
    FeedConsumer.objects.filter(pk=consumer.pk).record_read(
        up_to=page.last if page.last > after else 0, now=DatabaseClock().now()
    )
    return page


def _page(events: EventQuerySet, subscription: Subscription | None, *, after: int, size: int) -> FeedPage:
    # One more than the page, to know whether there is a next page.
    rows = events.feed(after=after, at_most=size + 1, now=DatabaseClock().now())
    found = [event for event in rows[:size] if event.published_at is not None]
    if subscription is not None and subscription.is_selective:
        found = list(matching.wanted(found, subscription))
    return FeedPage(found, rows[:size][-1].sequence if rows else after, len(rows) > size, subscription)


def _require_parameters(request: Request) -> None:
    require_known(request, {*FEED_PARAMETERS, *EventFilters.base_filters, *PAGING})
    if clashing := request.query_params.keys() - {*FEED_PARAMETERS, FORMAT_PARAMETER}:
        text = f"The feed has no such filter. Known parameters: {', '.join(FEED_PARAMETERS)}."
        raise ParameterError({name: [text] for name in sorted(clashing)}, code="clash")


def _subscription_of(request: Request) -> Subscription | None:
    if "subscription" not in request.query_params:
        return None
    subscription = visible_subscription(request, request.query_params["subscription"])
    if subscription is None:
        raise ParameterError({"subscription": [UNKNOWN_SUBSCRIPTION]}, code="unknown")
    return subscription
