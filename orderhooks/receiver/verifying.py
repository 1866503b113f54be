"""Verifying: the event in a request, if a secret that is known here has signed it."""

import json
import time
from collections.abc import Iterable, Mapping
from datetime import datetime

from django.views.decorators.debug import sensitive_variables

from orderhooks import signing
from orderhooks.receiver.events import InvalidWebhookError, ReceivedEvent

__all__ = ["TOLERANCE_SECONDS", "Secrets", "verify"]

TOLERANCE_SECONDS = 300.0
# Twelve digits reach the year 33658; more would only make trouble for the clock's arithmetic.
MAX_TIMESTAMP_DIGITS = 12
# What `Receipt.webhook_id` holds; an event's id has 30.
MAX_ID_LENGTH = 200

Secrets = str | Iterable[str]


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
