"""Wiring: connect signal handlers and system checks. No database is touched here."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class OrderhooksConfig(AppConfig):
    name = "orderhooks"
    verbose_name = _("Order webhooks")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from orderhooks import checks, signal_handlers

        checks.register()
        signal_handlers.connect()
