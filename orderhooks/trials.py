"""Trials: what a choice of a subscription would have done with the last events, before it is saved. Nothing is sent.

For the admin and the API.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from django.db import models
from django.utils.translation import gettext_lazy as _

from orderhooks import catalogue, matching, reporting, shaping, sources, topics
from orderhooks.models import Event, Subscription
from orderhooks.models.events import EventQuerySet

__all__ = ["DEFAULT_EVENTS", "MOST_EVENTS", "Trial", "Trials", "run"]

DEFAULT_EVENTS = 50
MOST_EVENTS = 200
# How far back events of its topics and its store are looked for.
LOOKED_AT = 20_000


class Trial(models.TextChoices):
    """What would have come of an event."""

    SENT = "sent", _("sent")
    LEFT_OUT = "left_out", _("left out")  # by the changed fields, or the filter
    HELD = "held", _("held")  # the filter can't judge it, or the projection fails on it


@dataclass(frozen=True, slots=True)
class EventTrial:
    """What would have come of one event. `text`: why it would not have been sent. `body`: what would have been sent, of
    the type `content_type`.
    """

    event: Event
    result: Trial
    text: str = ""
    body: bytes = field(default=b"", repr=False)
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Trials:
    """The events that were tried, newest first. `is_example`: there are none, so the topics' examples were tried."""

    events: tuple[EventTrial, ...]
    is_example: bool = False

    def count(self, result: Trial) -> int:
        return sum(one.result == result for one in self.events)


def run(
    subscription: Subscription, *, at_most: int = DEFAULT_EVENTS, now: datetime, stores: Collection[str] | None = None
) -> Trials:
    """Try the choices of a subscription, which need not be saved, on the last events of its topics and its store.

    They may be older than the subscription. `stores`: those whose events may be shown; None for all.
    """
    events = list(_newest(subscription, stores)[:at_most])
    examples = [] if events else [_example(topic, now) for topic in _wanted_topics(subscription)][:at_most]
    return Trials(tuple(_try(subscription, events or examples, now=now)), is_example=not events)


def _newest(subscription: Subscription, stores: Collection[str] | None) -> EventQuerySet:
    """Those among the last events of all, so that a topic or a store without events costs no more."""
    last = Event.objects.order_by("-sequence").values_list("sequence", flat=True)
    first = last[LOOKED_AT - 1 : LOOKED_AT].first() or 0
    events = Event.objects.for_all().filter(sequence__gte=first).wanted_by(subscription).order_by("-sequence")
    return events if stores is None else events.filter(store__in=stores)


def _try(subscription: Subscription, events: Collection[Event], *, now: datetime) -> Iterator[EventTrial]:
    matcher = matching.Matcher()
    for event in events:
        verdict = matcher.select(event, subscription)
        if verdict.error:
            yield EventTrial(event, Trial.HELD, verdict.error)
        elif verdict.mismatch is not None:
            outcome = reporting.not_wanted(event, subscription, verdict.mismatch, matcher)
            yield EventTrial(event, Trial.LEFT_OUT, reporting.subscription_outcome_text(outcome, now=now))
        else:
            yield _shaped(event, subscription)


def _shaped(event: Event, subscription: Subscription) -> EventTrial:
    try:
        shaped = shaping.shape(event, subscription)
    except shaping.ShapingError as error:
        return EventTrial(event, Trial.HELD, str(error))
    return EventTrial(event, Trial.SENT, body=shaped.body, content_type=shaped.content_type)


def _wanted_topics(subscription: Subscription) -> list[str]:
    offered = [topic.name for topic in catalogue.offered() if topic.name != catalogue.TEST]
    return [name for name in offered if topics.matches(subscription.topics, name)]


def _example(topic: str, now: datetime) -> Event:
    body = catalogue.entry(topic).example
    source = next(iter(sources.configured()), "")
    return Event(
        public_id=body["id"],
        sequence=body["sequence"],
        topic=topic,
        source=source,
        store=body["store"],
        order_number=str(body["data"]["order"].get("number", "")),
        payload=body["data"],
        changes=body["data"]["changes"],
        occurred_at=now,
        published_at=now,
    )
