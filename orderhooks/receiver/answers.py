"""Answers: what the guards of a receiver work with, and give in place of a view's own."""

from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Manager
from django.http import HttpResponse, JsonResponse
from django.http.response import HttpResponseBase

__all__ = ["WORKING_SECONDS", "Act", "busy", "passed_over", "succeeded", "table"]

# What a guard calls to have the view act.
Act = Callable[[], HttpResponseBase]
# A request that takes longer than this is taken for dead: no sender waits as long for its answer.
WORKING_SECONDS = 60


def succeeded(response: HttpResponseBase) -> bool:
    """Whether the sender takes it for done."""
    return 200 <= response.status_code < 300


def passed_over(why: str) -> HttpResponse:
    """A success, so that the sender does not come again, though the view was not called."""
    return JsonResponse({"status": why})


def busy(why: str) -> HttpResponse:
    """The sender comes again."""
    return JsonResponse({"error": f"{why} Send it again later."}, status=409)


def table(model: str) -> "Manager[Any]":
    """The rows of a guard of the database. Looked up by name, as the module list has the models above this module.

    Raises ImproperlyConfigured if orderhooks is not among the project's apps.
    """
    if not apps.is_installed("orderhooks"):
        raise ImproperlyConfigured(
            "DatabaseReplays and DatabaseSequences keep their rows in tables of orderhooks. Add 'orderhooks' to "
            "INSTALLED_APPS and run `manage.py migrate`, or use CacheReplays and CacheSequences: these need a cache."
        )
    return apps.get_model("orderhooks", model)._base_manager
