"""Access: Django's model permissions decide what a user may do, owners and stores decide which rows they see.

Without the permission `manage_all_subscriptions` a user sees only their own subscriptions and what belongs to them.
`orderhooks.stores` decides about stores. Responses do not show whether other rows exist.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from django.db.models import Model, QuerySet
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from orderhooks import permissions
from orderhooks.models import Backfill, Delivery, FeedConsumer, Order, OrderDigest, Replay, Subscription
from orderhooks.models.deliveries import DeliveryQuerySet
from orderhooks.models.subscriptions import SubscriptionQuerySet
from orderhooks.stores import ALL_STORES, events_of, manages, may_see_store, order_stores_of, stores_of

__all__ = [
    "ALL_STORES",
    "ActionPermission",
    "backfills_of",
    "consumers_of",
    "deliveries_of",
    "digests_of",
    "events_of",
    "manages",
    "may_see_store",
    "order_stores_of",
    "orders_of",
    "own_consumers",
    "replays_of",
    "rights_of",
    "seen_subscriptions_of",
    "stores_of",
    "subscriptions_of",
    "visible_fields",
]

VERBS = {"GET": "view", "HEAD": "view", "POST": "add", "PUT": "change", "PATCH": "change", "DELETE": "delete"}


class ActionPermission(BasePermission):
    """Requires a login and the permissions of the action: those in the view's `required_permissions`, otherwise
    Django's permission for the method on the view's model. OPTIONS requires only the login.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        # None if the project's UNAUTHENTICATED_USER is None.
        if not getattr(request.user, "is_authenticated", False):
            return False
        if request.method == "OPTIONS":
            return True
        if view.action is None:
            raise MethodNotAllowed(str(request.method))
        required: Mapping[str, Collection[str]] = view.required_permissions
        if view.action in required:
            return request.user.has_perms(required[view.action])
        return request.user.has_perm(_on_model(view.queryset.model, VERBS[str(request.method)]))


def _on_model(model: type[Model], verb: str) -> str:
    return f"{model._meta.app_label}.{verb}_{model._meta.model_name}"


def rights_of(user: Any) -> str:
    """A text that changes with what the user may do, and with the stores whose orders the user may see."""
    may_do = user.get_all_permissions() if hasattr(user, "get_all_permissions") else ()
    return json.dumps([bool(getattr(user, "is_superuser", False)), sorted(may_do), sorted(stores_of(user))])


def orders_of(user: Any) -> "QuerySet[Order]":
    """The orders that the user may see."""
    stores = order_stores_of(user)
    return Order.objects.all() if stores is None else Order.objects.filter(store__in=stores)


def subscriptions_of(user: Any) -> SubscriptionQuerySet:
    """The subscriptions that the user may see."""
    return Subscription.objects.all() if manages(user) else Subscription.objects.seen_by_owner(user)


def seen_subscriptions_of(user: Any) -> SubscriptionQuerySet:
    """The subscriptions whose deliveries the user may see."""
    return Subscription.objects.all() if manages(user) else Subscription.objects.filter(pk__in=_owned(user))


def deliveries_of(user: Any) -> DeliveryQuerySet:
    """The deliveries that the user may see."""
    if manages(user):
        return Delivery.objects.all()
    # A subscription may have been of another store when an event went to it.
    return Delivery.objects.filter(subscription__in=_owned(user)).about_stores(order_stores_of(user))


def replays_of(user: Any) -> "QuerySet[Replay]":
    """The replays that the user may see."""
    return Replay.objects.all() if manages(user) else Replay.objects.filter(subscription__in=_owned(user))


def backfills_of(user: Any) -> "QuerySet[Backfill]":
    """The backfills that the user may see."""
    return Backfill.objects.all() if manages(user) else Backfill.objects.filter(subscription__in=_owned(user))


def consumers_of(user: Any) -> "QuerySet[FeedConsumer]":
    """The consumers that the user may see."""
    return FeedConsumer.objects.all() if manages(user) else own_consumers(user)


def own_consumers(user: Any) -> "QuerySet[FeedConsumer]":
    """The consumers that the user made. No other user reads by them."""
    return FeedConsumer.objects.filter(user=user)


def digests_of(user: Any) -> "QuerySet[OrderDigest]":
    """The digests of orders whose events the user may see."""
    stores = stores_of(user)
    return OrderDigest.objects.all() if ALL_STORES in stores else OrderDigest.objects.filter(store__in=stores)


def _owned(user: Any) -> list[int]:
    # Primary keys, for which the log has indexes.
    owned = Subscription.objects.seen_by_owner(user).values_list("pk", "store")
    return [pk for pk, store in owned if may_see_store(user, store)]


def visible_fields(fields: dict[str, Any], request: Request, *, hidden: Collection[str]) -> dict[str, Any]:
    """The fields of a serializer, without those named in `hidden` if the request's user may not see payloads."""
    if request.user.has_perm(permissions.VIEW_PAYLOAD):
        return fields
    return {name: field for name, field in fields.items() if name not in hidden}
