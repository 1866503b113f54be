"""The decorator `webhook`: makes a Django view that acts on events an endpoint for webhooks."""

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, Protocol, TypeVar, cast, overload

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from orderhooks import logs, signing
from orderhooks.receiver.deduplication import Deduplicator
from orderhooks.receiver.events import InvalidWebhookError, ReceivedEvent
from orderhooks.receiver.responses import CallView
from orderhooks.receiver.staleness import CacheSequenceGuard, SequenceGuard
from orderhooks.receiver.verification import TOLERANCE_SECONDS, Secrets, verify

__all__ = ["webhook"]

logger = logs.get_logger("orderhooks.receiver")

# The response to the handshake of https://github.com/cloudevents/spec/blob/main/cloudevents/http-webhook.md, section 4.
CONSENT = {"Allow": "POST", "WebHook-Allowed-Origin": "*", "WebHook-Allowed-Rate": "*"}

ViewClass = TypeVar("ViewClass", bound=View)
Request = TypeVar("Request", bound=HttpRequest)


class _Decorator(Protocol):
    """For type checkers: a view takes the request, the event, and arguments of its URL; its endpoint takes no event."""

    @overload
    def __call__(self, view: type[ViewClass], /) -> type[ViewClass]: ...

    @overload
    def __call__(
        self, view: Callable[Concatenate[Request, ReceivedEvent, ...], HttpResponseBase | None], /
    ) -> Callable[Concatenate[Request, ...], HttpResponseBase]: ...

    @overload
    def __call__(
        self, view: Callable[Concatenate[Request, ReceivedEvent, ...], Awaitable[HttpResponseBase | None]], /
    ) -> Callable[Concatenate[Request, ...], Coroutine[Any, Any, HttpResponseBase]]: ...


def webhook(
    secret: Secrets | Callable[[], Secrets],
    *,
    deduplicate: Deduplicator | None = None,
    skip_stale: SequenceGuard | None = None,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    binary_mode: bool = False,
) -> _Decorator:
    """Make `view(request, event, …)` an endpoint for webhooks. It is called only for requests whose signature is valid.

    `secret` is the signing secret, several of them, or a callable that returns either and is called for each request.
    `deduplicate` makes sure that an event is acted on once, however often it comes. `skip_stale` skips an event that
    is older than one of the same order that was already acted on. `tolerance_seconds` is how far the request's time
    may differ from this machine's clock. `binary_mode` accepts CloudEvents in binary mode too, whose headers are not
    signed: see `verify`.

    The view returns a response, or None for 204. On a status outside 2xx, or an exception, the sender tries again. An
    invalid request gets 401, or 405 if it is no POST, without calling the view; 500 says that `secret` is invalid. A
    sender that asks by OPTIONS whether it may send, as CloudEvents demand it, is allowed to: the signature decides.

    The view may be a function, an async function, or a class-based view with the method
    `post(self, request, event, …)`. The signature replaces a login and the CSRF token, so the endpoint needs neither.
    """
    # The endpoint holds a callable and never the secret itself: error reports show the variables of every frame.
    read_secrets = secret if callable(secret) else _constant(secret)

    def read(request: HttpRequest) -> ReceivedEvent | HttpResponseBase:
        """The event, or the response to an invalid request."""
        if request.method == "OPTIONS" and "WebHook-Request-Origin" in request.headers:
            return HttpResponse(headers=CONSENT)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            return verify(
                request.body,
                request.headers,
                read_secrets(),
                tolerance_seconds=tolerance_seconds,
                binary_mode=binary_mode,
            )
        except InvalidWebhookError as error:
            logger.warning("webhook refused at %s: %s", request.path, error)
            return JsonResponse({"error": str(error)}, status=401)
        except signing.InvalidSecretError as error:
            logger.error("cannot verify webhooks at %s: %s", request.path, error)
            return JsonResponse({"error": "The receiver has no valid secret. Its log has the details."}, status=500)

    def guarded(event: ReceivedEvent, call_view: CallView) -> HttpResponseBase:
        """The view's response, or that of a guard if the view was not called."""

        def call_once() -> HttpResponseBase:
            return deduplicate.run_once(event.id, call_view) if deduplicate else call_view()

        def call_unless_stale() -> HttpResponseBase:
            return skip_stale.run_unless_stale(event, call_view) if skip_stale else call_view()

        # A cache must not remember what the database has not committed yet, so its guard is the outer one.
        if isinstance(skip_stale, CacheSequenceGuard):
            return skip_stale.run_unless_stale(event, call_once)
        return deduplicate.run_once(event.id, call_unless_stale) if deduplicate else call_unless_stale()

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

                async def call_view() -> HttpResponseBase:
                    result = view(request, event, *args, **kwargs)
                    return _response(await result if inspect.isawaitable(result) else result)

                if deduplicate is None and skip_stale is None:
                    return await call_view()
                # The guards are not async. The view's ORM calls run in the guards' thread, and so in their transaction.
                return await sync_to_async(guarded)(event, async_to_sync(call_view))

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

    return cast(_Decorator, decorate)


def _is_async(view: Callable[..., Any]) -> bool:
    """Whether the result must be awaited. A class-based view says so on its class: its `dispatch` looks synchronous."""
    instance = getattr(getattr(view, "func", view), "__self__", None)
    return iscoroutinefunction(view) or bool(getattr(instance, "view_is_async", False))


def _constant(secrets: Secrets) -> Callable[[], Secrets]:
    return lambda: secrets


def _response(result: object) -> HttpResponseBase:
    if result is None:
        return HttpResponse(status=204)
    if not isinstance(result, HttpResponseBase):
        raise TypeError(f"A webhook's view must return an HttpResponse or None, not {type(result).__name__}.")
    return result
