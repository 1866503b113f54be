"""Stores: which of them a user may see and subscribe to. The one place that decides it, for the admin and the API.

# Note [Stores of a user]
Users who may manage all subscriptions, and so all superusers, see all stores: they could give themselves any. For each
other user the function that the setting STORES_FOR_USER names returns the stores; `""` among them stands for all.
Without the setting, Django's permissions hold for all stores, and only users who may manage all subscriptions can
subscribe by the API. What has no store (`""`) belongs to no single store: users who are limited do not see it.
"""

from collections.abc import Collection, Iterable
from typing import Any

from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _

from orderhooks import conf, logs, permissions
from orderhooks.models.deliveries import Delivery
from orderhooks.models.events import Event, EventQuerySet
from orderhooks.models.feed_consumers import FeedConsumer
from orderhooks.models.subscriptions import Subscription

__all__ = [
    "ALL_STORES",
    "AWAITS_OTHERS",
    "awaits_others",
    "events_of",
    "feed_of",
    "feeds_of",
    "manages",
    "may_see_store",
    "order_stores_of",
    "stores_of",
]

logger = logs.get_logger(__name__)

# The `store` of a subscription to the orders of all stores.
ALL_STORES = ""
# Why its URL stays.
AWAITS_OTHERS = _(
    "Deliveries about orders of another store wait for this subscription, and would go to the new URL. Skip what waits"
    " first (pause it, then resume it and skip what is held), or add a subscription with the new URL."
)


def manages(user: Any) -> bool:
    """Whether the user sees and changes the subscriptions of all users."""
    return bool(user.has_perm(permissions.MANAGE_ALL_SUBSCRIPTIONS))


def stores_of(user: Any) -> frozenset[str]:
    """The stores whose orders the user may subscribe to. If ALL_STORES is among them, the user may subscribe to all.

    Raises TypeError if the function of STORES_FOR_USER returns a text instead of a list.
    """
    if manages(user):
        return frozenset([ALL_STORES])
    path = conf.current().stores_for_user
    if not path:
        return frozenset()
    found: Collection[str] = import_string(path)(user)
    if isinstance(found, str):
        # Its letters would be taken for stores.
        raise TypeError(f"{path} returned a text. Have it return a list of stores, such as [{found!r}].")
    return frozenset(found)


def order_stores_of(user: Any) -> frozenset[str] | None:
    """The stores whose orders the user may read and write. None means all, as without the setting STORES_FOR_USER."""
    if not conf.current().stores_for_user:
        return None
    stores = stores_of(user)
    return None if ALL_STORES in stores else stores


def may_see_store(user: Any, store: str) -> bool:
    """Whether the user may see what a subscription to this store receives.

    False for the owner of a subscription who has lost the store since.
    """
    stores = order_stores_of(user)
    return stores is None or store in stores


def awaits_others(subscription: Subscription, stores: Collection[str] | None) -> bool:
    """Whether deliveries about orders of other stores than these wait for the subscription, which was of another one
    before: a new URL would get them. False if `stores` is None.
    """
    if stores is None or subscription.pk is None:
        return False
    # One that was given up is sent again only by users who see it.
    states = [Delivery.State.PENDING, Delivery.State.SENDING]
    waiting = Delivery.objects.filter(subscription=subscription, state__in=states)
    return waiting.exclude(trigger=Delivery.Trigger.TEST).exclude(event__store__in=stores).exists()


def events_of(user: Any) -> EventQuerySet:
    """The events of the stores that the user may subscribe to. Tests of endpoints are visible only to users who manage
    all subscriptions.
    """
    if manages(user):
        return Event.objects.all()
    stores = stores_of(user)
    events = Event.objects.of_orders()
    return events if ALL_STORES in stores else events.filter(store__in=stores)


def feed_of(user: Any, subscription: Subscription | None) -> EventQuerySet:
    """The events of the user's feed, or of the subscription's as far as its topics and its store decide."""
    return _narrowed(events_of(user), subscription)


def feeds_of(consumers: Iterable[FeedConsumer]) -> dict[int, EventQuerySet | None]:
    """The feed of each consumer, by the consumer's primary key. Users are looked at once each.

    None, with an error in the log, if the function of STORES_FOR_USER raises: it is the store's own code.
    """
    seen: dict[int, EventQuerySet | None] = {}
    feeds: dict[int, EventQuerySet | None] = {}
    for consumer in consumers:
        if consumer.user_id not in seen:
            seen[consumer.user_id] = _events_if_known(consumer.user)
        events = seen[consumer.user_id]
        feeds[consumer.pk] = None if events is None else _narrowed(events, consumer.subscription)
    return feeds


def _narrowed(events: EventQuerySet, subscription: Subscription | None) -> EventQuerySet:
    return events.of_orders() if subscription is None else events.wanted_by(subscription)


def _events_if_known(user: Any) -> EventQuerySet | None:
    try:
        return events_of(user)
    except Exception:
        logger.exception("the stores of a user are not known, so neither is what the user's consumers read")
        return None
