"""The API's URLs, in the namespace `orderhooks`."""

from django.urls import path, re_path
from rest_framework.routers import SimpleRouter

from orderhooks.api.backfills import BackfillViewSet
from orderhooks.api.consumers import ConsumerViewSet
from orderhooks.api.declarative import NamedSubscriptionViewSet
from orderhooks.api.deliveries import DeliveryViewSet
from orderhooks.api.events import EventViewSet, TopicViewSet
from orderhooks.api.openapi import routes
from orderhooks.api.order_digests import OrderDigestViewSet
from orderhooks.api.order_reports import OrderWebhooksViewSet
from orderhooks.api.order_rows import FulfillmentViewSet, PaymentViewSet, RefundViewSet
from orderhooks.api.orders import OrderViewSet
from orderhooks.api.receiver_requests import ReceiverRequestViewSet
from orderhooks.api.replays import ReplayViewSet
from orderhooks.api.resources import NotFoundView
from orderhooks.api.root import RootView
from orderhooks.api.statistics import StatisticsViewSet
from orderhooks.api.subscriptions import SubscriptionViewSet

app_name = "orderhooks"

router = SimpleRouter()
router.register("orders", OrderViewSet, basename="order")
router.register("events", EventViewSet, basename="event")
router.register("consumers", ConsumerViewSet, basename="consumer")
router.register("topics", TopicViewSet, basename="topic")
router.register("subscriptions", SubscriptionViewSet, basename="subscription")
router.register("deliveries", DeliveryViewSet, basename="delivery")
router.register("replays", ReplayViewSet, basename="replay")
router.register("backfills", BackfillViewSet, basename="backfill")
router.register("stats", StatisticsViewSet, basename="stats")

# What belongs to an order. A router of its own, because the root lists the others.
order_rows = SimpleRouter()
ORDER = "orders/(?P<public_id>[^/.]+)"
order_rows.register(f"{ORDER}/fulfillments", FulfillmentViewSet, basename="fulfillment")
order_rows.register(f"{ORDER}/payments", PaymentViewSet, basename="payment")
order_rows.register(f"{ORDER}/refunds", RefundViewSet, basename="refund")

webhooks = OrderWebhooksViewSet.as_view({"get": "retrieve"})
by_name = NamedSubscriptionViewSet.as_view({"get": "retrieve", "put": "upsert", "delete": "destroy"})

BY_RECEIVER = "^subscriptions/(?P<public_id>[^/.]+)/resume-by-receiver/"
by_receiver = ReceiverRequestViewSet.as_view({"post": "resume"})

digests = OrderDigestViewSet.as_view({"get": "list"})

# Only under the API's own prefixes, because a store may have other URLs beside them. The pattern ends in a slash, so
# that Django's APPEND_SLASH still redirects URLs that lack it.
not_found = re_path(
    rf"^({'|'.join(prefix for prefix, _view, _name in router.registry)})/[\s\S]*/\Z",
    NotFoundView.as_view(),
)

# The URLs in the OpenAPI document.
documented = [
    # First, because a number may have slashes.
    path("orders/<str:source>/<path:number>/webhooks/", webhooks, name="order-webhooks-by-number"),
    path("subscriptions/by-name/<path:name>/", by_name, name="subscription-by-name"),
    re_path(f"{BY_RECEIVER}$", by_receiver, name="subscription-resume-by-receiver"),
    path("orders/digests/", digests, name="order-digests"),
    *router.urls,
    *order_rows.urls,
]

lists = {prefix: (f"{basename}-list", view) for prefix, view, basename in router.registry}
root = path("", RootView.as_view(lists=lists), name="root")

urlpatterns = [root, *documented, *routes.schema_urls(documented), not_found]
