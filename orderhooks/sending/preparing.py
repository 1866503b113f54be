"""Preparing: a delivery's signed request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.views.decorators.debug import sensitive_variables

import orderhooks
from orderhooks import shaping, signing, tracing, transport
from orderhooks.db.sealed_logins import OAUTH2
from orderhooks.models import Delivery
from orderhooks.shaping import Shaped, ShapingError

# The kind of an outcome where the subscription has no secret that can sign.
NO_SECRET = "secret"  # noqa: S105 - a kind, no secret


@dataclass(frozen=True, slots=True)
class Request:
    """A signed request: its headers, the same as they are stored, and the texts to redact if a receiver echoes them."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(repr=False)
    kept_headers: Mapping[str, str]
    redact: Sequence[str] = field(repr=False)


def plain_headers(delivery: Delivery, shaped: Shaped) -> dict[str, str]:
    """The headers that are not secret and do not depend on the time."""
    event, subscription = delivery.event, delivery.subscription
    return {
        **shaped.headers,
        # Every request names the origin that the endpoint has allowed: see `sending.handshake`.
        **({"webhook-request-origin": subscription.request_origin} if subscription.asks_consent else {}),
        "user-agent": f"orderhooks/{orderhooks.__version__}",
        "webhook-id": event.public_id,
        "webhook-topic": event.topic,
        # A test of an endpoint has none.
        **({"webhook-source": event.source} if event.source else {}),
        "webhook-attempt": str(delivery.attempts_made),
    }


@sensitive_variables()
def prepare(delivery: Delivery, *, now: datetime, authorization: str = "", refused: str = "") -> Request:
    """Sign a delivery's request. `authorization`: the value of that header, of the subscription's login, or "".
    `refused`: the one that the endpoint has seen, and refused, in this attempt.

    Raises encryption.UndecryptableError if a key is missing; shaping.ShapingError, also if no secret can sign.
    """
    event, subscription = delivery.event, delivery.subscription
    secrets = subscription.live_secrets(now=now)
    if not secrets:
        raise ShapingError("The subscription has no signing secret in force.", kind=NO_SECRET)
    own = subscription.own_headers()
    transport.check_own_headers(own)
    shaped = shaping.shape(event, subscription, changes=delivery.merged_changes)
    _require_no_header_twice(own, shaped, name=subscription.format)
    body = shaped.body
    timestamp = int(now.timestamp())
    message = signing.Message(event.public_id, event.topic, timestamp, body)
    try:
        signatures = signing.profile_headers(subscription.signature, message, secrets)
    except signing.InvalidSecretError as error:
        raise ShapingError(str(error), kind=NO_SECRET) from None
    login = {"authorization": authorization} if authorization else {}
    plain = {**plain_headers(delivery, shaped), "webhook-timestamp": str(timestamp)}
    headers = {**own, **login, **plain, **tracing.headers(), **signatures}
    kept = {
        name: transport.REDACTED if name in own or transport.is_credential(name) else value
        for name, value in headers.items()
    }
    signed = [value for name, value in signatures.items() if transport.is_credential(name)]
    # A receiver may echo a token without its scheme. Of Basic the redactor decodes the password.
    logged_in_with = [form for seen in (authorization, refused) if seen for form in (seen, seen.partition(" ")[2])]
    if subscription.login_type == OAUTH2:
        logged_in_with.append(subscription.oauth2_client().client_secret)
    return Request(subscription.url, body, headers, kept, [*own.values(), *secrets, *signed, *logged_in_with])


def _require_no_header_twice(own: Mapping[str, str], shaped: Shaped, *, name: str) -> None:
    """Raises ShapingError if the subscription's own headers include one that its format sets."""
    of_format = {header.lower() for header in shaped.headers}
    if twice := [header for header in own if header.lower() in of_format]:
        raise ShapingError(
            f"The format {name!r} sets the header {twice[0]} itself. Take it out of the subscription's headers.",
            kind="format",
        )
