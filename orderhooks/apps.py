"""Wiring: connect signal handlers, system checks and the sweep. No database is touched here."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class OrderhooksConfig(AppConfig):
    name = "orderhooks"
    verbose_name = _("Order webhooks")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from orderhooks import checks, signal_handlers, source_trials, tasks, triggers

        checks.register()
        source_trials.log_faults()
        signal_handlers.connect()
        tasks.connect()
        post_migrate.connect(tasks.register_sweep, sender=self)
        post_migrate.connect(triggers.install_after_migrate, sender=self)
