"""The shop's pages, the API, the admin, and the receivers' endpoints side by side."""

from django.contrib import admin
from django.urls import include, path
from rest_framework.authtoken.views import obtain_auth_token

from crm.receivers import customers
from fulfilment.receivers import parcels
from inventory.receivers import stock
from mailroom.receivers import mails
from troublemakers.receivers import flaky

receivers = [
    path("webhooks/inventory/", stock),
    path("webhooks/fulfilment/", parcels),
    path("webhooks/mailroom/", mails),
    path("webhooks/crm/", customers),
    path("webhooks/flaky/", flaky),
]
urlpatterns = [
    path("", include("shop.urls")),
    path("api/token/", obtain_auth_token),
    path("api/", include("orderhooks.api.urls")),
    path("admin/", admin.site.urls),
    *receivers,
]
