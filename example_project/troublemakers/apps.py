"""The app's name."""

from django.apps import AppConfig


class TroublemakersConfig(AppConfig):
    name = "troublemakers"
