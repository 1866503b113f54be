"""For projects that receive webhooks: `verify` for any framework, `webhook` for a Django view, guards against replays.

Needs nothing of the sender but the secret; a receiver without `DatabaseReplays` needs no table of orderhooks either.
"""

import functools
import hashlib
import inspect
import json
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from django.apps import apps
from django.core.cache import caches
from django.db import IntegrityError, router, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_variables

from orderhooks import signing

__all__ = ["CacheReplays", "DatabaseReplays", "InvalidWebhookError", "ReceivedEvent", "Replays", "verify", "webhook"]

logger = logging.getLogger(__name__)

TOLERANCE_SECONDS = 300.0
# Twelve digits reach the year 33658; more would only make trouble for the clock's arithmetic.
MAX_TIMESTAMP_DIGITS = 12
# What `Receipt.webhook_id` holds; an event's id has 30.
MAX_ID_LENGTH = 200
# A request that takes longer than this is taken for dead: no sender waits as long for its answer.
WORKING_SECONDS = 60

Secrets = str | Iterable[str]
Act = Callable[[], HttpResponseBase]


class InvalidWebhookError(Exception):
    """A request that is no webhook of ours; the text says what is wrong and what to do, and never holds the secret."""


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event whose signature holds. All of it was signed except `attempt`, which serves logs alone."""

    id: str
    topic: str
    occurred_at: datetime
    sequence: int
    store: str
    api_version: str
    data: dict[str, Any]
    attempt: int


@sensitive_variables("secrets", "keys")
def verify(
    body: bytes,
    headers: Mapping[str, str],
    secrets: Secrets,
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    now: float | None = None,
) -> ReceivedEvent:
    """The event in a request: its raw body, its headers (in any case), and the secrets that may have signed.

    A secret is what both sides share (`whsec_…`), or the sender's public key (`whpk_…`).

    `now` is in Unix seconds. Raises InvalidWebhookError for the request's faults and signing.InvalidSecretError for
    a secret that can't be one. Source: https://github.com/standard-webhooks/standard-webhooks
    """
    keys = [secrets] if isinstance(secrets, str) else list(secrets or ())
    if not keys:
        raise signing.InvalidSecretError(
            "There is no secret to check signatures with. Give the one that the sender showed with the subscription."
        )
    if not isinstance(body, bytes):
        raise TypeError("verify() needs the raw body as bytes: what was decoded or parsed is not what was signed.")
    given = {name.lower(): value for name, value in headers.items()}
    webhook_id = _required(given, "webhook-id")
    if len(webhook_id) > MAX_ID_LENGTH or not webhook_id.isprintable():
        raise InvalidWebhookError(f"The webhook-id is longer than {MAX_ID_LENGTH} characters or not printable.")
    timestamp = _timestamp(
        _required(given, "webhook-timestamp"),
        now=time.time() if now is None else now,
        tolerance_seconds=tolerance_seconds,
    )
    if not signing.verify(keys, _required(given, "webhook-signature"), webhook_id, timestamp, body):
        raise InvalidWebhookError(
            "No signature fits. Compare the secret with the sender's, and check that the body is the raw one: "
            "JSON that was parsed and written again is not what was signed."
        )
    return _event(webhook_id, body, attempt=given.get("webhook-attempt", ""))


def _required(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if not value:
        raise InvalidWebhookError(
            f"The header {name} is missing. Either this is no webhook, or a proxy in between drops the header."
        )
    if not value.isascii():
        raise InvalidWebhookError(f"The header {name} is not ASCII. Either this is no webhook, or it was damaged.")
    return value


def _timestamp(text: str, *, now: float, tolerance_seconds: float) -> int:
    # The digits come first: int() would also take "-1", " 1", "1_0" and digits of other scripts.
    if not (text.isascii() and text.isdigit()) or len(text) > MAX_TIMESTAMP_DIGITS:
        raise InvalidWebhookError("The webhook-timestamp is no time in whole Unix seconds.")
    timestamp = int(text)
    if timestamp < now - tolerance_seconds:
        raise InvalidWebhookError(
            f"The webhook-timestamp is more than {tolerance_seconds:g} s old. Check the clock of this machine; "
            "if it is right, the request was held up or is a replay."
        )
    if timestamp > now + tolerance_seconds:
        raise InvalidWebhookError(
            f"The webhook-timestamp lies more than {tolerance_seconds:g} s ahead. Check the clocks of both machines."
        )
    return timestamp


def _event(webhook_id: str, body: bytes, *, attempt: str) -> ReceivedEvent:
    try:
        content = json.loads(body)
        moment = datetime.fromisoformat(content["timestamp"])
        event = ReceivedEvent(
            id=webhook_id,
            topic=content["type"],
            occurred_at=moment,
            sequence=content["sequence"],
            store=content["store"],
            api_version=content["api_version"],
            data=content["data"],
            attempt=int(attempt) if attempt.isascii() and attempt.isdigit() and len(attempt) < 10 else 1,
        )
        texts = (event.topic, event.store, event.api_version)
        shaped = all(isinstance(text, str) for text in texts) and isinstance(event.data, dict)
        if not shaped or type(event.sequence) is not int or moment.tzinfo is None:
            raise ValueError("a field has the wrong type")
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise InvalidWebhookError(
            "The signature holds, but the body is no event of orderhooks: is this the endpoint of another sender?"
        ) from error
    return event


class Replays(Protocol):
    """Sees to it that a webhook that was acted on is not acted on again."""

    def once(self, webhook_id: str, act: Act) -> HttpResponseBase:
        """What `act` answers, or an answer in its place. An `act` that raises or answers outside 2xx leaves no mark."""
        ...


class DatabaseReplays:
    """Remembers webhooks in the table of `Receipt`, in one transaction with what the view writes to that database.

    So both are there or neither is, whatever dies in between. `name` tells receivers that share the table apart.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name

    def once(self, webhook_id: str, act: Act) -> HttpResponseBase:
        # Looked up here because the module list has the models above this module.
        receipts = apps.get_model("orderhooks", "Receipt")._base_manager
        using = router.db_for_write(receipts.model)
        with transaction.atomic(using=using):
            try:
                # The INSERT comes first: a second request with this id waits here until the first one is through,
                # and SQLite takes its write lock before anything was read.
                with transaction.atomic(using=using):
                    receipt = receipts.using(using).create(receiver=self.name, webhook_id=webhook_id)
            except IntegrityError:
                return _duplicate()
            response = act()
            if _succeeded(response):
                # Raises if the view has swallowed a database error: the commit would be a rollback under a 2xx answer.
                receipt.refresh_from_db(using=using)
            else:
                transaction.set_rollback(True, using=using)
        return response


