"""Admin sites of a store that has orders of its own, and the URLs at which the tests mount them."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.sites import all_sites
from django.urls import include, path

from orderhooks.admin import OrderWebhooksMixin
from tests.shapes import models

# A theme has a class of its own.
Site = admin.site.__class__
# Beside the pages of orderhooks.
site = Site()
for model, model_admin in admin.site._registry.items():
    site.register(model, type(model_admin))
# With the store's pages alone.
shop = Site(name="shop")
# `manage.py check` tries all sites of a process. These are of another project than the other tests.
all_sites.difference_update([site, shop])


@admin.register(models.Purchase, site=shop)
@admin.register(models.Purchase, site=site)
class PurchaseAdmin(OrderWebhooksMixin, admin.ModelAdmin):
    """Shows nobody the purchases that are secret, and nobody but superusers those that are private."""

    list_display = ["id", "state"]

    def get_queryset(self, request: Any) -> Any:
        return super().get_queryset(request).exclude(state="secret")

    def has_view_permission(self, request: Any, obj: Any = None) -> bool:
        if obj is not None and obj.state == "private" and not request.user.is_superuser:
            return False
        return super().has_view_permission(request, obj)


@admin.register(models.TextOrder, site=site)
class TextOrderAdmin(OrderWebhooksMixin, admin.ModelAdmin):
    """Has a template of its own."""

    change_form_template = "store/text_order.html"


@admin.register(models.UuidOrder, site=site)
class UuidOrderAdmin(OrderWebhooksMixin, admin.ModelAdmin):
    """Has a template without Django's block for links."""

    change_form_template = "store/uuid_order.html"


@admin.register(models.PlainOrder, site=site)
class PlainOrderAdmin(OrderWebhooksMixin, admin.ModelAdmin):
    """Shows the webhooks in the order's own page."""

    readonly_fields = ["order_webhooks"]


@admin.register(models.Document, site=site)
@admin.register(models.InvoiceOrder, site=site)
class DocumentAdmin(OrderWebhooksMixin, admin.ModelAdmin):
    """Of a model and its child, which is the order."""


urlpatterns = [
    path("admin/", site.urls),
    path("shop/", shop.urls),
    path("api/", include("orderhooks.api.urls")),
]
if "grappelli" in settings.INSTALLED_APPS:
    urlpatterns.append(path("grappelli/", include("grappelli.urls")))
