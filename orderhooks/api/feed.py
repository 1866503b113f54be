"""The feed: a page of the events after a sequence, or after the place of a consumer."""

from collections.abc import Hashable
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
from orderhooks.api.protocol.query_parameters import int_parameter, sequence_parameter
from orderhooks.api.waiting import LONGEST_WAIT_SECONDS, look_until
from orderhooks.db import DatabaseClock
from orderhooks.models import Event, FeedConsumer, Subscription
from orderhooks.models.events import EventQuerySet

__all__ = ["FEED_PARAMETERS", "FeedPage", "is_feed", "read_feed"]

# Each of these makes a request one of the feed.
PLACES = ("after", "consumer")
FEED_PARAMETERS = (*PLACES, "page_size", "subscription", "wait")
# What only the feed has.
OF_FEED_ALONE = ("subscription", "wait")


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Events, oldest first. `last`: the last sequence that was examined. `subscription`: whose feed it is, if any's."""

    events: list[Event]
    last: int
    has_more: bool
    subscription: Subscription | None

    @property
    def is_final(self) -> bool:
        """Whether the client has something to do: events, or the next page."""
        return bool(self.events) or self.has_more


def is_feed(request: Request) -> bool:
    """Whether the request is one of the feed. Raises ParameterError if it has a parameter of the feed alone."""
    if any(name in request.query_params for name in PLACES):
        return True
    if clashing := [name for name in OF_FEED_ALONE if name in request.query_params]:
        text = "This parameter needs `after` or `consumer`."
        raise ParameterError({name: [text] for name in clashing}, code="clash")
    return False


def read_feed(request: Request) -> FeedPage:
    """The page that the request asks for; with `wait` the next one that is not empty, or an empty one in the end.

    Raises ParameterError, ConflictError, EventsMissedError, TooManyWaitersError.
    """
    _require_parameters(request)
    text = "Send the sequence of the last event that you have, or 0 to start with the oldest one."
    after, size = sequence_parameter(request, text), page_size_of(request)
    seconds = int_parameter(request, "wait", default=0, lowest=0, highest=LONGEST_WAIT_SECONDS)
    subscription, clock = _subscription_of(request), DatabaseClock()
    consumer = consumer_of(request, subscription) if "consumer" in request.query_params else None
    if consumer is not None:
        require_nothing_missed(consumer)
        after = after if "after" in request.query_params else consumer.acknowledged
    feed = Feed(stores.feed_of(request.user, subscription), subscription, clock)
    page = feed.page(after, size)
    if seconds and not page.is_final:
        page = feed.page_in_time(page, size, seconds=seconds, user=request.user.pk)
    if consumer is not None:
        # What lies beyond the last event has not been shown.
        up_to = page.last if page.last > after else 0
        FeedConsumer.objects.filter(pk=consumer.pk).record_read(up_to=up_to, now=clock.now())
    return page


@dataclass(frozen=True, slots=True)
class Feed:
    """The events that one request reads."""

    events: EventQuerySet
    subscription: Subscription | None
    clock: DatabaseClock

    def page(self, after: int, size: int) -> FeedPage:
        # One more than the page, to know whether there is a next page.
        rows = self.events.feed(after=after, at_most=size + 1, now=self.clock.now())
        found = [event for event in rows[:size] if event.published_at is not None]
        if self.subscription is not None and self.subscription.is_selective:
            found = list(matching.wanted(found, self.subscription))
        last = rows[:size][-1].sequence if rows else after
        return FeedPage(found, last, len(rows) > size, self.subscription)

    def page_in_time(self, page: FeedPage, size: int, *, seconds: int, user: Hashable) -> FeedPage:
        """The first page after this empty one that is final, or the last one that was read in this time."""

        def found() -> bool:
            nonlocal page
            if self.events.has_feed(after=page.last, now=self.clock.now()):
                page = self.page(page.last, size)
            return page.is_final

        look_until(found, seconds=seconds, user=user)
        return page


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