class CacheReplays:
    """Remembers webhooks in a cache that all of the receiver's processes share, for `ttl_seconds`.

    A request whose twin is still being worked on is answered 409, so that the sender comes again. `name` tells
    receivers that share the cache apart.
    """

    def __init__(self, name: str = "", *, cache: str = "default", ttl_seconds: float = 7 * 24 * 3600) -> None:
        self.name = name
        self.cache = cache
        self.ttl_seconds = ttl_seconds

    def once(self, webhook_id: str, act: Act) -> HttpResponseBase:
        cache = caches[self.cache]
        # A digest, since not every cache takes every character or length as a key.
        key = "orderhooks:receipt:" + hashlib.sha256(f"{self.name}\0{webhook_id}".encode()).hexdigest()
        working = f"working {uuid.uuid4()}"
        if not cache.add(key, working, WORKING_SECONDS):
            if cache.get(key) == "done":
                return _duplicate()
            return JsonResponse({"error": "This webhook is being worked on. Send it again later."}, status=409)
        succeeded = False
        try:
            response = act()
            succeeded = _succeeded(response)
        finally:
            # A view that took too long has lost its mark; another request's is not ours to take away.
            if not succeeded and cache.get(key) == working:
                cache.delete(key)
        if succeeded:
            cache.set(key, "done", self.ttl_seconds)
        return response


def webhook(
    secret: Secrets | Callable[[], Secrets],
    *,
    replays: Replays | None = None,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> Callable[[Callable[..., HttpResponseBase | None]], Callable[..., HttpResponseBase]]:
    """Make `view(request, event, …)` the endpoint of webhooks: it is called for those alone whose signature holds.

    `secret` is one, a list of them, or a callable that is asked at each request. The view answers with a response, or
    None for 204; anything but 2xx makes the sender try again. Without `replays` a webhook may be acted on twice.
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

            return replays.once(event.id, act) if replays else act()

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


def _succeeded(response: HttpResponseBase) -> bool:
    return 200 <= response.status_code < 300


def _duplicate() -> HttpResponse:
    return JsonResponse({"status": "This webhook was acted on before."})
