"""Declares the event where the peer has events."""

from django.apps import AppConfig, apps


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self) -> None:
        if apps.is_installed("django_domain_events"):
            from shop import events  # noqa: F401
