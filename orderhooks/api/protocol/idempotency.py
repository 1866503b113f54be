"""`Idempotency-Key`: a POST that comes again within a day is answered as the first time, and does nothing more.

Source: the IETF draft "The Idempotency-Key HTTP Header Field" (draft-ietf-httpapi-idempotency-key-header). It leaves
open what becomes of errors: only what succeeded is kept here, so that a corrected request may come under the same key.
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
from orderhooks.api.protocol.drf import Json
from orderhooks.api.protocol.problems import ConflictError
from orderhooks.encryption import Purpose
from orderhooks.models import IdempotentRequest
from orderhooks.models.idempotency import digest_of

__all__ = ["HEADER", "REPLAYED", "answered_once"]

HEADER = "Idempotency-Key"
# Of an answer that was given before.
REPLAYED = "Idempotent-Replayed"
LONGEST = 255
FORM = f"^[!-~]{{1,{LONGEST}}}$"
KEPT_HEADERS = ("ETag", "Location")

Handler = Callable[..., Response]


def answered_once(handler: Handler, request: Request, *, in_transaction: bool) -> Handler:
    """The handler of a request that carries a key. It runs in the transaction that keeps its answer: a process that
    dies leaves neither, and another request of the same key waits.

    If it can't run in one, as it waits for somebody else's answer, two that come at the same moment both run.
    """
    key, fingerprint = request.headers[HEADER], _fingerprint(request)
    if not re.fullmatch(FORM[1:-1], key):
        text = f"Give 1 to {LONGEST} visible ASCII characters, such as a new UUID for each request."
        raise ValidationError({HEADER: [text]})
    if not in_transaction:
        return _looked_up(handler, key, fingerprint)

    @sensitive_variables()
    def run(request: Request, *args: Any, **kwargs: Any) -> Response:
        with transaction.atomic(using=IdempotentRequest.objects.db):
            made, is_new = _claim(request, key, fingerprint)
            if not is_new:
                return _again(made, fingerprint)
            response = handler(request, *args, **kwargs)
            _keep(made, response)
            return response

    return run


def _looked_up(handler: Handler, key: str, fingerprint: str) -> Handler:
    @sensitive_variables()
    def run(request: Request, *args: Any, **kwargs: Any) -> Response:
        user: Any = request.user
        if made := IdempotentRequest.objects.find(user.pk, key, now=timezone.now()):
            return _again(made, fingerprint)
        response = handler(request, *args, **kwargs)
        with transaction.atomic(using=IdempotentRequest.objects.db):
            made, is_new = _claim(request, key, fingerprint)
            if is_new:
                _keep(made, response)
        return response

    return run


def _claim(request: Request, key: str, fingerprint: str) -> tuple[IdempotentRequest, bool]:
    user: Any = request.user
    return IdempotentRequest.objects.claim(user.pk, key, fingerprint=fingerprint, now=timezone.now())


def _fingerprint(request: Request) -> str:
    # Read before DRF parses it: it can be had as it came only then.
    body = request._request.body
    return digest_of(b"\n".join([str(request.method).encode(), request.get_full_path().encode(), body]))


@sensitive_variables()
def _keep(made: IdempotentRequest, response: Response) -> None:
    made.status_code = response.status_code
    made.answer = encryption.encrypt(Json().render(response.data).decode(), Purpose.RESPONSE)
    made.headers = {name: response[name] for name in KEPT_HEADERS if name in response}
    made.save(update_fields=["status_code", "answer", "headers"])


@sensitive_variables()
def _again(made: IdempotentRequest, fingerprint: str) -> Response:
    if made.fingerprint != fingerprint:
        raise ConflictError(
            "Another request came under this key within the last 24 hours. Use a new key for a new request.",
            code="idempotency_key_reused",
        )
    try:
        data = json.loads(encryption.decrypt(made.answer, Purpose.RESPONSE) or "null")
    except encryption.UndecryptableError as error:
        raise ConflictError(str(error), code="answer_unreadable") from None
    return Response(data, status=made.status_code, headers={**made.headers, REPLAYED: "true"})
