"""The app's name."""

from django.apps import AppConfig


class OscarShopConfig(AppConfig):
    name = "oscar_shop"
