"""The handshake: ask an endpoint by OPTIONS whether it allows the requests, before the first one to its URL.

Source: https://github.com/cloudevents/spec/blob/main/cloudevents/http-webhook.md, section 4 ("Abuse Protection").
Consent by callback (4.1.3) is not offered.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from django.views.decorators.debug import sensitive_variables

import orderhooks
from orderhooks import transport
from orderhooks.models import Subscription
from orderhooks.transport import Outcome

__all__ = ["Consent", "Handshake", "shake_hands"]

# The largest number that the column holds.
MOST_PER_MINUTE = 2**31 - 1
ANY = "*"


@dataclass(frozen=True, slots=True)
class Consent:
    """What an endpoint allowed: requests to this URL from this origin, and how many a minute (None: any number)."""

    url: str
    origin: str
    per_minute: int | None


@dataclass(frozen=True, slots=True)
class Handshake:
    """What came of asking. `consent` is None if the endpoint did not allow requests; `outcome` says why.

    `kept_headers`: those of the request, as they are stored.
    """

    consent: Consent | None
    outcome: Outcome
    kept_headers: Mapping[str, str] = field(repr=False)


@sensitive_variables()
def shake_hands(subscription: Subscription, *, timeout_seconds: float) -> Handshake:
    """Ask the endpoint. Raises an error if the values of the subscription's own headers can't be decrypted."""
    own = subscription.own_headers()
    origin = subscription.request_origin
    plain = {"user-agent": f"orderhooks/{orderhooks.__version__}", "webhook-request-origin": origin}
    if subscription.max_per_second is not None:
        plain["webhook-request-rate"] = str(subscription.max_per_second * 60)
    kept = {**dict.fromkeys(own, transport.REDACTED), **plain}
    outcome = transport.options(
        subscription.url, {**own, **plain}, timeout_seconds=timeout_seconds, redact=list(own.values())
    )
    if outcome.error not in ("", "status"):
        detail = f"It was asked with OPTIONS whether it allows the requests. {outcome.detail}"
        return Handshake(None, replace(outcome, detail=detail), kept)
    headers = {name.lower(): value.strip() for name, value in outcome.response_headers.items()}
    problem, per_minute = _judge(headers, origin=origin, status=outcome.status_code)
    if problem:
        step = transport.next_step("handshake")
        return Handshake(None, replace(outcome, error="handshake", detail=f"{problem} {step}"), kept)
    return Handshake(Consent(subscription.url, origin, per_minute), outcome, kept)


def _judge(headers: Mapping[str, str], *, origin: str, status: int | None) -> tuple[str, int | None]:
    """What is wrong with a response, "" if it allows the requests; and how many a minute it allows.

    Its status says nothing (4.2): only the header does, which a server that expects no webhooks does not send.
    """
    allowed, rate = headers.get("webhook-allowed-origin", ""), headers.get("webhook-allowed-rate", ANY)
    if not allowed:
        return f"The endpoint did not allow requests: its response to OPTIONS ({status}) names no origin.", None
    if allowed != ANY and allowed.lower() != origin:
        return f"The endpoint allows requests from {allowed}, not from {origin}.", None
    if rate == ANY:
        return "", None
    if not (rate.isascii() and rate.isdigit()) or not rate.strip("0"):
        return f"The endpoint's WebHook-Allowed-Rate is {rate}, neither a number above zero nor *.", None
    return "", int(rate) if len(rate) <= 9 else MOST_PER_MINUTE
