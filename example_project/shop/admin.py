"""Products in the admin: refill the shelf here. Secrets are left out."""

from django.contrib import admin

from shop.models import Product


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ["sku", "name", "price", "stock"]
    list_editable = ["stock"]
    search_fields = ["sku", "name"]
