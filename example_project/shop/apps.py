"""The app's name."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "shop"
