"""System checks of the project's own settings: databases, time zone, mail, queue."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.db import models, router

from orderhooks import sources
from orderhooks.models import Delivery


def check_one_database(**_kwargs: Any) -> list[CheckMessage]:
    """Orders, orderhooks and users live in one database, of whatever alias: changes are captured in the order's own
    transaction, and subscriptions belong to users. The queue may be elsewhere.
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
                f"Your DATABASE_ROUTERS write orderhooks to {ours!r} and forbid to migrate it there.",
                hint=f"Let allow_migrate() return True for the app 'orderhooks' and the database {ours!r}.",
                id="orderhooks.E060",
            )
        )
    return messages


def _neighbours() -> Iterator[tuple[type[models.Model], str]]:
    for model in sources.saved_models():
        yield model, "no change of an order would be told."
    if (users := _users()) is not None:
        yield users, "subscriptions can't belong to users."


def _users() -> type[models.Model] | None:
    try:
        return apps.get_model(settings.AUTH_USER_MODEL)
    except LookupError:
        return None


def check_users(**_kwargs: Any) -> list[CheckMessage]:
    """The tables of orderhooks refer to users: Django alone would say so (fields.E300) without a remedy."""
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
    """Times are moments, not what a clock on some wall said."""
    if settings.USE_TZ:
        return []
    return [
        Error(
            "USE_TZ is False: orderhooks can't tell when an event happened, and would drop or misdate some.",
            hint="Set USE_TZ = True. Where the database holds local times, convert them first: see Django's "
            "documentation, 'Time zones', 'Migration guide'.",
            id="orderhooks.E061",
        )
    ]


def check_queue_options(**_kwargs: Any) -> list[CheckMessage]:
    """django-q2 neither sends within a save nor repeats each sweep of an outage."""
    cluster = getattr(settings, "Q_CLUSTER", None)
    if not isinstance(cluster, Mapping):
        return []  # told by `checks`
    messages: list[CheckMessage] = []
    if cluster.get("sync", False):
        messages.append(
            Warning(
                "Q_CLUSTER['sync'] is True: each save of an order waits until its webhooks are sent.",
                hint="Take 'sync' out and run manage.py qcluster; in tests call orderhooks.tasks.pump() instead.",
                id="orderhooks.W062",
            )
        )
    if cluster.get("catch_up", True):
        messages.append(
            Warning(
                "Q_CLUSTER['catch_up'] is not False: after an outage django-q2 starts the sweep of each minute missed.",
                hint="Set Q_CLUSTER['catch_up'] = False. One sweep finds all that waits.",
                id="orderhooks.W063",
            )
        )
    return messages


def check_mail(**_kwargs: Any) -> list[CheckMessage]:
    """Django 6.1: a project that has moved to MAILERS has a default one, which the e-mails about endpoints go by."""
    mailers = getattr(settings, "MAILERS", None)
    if mailers is None or "default" in mailers:
        return []
    return [
        Warning(
            "MAILERS has no 'default': nobody would get the e-mails about endpoints that fail.",
            hint='Set MAILERS["default"]; to send no e-mails, give it Django\'s dummy backend.',
            id="orderhooks.W064",
        )
    ]
