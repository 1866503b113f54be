"""The topics to choose from: in the filters of the lists, and in the form of a replay."""

from django.http import HttpRequest

from orderhooks import catalogue, operational
from orderhooks.admin.stores import sees_alarms, stores_of
from orderhooks.db.distinct_texts import distinct_texts
from orderhooks.models import Event
from orderhooks.models.events import EventQuerySet

# Of those that events have.
MOST_TOPICS = 200
NEWEST_EVENTS = 10_000


def known_topics(request: HttpRequest) -> list[str]:
    """The topics of orders to choose from: those that the project can make, then others that events have.

    Without these others for users who are limited to stores: which there are depends on the events of all stores.
    """
    offered = [topic.name for topic in catalogue.offered()]
    if stores_of(request) is not None:
        return offered
    stored = distinct_texts(Event, "topic", at_most=MOST_TOPICS, using=Event.objects.db)
    return [*offered, *(name for name in stored if name not in {*offered, *operational.TOPICS})]


def listed_topics(request: HttpRequest) -> list[str]:
    """What the log is filtered by: the same, and operational topics for users who may see them."""
    return [*known_topics(request), *(operational.TOPICS if sees_alarms(request) else ())]


def newest_of(request: HttpRequest, topic: str) -> int:
    """The sequence of a topic's newest event; 0 if it has none. Looked up once for each request."""
    return _newest(request, topic, Event.objects.filter(topic=topic)) if "\0" not in topic else 0


def is_in_use(request: HttpRequest, topic: str) -> bool:
    """Whether a topic has an event among the newest ones of all."""
    return newest_of(request, topic) > _newest(request, None, Event.objects.all()) - NEWEST_EVENTS


def _newest(request: HttpRequest, key: str | None, events: EventQuerySet) -> int:
    known: dict[str | None, int] = request.__dict__.setdefault("_orderhooks_newest_of", {})
    if key not in known:
        known[key] = events.order_by("-sequence").values_list("pk", flat=True).first() or 0
    return known[key]
