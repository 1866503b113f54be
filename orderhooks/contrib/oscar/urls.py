"""The page of an order's webhooks, to be included beside Oscar's dashboard.

path("dashboard/orders/", include("orderhooks.contrib.oscar.urls")),
"""

from django.urls import path

from orderhooks.contrib.oscar.views import OrderWebhooksView

app_name = "orderhooks_oscar"
urlpatterns = [path("<str:number>/webhooks/", OrderWebhooksView.as_view(), name="order-webhooks")]
