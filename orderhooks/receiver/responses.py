"""What deduplication and sequence guards share: the responses that they give themselves, and their time limit."""

from collections.abc import Callable

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse, JsonResponse
from django.http.response import HttpResponseBase

__all__ = ["PROCESSING_SECONDS", "CallView", "abort", "busy", "disable", "is_success", "require_tables", "skipped"]

# Source: https://docs.svix.com/receiving/delivery-control
HEADER = "webhook-delivery"

# Calls the view with the event that was received.
CallView = Callable[[], HttpResponseBase]
# A request that takes longer counts as dead. No sender waits this long for a response.
PROCESSING_SECONDS = 60


def is_success(response: HttpResponseBase) -> bool:
    """Whether the sender records the delivery as succeeded: the status is 2xx."""
    return 200 <= response.status_code < 300


def abort(reason: str) -> HttpResponse:
    """422: this webhook is refused, and the sender must not try it again. `reason` is for the people who run it.

    For what no later attempt can change, such as an order that the receiver can't take. Return it from a view.
    """
    return JsonResponse({"error": reason}, status=422, headers={HEADER: "abort-message"})


def disable(reason: str) -> HttpResponse:
    """410: the sender must send this endpoint nothing more. `reason` is for the people who run it.

    Nothing is lost: what comes later is held until the subscription is resumed. Return it from a view.
    """
    return JsonResponse({"error": reason}, status=410, headers={HEADER: "disable"})


def skipped(reason: str) -> HttpResponse:
    """200 without calling the view: the sender does not try again."""
    return JsonResponse({"status": reason})


def busy(reason: str) -> HttpResponse:
    """409: the sender tries again later."""
    return JsonResponse({"error": f"{reason} Send it again later."}, status=409)


def require_tables() -> None:
    """Raises ImproperlyConfigured if orderhooks is not among the project's apps: then it has no tables."""
    if not apps.is_installed("orderhooks"):
        raise ImproperlyConfigured(
            "DatabaseDeduplicator and DatabaseSequenceGuard store rows in tables of orderhooks. Add 'orderhooks' to "
            "INSTALLED_APPS and run `manage.py migrate`. Or use CacheDeduplicator and CacheSequenceGuard, which need "
            "only a cache."
        )
