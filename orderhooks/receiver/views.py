"""Views: the endpoint of webhooks in a Django project, round a view that acts on events."""

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from orderhooks import signing
from orderhooks.receiver.events import InvalidWebhookError
from orderhooks.receiver.repetition import Replays
from orderhooks.receiver.staleness import CacheSequences, Sequences
from orderhooks.receiver.verifying import TOLERANCE_SECONDS, Secrets, verify

__all__ = ["webhook"]

logger = logging.getLogger("orderhooks.receiver")


def webhook(
    secret: Secrets | Callable[[], Secrets],
    *,
    replays: Replays | None = None,
    sequences: Sequences | None = None,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> Callable[[Callable[..., HttpResponseBase | None]], Callable[..., HttpResponseBase]]:
    """Make `view(request, event, …)` the endpoint of webhooks: it is called for those alone whose signature holds.

    `secret` is one, a list of them, or a callable that is asked at each request. The view answers with a response, or
    None for 204; anything but 2xx makes the sender try again. Without `replays` a webhook may be acted on twice; with
    `sequences` the view is not called for an order's event that is older than one it has acted on.
    """
    # The endpoint holds a callable and never the text: error reports show the variables of every frame.
    read_secrets = secret if callable(secret) else _returning(secret)

    def decorate(view: Callable[..., HttpResponseBase | None]) -> Callable[..., HttpResponseBase]:
        if inspect.iscoroutinefunction(view):
            raise TypeError("webhook() takes a view made with def; call verify() yourself in an async one.")

        @csrf_exempt
        @functools.wraps(view)
        def endpoint(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if request.method != "POST":
                return HttpResponseNotAllowed(["POST"])
            try:
                event = verify(request.body, request.headers, read_secrets(), tolerance_seconds=tolerance_seconds)
            except InvalidWebhookError as error:
                logger.warning("webhook refused at %s: %s", request.path, error)
                return JsonResponse({"error": str(error)}, status=401)
            except signing.InvalidSecretError as error:
                logger.error("no webhook can be checked at %s: %s", request.path, error)
                return JsonResponse({"error": "The receiver is not set up; its log says why."}, status=500)

            def act() -> HttpResponseBase:
                return _response(view(request, event, *args, **kwargs))

            def act_once() -> HttpResponseBase:
                return replays.once(event.id, act) if replays else act()

            def act_in_turn() -> HttpResponseBase:
                return sequences.in_turn(event, act) if sequences else act()

            # A cache must remember nothing that the database has not committed yet: its guard is the outer one.
            if isinstance(sequences, CacheSequences):
                return sequences.in_turn(event, act_once)
            return replays.once(event.id, act_in_turn) if replays else act_in_turn()

        return endpoint

    return decorate


def _returning(secrets: Secrets) -> Callable[[], Secrets]:
    return lambda: secrets


def _response(answer: object) -> HttpResponseBase:
    if answer is None:
        return HttpResponse(status=204)
    if not isinstance(answer, HttpResponseBase):
        raise TypeError(f"A webhook's view returns an HttpResponse or None, not {type(answer).__name__}.")
    return answer
