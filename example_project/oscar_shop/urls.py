"""Oscar's pages and dashboard, the page of an order's webhooks, the API, the admin, and the receivers' endpoints."""

from django.apps import apps
from django.contrib import admin
from django.urls import include, path
from rest_framework.authtoken.views import obtain_auth_token

from shop_site.urls import receivers

urlpatterns = [
    *receivers,
    path("admin/", admin.site.urls),
    path("api/token/", obtain_auth_token),
    path("api/", include("orderhooks.api.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("dashboard/orders/", include("orderhooks.contrib.oscar.urls")),
    path("", include(apps.get_app_config("oscar").urls[0])),  # type: ignore[attr-defined]
]
