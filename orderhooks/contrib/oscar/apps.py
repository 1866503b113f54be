"""The Django app: the page of an order's webhooks in Oscar's dashboard, and Oscar's steps as transactions."""

from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.utils.translation import gettext_lazy as _


class OrderhooksOscarConfig(AppConfig):
    name = "orderhooks.contrib.oscar"
    label = "orderhooks_oscar"
    verbose_name = _("Webhooks in Oscar's dashboard")

    def ready(self) -> None:
        from orderhooks.contrib.oscar import steps

        steps.make_atomic()
        checks.register(check_source)


def check_source(**_kwargs: Any) -> list[checks.CheckMessage]:
    """One of the order sources must be that of Oscar's orders."""
    from orderhooks.contrib.oscar import steps

    if steps.oscar_sources():
        return []
    return [
        checks.Warning(
            "orderhooks.contrib.oscar is installed, and no order of Oscar is watched.",
            hint="Write ORDERHOOKS = {'SOURCES': ['orderhooks.contrib.oscar.OscarOrders']}, or name a subclass of it.",
            id="orderhooks.W080",
        )
    ]
