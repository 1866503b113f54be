"""`verify`: checks a request's signature and time, and returns its event."""

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from django.utils.http import parse_http_date_safe
from django.views.decorators.debug import sensitive_variables

from orderhooks import signing
from orderhooks.receiver.decoding import UnsignedHeadersError, decode
from orderhooks.receiver.events import InvalidWebhookError, ReceivedEvent

__all__ = ["TOLERANCE_SECONDS", "Secrets", "check_signature", "verify"]

TOLERANCE_SECONDS = 300.0
# Twelve digits reach the year 33658. Longer numbers would only break the arithmetic with times.
MAX_TIMESTAMP_DIGITS = 12
# Eleven digits reach the year 5138, which Python can hold.
LONGEST_DATE = 11
# The length of the column `Receipt.webhook_id`. An event's id has 30 characters.
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
    binary_mode: bool = False,
) -> ReceivedEvent:
    """Check the signature and the time of a request, and return its event.

    `body` is the raw body, in the built-in format that the content type names. Names in `headers` may be in any case.
    `secrets` is one or several secrets, one of which must have signed: a shared secret (`whsec_…`), or the sender's
    public key (`whpk_…`). The request's time may differ from `now` (Unix seconds; the current time by default) by at
    most `tolerance_seconds`. `binary_mode` accepts CloudEvents in binary mode too: their topic, sequence, store,
    source, version and time come from headers, which are not signed. A proxy on the way could change them unnoticed.

    Raises InvalidWebhookError for an invalid request, and signing.InvalidSecretError for an invalid secret.
    Source: https://github.com/standard-webhooks/standard-webhooks
    """
    given = check_signature(body, headers, secrets, tolerance_seconds=tolerance_seconds, now=now)
    return _event(given["webhook-id"], body, given, binary_mode=binary_mode)


@sensitive_variables("secrets", "keys")
def check_signature(
    body: bytes,
    headers: Mapping[str, str],
    secrets: Secrets,
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    now: float | None = None,
) -> dict[str, str]:
    """Check the signature and the time of a request whose body may be in any format. As `verify`, which it is for.

    Returns the headers with names in lower case.
    """
    keys = [secrets] if isinstance(secrets, str) else list(secrets or ())
    if not keys:
        raise signing.InvalidSecretError(
            "There is no secret to check signatures with. Pass the one that the sender showed for the subscription."
        )
    if not isinstance(body, bytes):
        raise TypeError("verify() needs the raw body as bytes: a decoded or parsed body is not what was signed.")
    given = {name.lower(): value for name, value in headers.items()}
    webhook_id = _required(given, "webhook-id")
    # What is signed is `id.timestamp.body`: with a point in the id, it could be divided in another way.
    if len(webhook_id) > MAX_ID_LENGTH or not webhook_id.isprintable() or "." in webhook_id:
        raise InvalidWebhookError(
            f"The webhook-id is longer than {MAX_ID_LENGTH} characters, has a full stop or is not printable."
        )
    timestamp = _timestamp(
        _required(given, "webhook-timestamp"),
        now=time.time() if now is None else now,
        tolerance_seconds=tolerance_seconds,
    )
    if not signing.verify(keys, _required(given, "webhook-signature"), webhook_id, timestamp, body):
        raise InvalidWebhookError(
            "No signature matches. Compare the secret with the sender's, and check that the body is the raw one: "
            "JSON that was parsed and serialized again is not what was signed."
        )
    return given


def _required(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if not value:
        raise InvalidWebhookError(
            f"The header {name} is missing. Either this is not a webhook, or a proxy in between removed the header."
        )
    if not value.isascii():
        raise InvalidWebhookError(
            f"The header {name} is not ASCII. Either this is not a webhook, or it was damaged on the way."
        )
    return value


def _timestamp(text: str, *, now: float, tolerance_seconds: float) -> int:
    # Digits are checked first: int() would also take "-1", " 1", "1_0" and digits of other scripts.
    if not (text.isascii() and text.isdigit()) or len(text) > MAX_TIMESTAMP_DIGITS:
        raise InvalidWebhookError("The webhook-timestamp is not a valid time in whole Unix seconds.")
    timestamp = int(text)
    if timestamp < now - tolerance_seconds:
        raise InvalidWebhookError(
            f"The webhook-timestamp is more than {tolerance_seconds:g} s old. Check this machine's clock. "
            "If it is right, the request was delayed, or somebody sent a recorded one again."
        )
    if timestamp > now + tolerance_seconds:
        raise InvalidWebhookError(
            f"The webhook-timestamp is more than {tolerance_seconds:g} s in the future. Check the clocks of both "
            "machines."
        )
    return timestamp


def _event(webhook_id: str, body: bytes, given: Mapping[str, str], *, binary_mode: bool) -> ReceivedEvent:
    attempt = given.get("webhook-attempt", "")
    try:
        content = decode(body, given, webhook_id=webhook_id, binary_mode=binary_mode)
        occurred_at = datetime.fromisoformat(content["timestamp"])
        event = ReceivedEvent(
            id=webhook_id,
            topic=content["type"],
            occurred_at=occurred_at,
            sequence=content["sequence"],
            source=content["source"],
            store=content["store"],
            api_version=content["api_version"],
            data=content["data"],
            attempt=int(attempt) if attempt.isascii() and attempt.isdigit() and len(attempt) < 10 else 1,
            deprecated_at=_deprecation(given.get("deprecation", "")),
            sunset_at=_sunset(given.get("sunset", "")),
        )
        texts = (event.topic, event.source, event.store, event.api_version)
        is_typed = all(isinstance(text, str) for text in texts) and isinstance(event.data, dict)
        if not is_typed or type(event.sequence) is not int or occurred_at.tzinfo is None:
            raise ValueError("a field has the wrong type")
    except UnsignedHeadersError as error:
        raise InvalidWebhookError(
            "This is a CloudEvent in binary mode, whose topic and sequence are headers, which are not signed. Have it "
            "sent in the structured mode (format cloudevents), or accept it with binary_mode=True."
        ) from error
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise InvalidWebhookError(
            "The signature is valid, but the body is not an event of orderhooks. Does another sender use this endpoint?"
        ) from error
    return event


def _deprecation(text: str) -> datetime | None:
    """The time in a Deprecation header (RFC 9745), such as `@1688169599`. None if there is none."""
    seconds = text[1:]
    is_date = text.startswith("@") and seconds.isascii() and seconds.isdigit() and len(seconds) <= LONGEST_DATE
    return datetime.fromtimestamp(int(seconds), UTC) if is_date else None


def _sunset(text: str) -> datetime | None:
    """The time in a Sunset header (RFC 8594), an HTTP date. None if there is none."""
    seconds = parse_http_date_safe(text)
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
