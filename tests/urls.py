"""What a store mounts: the admin, the API and the probes."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/", include("orderhooks.api.urls")),
    path("health/", include("orderhooks.health.urls")),
]
if "grappelli" in settings.INSTALLED_APPS:
    urlpatterns.append(path("grappelli/", include("grappelli.urls")))
