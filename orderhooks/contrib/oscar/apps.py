"""The Django app: the page of an order's webhooks in Oscar's dashboard, and Oscar's steps as transactions."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class OrderhooksOscarConfig(AppConfig):
    name = "orderhooks.contrib.oscar"
    label = "orderhooks_oscar"
    verbose_name = _("Webhooks in Oscar's dashboard")

    def ready(self) -> None:
        from orderhooks.contrib.oscar import steps

        steps.make_atomic()
