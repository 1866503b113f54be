"""`Idempotency-Key`: a POST that is repeated within a day gets the first response again and has no other effect.

The kind `idempotency_keys` of RETENTION_DAYS can make that longer.

Source: the IETF draft "The Idempotency-Key HTTP Header Field" (draft-ietf-httpapi-idempotency-key-header). It leaves
open how errors are treated: only successful responses are stored here, so that a client can correct a request and send
it with the same key.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import encryption
from orderhooks.api.protocol.drf import ApiRenderer
from orderhooks.api.protocol.problems import ConflictError
from orderhooks.encryption import Purpose
from orderhooks.models import IdempotentRequest
from orderhooks.models.idempotency import digest_of

__all__ = ["HEADER", "REPLAYED_HEADER", "run_once"]

HEADER = "Idempotency-Key"
# "true" in a response that was stored for an earlier request.
REPLAYED_HEADER = "Idempotent-Replayed"
MAX_KEY_LENGTH = 255
KEY_PATTERN = f"^[!-~]{{1,{MAX_KEY_LENGTH}}}$"
STORED_HEADERS = ("ETag", "Location")

Handler = Callable[..., Response]


def run_once(handler: Handler, request: Request, *, rights: str, in_transaction: bool) -> Handler:
    """Wrap the handler of a request that has a key, so that it runs once per user, key and day.

    `rights` stands for what the user may do and see: with other rights than at the first request, the user does not get
    its response.

    The handler runs in the transaction that stores its response: if the process dies, neither is committed, and a
    second request with the key waits for the first. With `in_transaction=False`, for handlers that wait for the
    network, two simultaneous requests both run.

    Raises ValidationError for an invalid key. The wrapped handler raises ConflictError if the key came with another
    request.
    """
    key, fingerprint = request.headers[HEADER], _fingerprint(request, rights)
    if not re.fullmatch(KEY_PATTERN[1:-1], key):
        text = f"Send 1 to {MAX_KEY_LENGTH} visible ASCII characters, such as a new UUID for each request."
        raise ValidationError({HEADER: [text]})
    if not in_transaction:
        return _without_transaction(handler, key, fingerprint)

    @sensitive_variables()
    def run(request: Request, *args: Any, **kwargs: Any) -> Response:
        with transaction.atomic(using=IdempotentRequest.objects.db):
            stored, is_new = _claim(request, key, fingerprint)
            if not is_new:
                return _stored_response(stored, fingerprint)
            response = handler(request, *args, **kwargs)
            _store(stored, response)
            return response

    return run


def _without_transaction(handler: Handler, key: str, fingerprint: str) -> Handler:
    @sensitive_variables()
    def run(request: Request, *args: Any, **kwargs: Any) -> Response:
        user: Any = request.user
        if stored := IdempotentRequest.objects.find(user.pk, key, now=timezone.now()):
            return _stored_response(stored, fingerprint)
        response = handler(request, *args, **kwargs)
        with transaction.atomic(using=IdempotentRequest.objects.db):
            stored, is_new = _claim(request, key, fingerprint)
            if is_new:
                _store(stored, response)
        return response

    return run


def _claim(request: Request, key: str, fingerprint: str) -> tuple[IdempotentRequest, bool]:
    user: Any = request.user
    return IdempotentRequest.objects.claim(user.pk, key, fingerprint=fingerprint, now=timezone.now())


def _fingerprint(request: Request, rights: str) -> str:
    # The raw body is available only before DRF parses it.
    body = request._request.body
    about = (str(request.method), request.get_full_path(), rights)
    return digest_of(b"\n".join([*(one.encode() for one in about), body]))


@sensitive_variables()
def _store(stored: IdempotentRequest, response: Response) -> None:
    stored.status_code = response.status_code
    stored.response = encryption.encrypt(ApiRenderer().render(response.data).decode(), Purpose.RESPONSE)
    stored.headers = {name: response[name] for name in STORED_HEADERS if name in response}
    stored.save(update_fields=["status_code", "response", "headers"])


@sensitive_variables()
def _stored_response(stored: IdempotentRequest, fingerprint: str) -> Response:
    if stored.fingerprint != fingerprint:
        raise ConflictError(
            f"This {HEADER} came with another request before, or your permissions have changed since. Use "
            "a new key for a new request.",
            code="idempotency_key_reused",
        )
    try:
        data = json.loads(encryption.decrypt(stored.response, Purpose.RESPONSE) or "null")
    except encryption.UndecryptableError as error:
        raise ConflictError(str(error), code="response_unreadable") from None
    return Response(data, status=stored.status_code, headers={**stored.headers, REPLAYED_HEADER: "true"})
