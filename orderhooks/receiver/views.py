"""Views: the endpoint of webhooks in a Django project, round a view that acts on events."""

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt

from orderhooks import signing
from orderhooks.receiver.answers import Act
from orderhooks.receiver.events import InvalidWebhookError, ReceivedEvent
from orderhooks.receiver.repetition import Replays
from orderhooks.receiver.staleness import CacheSequences, Sequences
from orderhooks.receiver.verifying import TOLERANCE_SECONDS, Secrets, verify

__all__ = ["webhook"]

logger = logging.getLogger("orderhooks.receiver")

# A function, with def or async def, or a class of views.
View = TypeVar("View", bound=Callable[..., Any])


def webhook(
    secret: Secrets | Callable[[], Secrets],
    *,
    replays: Replays | None = None,
    sequences: Sequences | None = None,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> Callable[[View], View]:
    """Make `view(request, event, …)` the endpoint of webhooks: it is called for those alone whose signature holds.

    `secret` is one, a list of them, or a callable that is asked at each request. The view answers with a response, or
    None for 204; anything but 2xx makes the sender try again. Without `replays` a webhook may be acted on twice; with
    `sequences` the view is not called for an order's event that is older than one it has acted on.

    The view may be a function, an async one, or a class of views, whose method is `post(self, request, event, …)`. The
    signature stands in for a login and for the CSRF token: neither is asked for.
    """
    # The endpoint holds a callable and never the text: error reports show the variables of every frame.
    read_secrets = secret if callable(secret) else _returning(secret)

    def read(request: HttpRequest) -> ReceivedEvent | HttpResponseBase:
        """The event, or the answer to a request that is none."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            return verify(request.body, request.headers, read_secrets(), tolerance_seconds=tolerance_seconds)
        except InvalidWebhookError as error:
            logger.warning("webhook refused at %s: %s", request.path, error)
            return JsonResponse({"error": str(error)}, status=401)
        except signing.InvalidSecretError as error:
            logger.error("no webhook can be checked at %s: %s", request.path, error)
            return JsonResponse({"error": "The receiver is not set up; its log says why."}, status=500)

    def guarded(event: ReceivedEvent, act: Act) -> HttpResponseBase:
        """What `act` answers, or what the guards answer in its place."""

        def act_once() -> HttpResponseBase:
            return replays.once(event.id, act) if replays else act()

        def act_in_turn() -> HttpResponseBase:
            return sequences.in_turn(event, act) if sequences else act()

        # A cache must remember nothing that the database has not committed yet: its guard is the outer one.
        if isinstance(sequences, CacheSequences):
            return sequences.in_turn(event, act_once)
        return replays.once(event.id, act_in_turn) if replays else act_in_turn()

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        if isinstance(view, type):
            return method_decorator(decorate, name="dispatch")(view)

        if _is_async(view):

            @login_not_required
            @csrf_exempt
            @functools.wraps(view)
            async def async_endpoint(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
                event = await sync_to_async(read)(request)
                if not isinstance(event, ReceivedEvent):
                    return event

                async def act() -> HttpResponseBase:
                    answer = view(request, event, *args, **kwargs)
                    return _response(await answer if inspect.isawaitable(answer) else answer)

                if replays is None and sequences is None:
                    return await act()
                # The guards are not async. What the view writes by the ORM is written in their thread, and so in their
                # transaction.
                return await sync_to_async(guarded)(event, async_to_sync(act))

            return async_endpoint

        @login_not_required
        @csrf_exempt
        @functools.wraps(view)
        def endpoint(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            event = read(request)
            if not isinstance(event, ReceivedEvent):
                return event
            return guarded(event, lambda: _response(view(request, event, *args, **kwargs)))

        return endpoint

    return decorate  # type: ignore[return-value]


def _is_async(view: Callable[..., Any]) -> bool:
    """Whether it has to be awaited. The `dispatch` of a class of views does not look so: its class tells."""
    instance = getattr(getattr(view, "func", view), "__self__", None)
    return iscoroutinefunction(view) or bool(getattr(instance, "view_is_async", False))


def _returning(secrets: Secrets) -> Callable[[], Secrets]:
    return lambda: secrets


def _response(answer: object) -> HttpResponseBase:
    if answer is None:
        return HttpResponse(status=204)
    if not isinstance(answer, HttpResponseBase):
        raise TypeError(f"A webhook's view returns an HttpResponse or None, not {type(answer).__name__}.")
    return answer
