"""The API's addresses; names are in the namespace `orderhooks`."""

from rest_framework.routers import SimpleRouter

from orderhooks.api.deliveries import DeliveryViewSet
from orderhooks.api.events import EventViewSet, TopicViewSet
from orderhooks.api.orders import OrderViewSet
from orderhooks.api.subscriptions import SubscriptionViewSet

app_name = "orderhooks"

router = SimpleRouter()
router.register("orders", OrderViewSet, basename="order")
router.register("events", EventViewSet, basename="event")
router.register("topics", TopicViewSet, basename="topic")
router.register("subscriptions", SubscriptionViewSet, basename="subscription")
router.register("deliveries", DeliveryViewSet, basename="delivery")

urlpatterns = router.urls
