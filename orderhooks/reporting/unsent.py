"""Deliveries that could not be made, because of what is configured of their subscription, for admin and commands."""

from collections.abc import Collection
from datetime import datetime, timedelta

from django.utils.translation import gettext as _

from orderhooks.models import Subscription
from orderhooks.reporting.durations import relative_text

__all__ = ["unsent_problem", "unsent_problems"]

# A failure that was longer ago no longer holds: the retry table would have tried again.
LATELY = timedelta(days=2)
# The list of subscriptions shows the others.
MOST_SHOWN = 10


def unsent_problem(subscription: Subscription, *, now: datetime) -> str:
    """Why a delivery could not be made lately, with the remedy; otherwise ""."""
    at = subscription.last_unsent_at
    if at is None or at < now - LATELY:
        return ""
    text = _("A delivery could not be made %(relative)s: %(detail)s")
    return text % {"relative": relative_text(at, now=now), "detail": subscription.last_unsent}


def unsent_problems(*, now: datetime, stores: Collection[str] | None = None, alarms: bool = True) -> list[str]:
    """The same of subscriptions that have such a problem, MOST_SHOWN at most, the latest first. One query.

    `stores`: only of subscriptions to these stores; None for all. `alarms`: of operational ones too.
    """
    found = Subscription.objects.of_stores(stores, operational=alarms).filter(last_unsent_at__gte=now - LATELY)
    return [
        f"{one.name} ({one.public_id}): {unsent_problem(one, now=now)}"
        for one in found.order_by("-last_unsent_at", "pk")[:MOST_SHOWN]
    ]
