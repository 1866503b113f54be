"""Who may do what, and to what: Django's model permissions, and whose the subscriptions are.

Without the permission `manage_all_subscriptions` a user sees what belongs to the subscriptions that they own, and
nothing tells whether there is more.
"""

from collections.abc import Collection, Mapping
from typing import Any

from django.db.models import Model, QuerySet
from django.utils.module_loading import import_string
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from orderhooks import conf
from orderhooks.models import Delivery, Event, Order, Replay, Subscription
from orderhooks.models.deliveries import DeliveryQuerySet
from orderhooks.models.events import EventQuerySet
from orderhooks.models.subscriptions import SubscriptionQuerySet

__all__ = [
    "ALL_STORES",
    "ActionPermission",
    "deliveries_of",
    "events_of",
    "is_in_reach",
    "manages",
    "order_stores_of",
    "orders_of",
    "replays_of",
    "stores_of",
    "subscriptions_of",
    "visible",
]

MANAGE = "orderhooks.manage_all_subscriptions"
REDELIVER = "orderhooks.redeliver_delivery"
VIEW_DELIVERY, VIEW_EVENT = "orderhooks.view_delivery", "orderhooks.view_event"
VIEW_REPLAY, VIEW_SUBSCRIPTION = "orderhooks.view_replay", "orderhooks.view_subscription"
# To see what was sent and answered, beside the log itself.
VIEW_PAYLOAD = "orderhooks.view_payload"
# The store of a subscription that gets the orders of all.
ALL_STORES = ""
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


def manages(user: Any) -> bool:
    """Whether the user sees and changes the subscriptions of all."""
    return user.has_perm(MANAGE)


def stores_of(user: Any) -> frozenset[str]:
    """The stores whose orders the user may subscribe to; ALL_STORES among them stands for every one."""
    if manages(user):
        return frozenset([ALL_STORES])
    path = conf.current().stores_for_user
    return frozenset(import_string(path)(user)) if path else frozenset()


def order_stores_of(user: Any) -> frozenset[str] | None:
    """The stores whose orders the user may read and write; None: any. Without the setting STORES_FOR_USER, which says
    which stores are whose, the permissions on orders hold for those of all.
    """
    stores = stores_of(user)
    return None if ALL_STORES in stores or not conf.current().stores_for_user else stores


def orders_of(user: Any) -> "QuerySet[Order]":
    """Those that the user sees."""
    stores = order_stores_of(user)
    return Order.objects.all() if stores is None else Order.objects.filter(store__in=stores)


def subscriptions_of(user: Any) -> SubscriptionQuerySet:
    """Those that the user sees."""
    return Subscription.objects.all() if manages(user) else Subscription.objects.filter(owner=user)


def deliveries_of(user: Any) -> DeliveryQuerySet:
    """Those of the subscriptions that the user sees."""
    return Delivery.objects.all() if manages(user) else Delivery.objects.filter(subscription__in=_owned(user))


def replays_of(user: Any) -> "QuerySet[Replay]":
    """Those of the subscriptions that the user sees."""
    return Replay.objects.all() if manages(user) else Replay.objects.filter(subscription__in=_owned(user))


def events_of(user: Any) -> EventQuerySet:
    """Those of the stores that the user may subscribe to; without the tests of others' endpoints."""
    if manages(user):
        return Event.objects.all()
    stores = stores_of(user)
    events = Event.objects.of_orders()
    return events if ALL_STORES in stores else events.filter(store__in=stores)


def is_in_reach(user: Any, store: str) -> bool:
    """Whether the user may see what a subscription to this store gets: it may have been withdrawn from its owner."""
    stores = order_stores_of(user)
    return stores is None or store in stores


def _owned(user: Any) -> list[int]:
    # By key, for which the log has indexes.
    owned = Subscription.objects.filter(owner=user).values_list("pk", "store")
    return [pk for pk, store in owned if is_in_reach(user, store)]


def visible(fields: dict[str, Any], request: Request, *, hidden: Collection[str]) -> dict[str, Any]:
    """A serializer's fields, without the hidden ones if the user may not see payloads."""
    if request.user.has_perm(VIEW_PAYLOAD):
        return fields
    return {name: field for name, field in fields.items() if name not in hidden}
