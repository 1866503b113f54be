"""The handshake: ask an endpoint by OPTIONS whether it allows the requests, before the first one to its URL.

Source: https://github.com/cloudevents/spec/blob/main/cloudevents/http-webhook.md, section 4 ("Abuse Protection").
Consent by callback (4.1.3) is not offered.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from django.views.decorators.debug import sensitive_variables

from orderhooks import transport
from orderhooks.models import Subscription
from orderhooks.sending.preparing import Request
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
def shake_hands(
    request: Request,
    subscription: Subscription,
    *,
    deadline: float,
    client_certificate: transport.ClientCertificate | None = None,
) -> Handshake:
    """Ask the endpoint whether it allows the request, which goes out afterwards; until `deadline` (monotonic seconds).

    The OPTIONS request has the headers that do not depend on a body: the subscription's own, its login, the origin.
    """
    origin = subscription.request_origin
    asked = {
        name: value
        for name, value in request.headers.items()
        if name in subscription.headers or name in ("authorization", "user-agent", "webhook-request-origin")
    }
    rate = (
        {} if subscription.max_per_second is None else {"webhook-request-rate": str(subscription.max_per_second * 60)}
    )
    kept = {**{name: request.kept_headers[name] for name in asked}, **rate}
    outcome = transport.options(
        request.url,
        {**asked, **rate},
        timeout_seconds=max(0.0, deadline - time.monotonic()),
        redact=request.redact,
        client_certificate=client_certificate,
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
    step = f"It has to respond to OPTIONS with WebHook-Allowed-Origin: {origin}, or with *."
    if not allowed:
        return f"The endpoint did not allow requests: its response to OPTIONS ({status}) names no origin. {step}", None
    if allowed != ANY and allowed.lower() != origin:
        # Without the value: who may not see responses reads this too.
        return f"The endpoint allows requests from another origin, not from {origin}. {step}", None
    if rate == ANY:
        return "", None
    if not (rate.isascii() and rate.isdigit()) or not rate.strip("0"):
        problem = "The endpoint's WebHook-Allowed-Rate is neither a number above zero nor *."
        return f"{problem} It has to correct the rate.", None
    return "", int(rate) if len(rate) <= 9 else MOST_PER_MINUTE
