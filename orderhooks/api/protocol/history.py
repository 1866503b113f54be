"""History: what is done by the API stands beside what is done in the admin, with the user."""

from typing import Any

from django.apps import apps
from django.db import models
from rest_framework.request import Request

__all__ = ["note_addition", "note_change", "note_deletion"]


def note_addition(request: Request, row: models.Model) -> None:
    _note(request, row, "ADDITION", "Added by the API.")


def note_change(request: Request, row: models.Model, message: str) -> None:
    """The message is a sentence, such as "Paused."; it must hold no secret."""
    _note(request, row, "CHANGE", f"By the API: {message}")


def note_deletion(request: Request, row: models.Model) -> None:
    """Before the row is gone."""
    _note(request, row, "DELETION", "Deleted by the API.")


def _note(request: Request, row: models.Model, flag: str, message: str) -> None:
    if not apps.is_installed("django.contrib.admin"):
        return
    from django.contrib.admin import models as history

    user: Any = request.user
    history.LogEntry.objects.log_actions(user.pk, [row], getattr(history, flag), message, single_object=True)
