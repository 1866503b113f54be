"""The admin's history also shows what users do by the API."""

from typing import Any

from django.apps import apps
from django.db import models
from rest_framework.request import Request

__all__ = ["log_addition", "log_change", "log_deletion", "log_receivers_change"]


def log_addition(request: Request, row: models.Model) -> None:
    """Record that the request's user created this row."""
    _log(request, row, "ADDITION", "Added by the API.")


def log_change(request: Request, row: models.Model, message: str) -> None:
    """Record that the request's user changed this row. `message` is a sentence such as "Paused.", without secrets."""
    _log(request, row, "CHANGE", f"By the API: {message}")


def log_deletion(request: Request, row: models.Model) -> None:
    """Record that the request's user deletes this row. Call it before the deletion."""
    _log(request, row, "DELETION", "Deleted by the API.")


def log_receivers_change(subscription: Any, message: str) -> None:
    """Record that the subscription's receiver had it changed. An entry needs a user: that is the owner, if any."""
    if subscription.owner is not None:
        _log_as(subscription.owner, subscription, "CHANGE", f"Its receiver asked for this, not the user: {message}")


def _log(request: Request, row: models.Model, flag: str, message: str) -> None:
    _log_as(request.user, row, flag, message)


def _log_as(user: Any, row: models.Model, flag: str, message: str) -> None:
    if not apps.is_installed("django.contrib.admin"):
        return
    from django.contrib.admin import models as history

    history.LogEntry.objects.log_actions(user.pk, [row], getattr(history, flag), message, single_object=True)
