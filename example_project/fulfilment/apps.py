"""The app's name."""

from django.apps import AppConfig


class FulfilmentConfig(AppConfig):
    name = "fulfilment"
