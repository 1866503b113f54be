"""`resume_request`: with it a receiver asks to be sent webhooks again, for example at the end of its own deployment."""

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from django.views.decorators.debug import sensitive_variables

from orderhooks import signing

__all__ = ["RESUME", "ResumeRequest", "resume_request"]

# Says what the signature is for: that of a webhook, which the same secret signs, can't be used for this.
RESUME = "subscription.resume"


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """A signed request: POST `body` with these `headers` to `url` within five minutes, once."""

    url: str
    body: bytes
    headers: Mapping[str, str]


@sensitive_variables("secret")
def resume_request(api_url: str, subscription: str, secret: str, *, now: float | None = None) -> ResumeRequest:
    """The request by which the receiver of a subscription asks the store to send again.

    `api_url` is where the store has the API, such as `https://shop.example.com/api/`. `subscription` is the id
    (`sub_…`), `secret` is a signing secret in force (`whsec_…`). `now` is in Unix seconds; the current time by default.
    Make a new request for each try: each works once.

    Raises signing.InvalidSecretError for another kind of secret: with a public key (`whpk_…`) nothing can be signed.
    Source: https://github.com/standard-webhooks/standard-webhooks
    """
    key = signing.require_secret(secret)
    body = json.dumps({"type": RESUME, "subscription": subscription}).encode()
    request_id, timestamp = f"msg_{uuid.uuid4().hex}", int(time.time() if now is None else now)
    headers = {
        "content-type": "application/json",
        "webhook-id": request_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signing.sign(key, request_id, timestamp, body),
    }
    return ResumeRequest(f"{api_url.rstrip('/')}/subscriptions/{subscription}/resume-by-receiver/", body, headers)
