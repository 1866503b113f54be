"""Checks of the project's own settings: databases, users, time zone, e-mail."""

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.db import models, router

from orderhooks import sources
from orderhooks.models import Delivery


def check_one_database(**_kwargs: Any) -> list[CheckMessage]:
    """Orders, orderhooks and users must be in one database.

    Changes are captured in the transaction of the order, and subscriptions belong to users. The queue may be elsewhere.
    """
    ours = router.db_for_write(Delivery)
    messages: list[CheckMessage] = []
    for model, why in _neighbours():
        theirs = router.db_for_write(model)
        if theirs != ours:
            messages.append(
                Error(
                    f"{model._meta.label} is written to the database {theirs!r}, and orderhooks to {ours!r}: {why}",
                    hint=f"Let your DATABASE_ROUTERS name one database for both: add 'orderhooks' to what is routed to "
                    f"{theirs!r}, migrate it there, and route users (auth) there too.",
                    id="orderhooks.E060",
                )
            )
    if not router.allow_migrate_model(ours, Delivery):
        messages.append(
            Error(
                f"Your DATABASE_ROUTERS write orderhooks to {ours!r} and forbid its migrations there.",
                hint=f"Let allow_migrate() return True for the app 'orderhooks' and the database {ours!r}.",
                id="orderhooks.E060",
            )
        )
    return messages


def _neighbours() -> Iterator[tuple[type[models.Model], str]]:
    for model in sources.saved_models():
        yield model, "no change of an order would be captured."
    if (users := _users()) is not None:
        yield users, "subscriptions can't belong to users."


def _users() -> type[models.Model] | None:
    try:
        return apps.get_model(settings.AUTH_USER_MODEL)
    except LookupError:
        return None


def check_users(**_kwargs: Any) -> list[CheckMessage]:
    """The user model must be installed, because our tables refer to it. Django's check (fields.E300) has no remedy."""
    if _users() is not None:
        return []
    return [
        Error(
            f"Subscriptions belong to users, and AUTH_USER_MODEL {settings.AUTH_USER_MODEL!r} is not installed.",
            hint="Add 'django.contrib.auth' and 'django.contrib.contenttypes' to INSTALLED_APPS, or the app of your "
            "own user model. A project that only receives webhooks can leave 'orderhooks' out of INSTALLED_APPS.",
            id="orderhooks.E065",
        )
    ]


def check_time_zone(**_kwargs: Any) -> list[CheckMessage]:
    """USE_TZ must be on, because events have points in time, not local times."""
    if settings.USE_TZ:
        return []
    return [
        Error(
            "USE_TZ is False: orderhooks can't know when an event happened, and would drop or misdate some.",
            hint="Set USE_TZ = True. If the database holds local times, convert them first: see Django's "
            "documentation, 'Time zones', 'Migration guide'.",
            id="orderhooks.E061",
        )
    ]


def check_mail(**_kwargs: Any) -> list[CheckMessage]:
    """MAILERS (Django 6.1) must have a default, because the e-mails about endpoints use it."""
    mailers = getattr(settings, "MAILERS", None)
    if mailers is None or "default" in mailers:
        return []
    return [
        Warning(
            "MAILERS has no 'default': nobody would get the e-mails about endpoints that fail.",
            hint='Set MAILERS["default"]. To send no e-mails, give it Django\'s dummy backend.',
            id="orderhooks.W064",
        )
    ]
