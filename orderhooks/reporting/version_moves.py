"""Versions in use: what a move to another version of the body changes for a subscription, and which ones need a move.

The admin and the API show the first, `orderhooks_status`, the doctor and a check the second.
"""

import copy
import difflib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from orderhooks import catalogue, formats, shaping, sources, topics, versions
from orderhooks.models import Delivery, Event, Subscription
from orderhooks.models.subscriptions import SubscriptionQuerySet
from orderhooks.shaping import ShapingError
from orderhooks.versions import Version

__all__ = ["VersionMove", "ended_versions", "unregistered_versions", "version_move"]

# How many of the newest deliveries are searched for an event whose body there is in both versions.
NEWEST_SEARCHED = 100
# Comparing takes a time that grows faster than the lines. A longer body is not compared: the example is.
MOST_LINES = 2000
MOST_NAMES = 10


@dataclass(frozen=True, slots=True)
class VersionMove:
    """What a move from one version of the body to another changes for a subscription.

    `versions` are those after the older of the two, up to the newer one, oldest first. `topic` is that of the body that
    was compared, `event` its id, blank for the example of the topic. `diff` has the lines of a unified diff, none if
    nothing changes. `error` says why there is no diff.
    """

    old: str
    new: str
    versions: Sequence[Version]
    topic: str = ""
    event: str = ""
    diff: Sequence[str] = ()
    error: str = ""

    @property
    def is_back(self) -> bool:
        return self.new < self.old


def version_move(
    subscription: Subscription, to: str, *, on_real_events: bool, stores: Collection[str] | None = None
) -> VersionMove:
    """What a move to the version `to` would change, on the newest event that the subscription got, or on an example.

    `on_real_events`: False for users who may not see payloads. `stores`: those whose events may be shown; None for all.
    Nothing is changed.
    """
    old = subscription.api_version
    between = versions.steps(min(old, to), max(old, to))
    event = None
    try:
        event = _newest_event(subscription, stores, made_in=max(old, to)) if on_real_events else None
        bodies = [] if event is None else _bodies(event, subscription, (old, to))
        if event is None or max(map(len, bodies)) > MOST_LINES:
            event, bodies = None, _bodies(_example(subscription), subscription, (old, to))
    except ShapingError as error:
        # The event that the error is about.
        found = event or _example(subscription)
        return VersionMove(old, to, between, found.topic, event.public_id if event else "", error=str(error))
    diff = difflib.unified_diff(bodies[0], bodies[1], fromfile=old, tofile=to, lineterm="")
    topic = event.topic if event else _example(subscription).topic
    return VersionMove(old, to, between, topic, event.public_id if event else "", tuple(diff))


def _bodies(event: Event, subscription: Subscription, names: Sequence[str]) -> list[list[str]]:
    """The lines of the body in each of the versions. Raises ShapingError."""
    shapes = [shaping.shape(event, _pinned_to(subscription, name)) for name in names]
    return [_laid_out(one.text, one.content_type).split("\n") for one in shapes]


def _pinned_to(subscription: Subscription, version: str) -> Subscription:
    other = copy.copy(subscription)
    other.api_version = version
    return other


def _newest_event(subscription: Subscription, stores: Collection[str] | None, *, made_in: str) -> Event | None:
    """The newest event of its store that it got, of those that were made in this version or a newer one."""
    newest = Delivery.objects.filter(subscription=subscription).order_by("-pk")
    rows = newest.values_list("event", "event__topic", "event__api_version", "event__store")[:NEWEST_SEARCHED]
    found = (
        pk
        for pk, topic, version, store in rows
        if version >= made_in
        and topic != catalogue.TEST
        and subscription.is_for_store(store)
        and (stores is None or store in stores)
    )
    pk = next(found, None)
    return None if pk is None else Event.objects.filter(pk=pk, payload__isnull=False).first()


def _example(subscription: Subscription) -> Event:
    """An event, not saved, with the example of the first topic that the subscription wants."""
    known = list(sources.configured().values())
    known_topics = catalogue.OPERATIONAL if subscription.operational else catalogue.offered()
    wanted = (topic.name for topic in known_topics if topics.matches(subscription.topics, topic.name))
    body = catalogue.example(next(wanted, catalogue.TEST), known[0] if known else None)
    return Event(
        public_id=body["id"],
        topic=body["type"],
        sequence=body["sequence"],
        source=body["source"],
        store=body["store"],
        payload=body["data"],
        changes=body["data"].get("changes", {}),
        occurred_at=datetime.fromisoformat(body["timestamp"]),
    )


def _laid_out(text: str, content_type: str) -> str:
    if content_type.partition(";")[0].strip().lower() == formats.FORM:
        return formats.readable_form(text)
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def unregistered_versions(*, stores: Collection[str] | None = None) -> list[str]:
    """A sentence for each version that subscriptions are pinned to although it is not registered, with the remedy.

    `stores`: only subscriptions to these stores; None for all.
    """
    known = versions.registered()
    rows = _pinned(Subscription.objects.of_stores(stores).exclude(api_version__in=list(known)))
    return [
        f"{names} can't be sent to: the version {version} of the body is not registered. Add it to "
        'ORDERHOOKS["API_VERSIONS"] again, or move to another version on the page of each subscription.'
        for version, names in rows
    ]


def ended_versions(*, now: datetime) -> list[str]:
    """A sentence for each version that subscriptions are pinned to although its sunset has passed, with the remedy."""
    ended = {name: one for name, one in versions.registered().items() if one.is_past_sunset(now=now)}
    if not ended:
        return []
    rows = _pinned(Subscription.objects.filter(api_version__in=list(ended)))
    return [
        f"{names}: still on the version {version} of the body, whose sunset was {ended[version].sunset_at:%Y-%m-%d}. "
        "Agree with the receiver, then move to a newer version on the page of each subscription."
        for version, names in rows
    ]


def _pinned(subscriptions: SubscriptionQuerySet) -> list[tuple[str, str]]:
    """The versions with the names of the subscriptions, in one query."""
    rows = subscriptions.order_by("api_version", "name", "pk").values_list("api_version", "name")
    found = []
    for version, group in groupby(rows, key=lambda row: row[0]):
        names = [name for _version, name in group]
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        found.append((version, ", ".join(names[:MOST_NAMES]) + more))
    return found
