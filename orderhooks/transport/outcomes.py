"""Outcomes: every way that an attempt can end, in words for an operator."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# Each kind of failure, and what an operator can do about it.
NEXT_STEPS = {
    "dns": "Check the host name for typing errors, and whether it is still registered.",
    "blocked": "Use an address of the public internet, or open the network in the settings.",
    "refused": "Ask the receiver whether its service is running, and on this port.",
    "connect_timeout": "Ask the receiver whether a firewall drops connections from here.",
    "tls": "The receiver has to fix its certificate or TLS settings.",
    "timeout": "The receiver should answer at once and do its work afterwards.",
    "reset": "Ask the receiver what its log says at this time.",
    "protocol": "Check that the URL leads to a web server.",
    "too_large": "The receiver should answer with a short text.",
    "status": "Ask the receiver what its log says of this webhook-id.",
    "payload": "Fix the order source and publish the event again.",
    "internal": "See the worker's log.",
}
# What to check first where the status of the answer tells more than that it was not 2xx.
STATUS_STEPS = {
    304: "A POST must not be answered 304 (not modified): the receiver, or a cache before it, has to stop doing so.",
    400: "The receiver could not read the request: check that it expects JSON as this subscription sends it.",
    401: 'Give the credentials that the receiver expects in the subscription\'s headers: "Authorization".',
    403: "Check the signing secret at the receiver, the subscription's headers, and whether a firewall or CSRF check "
    "turns the request away.",
    404: "Check the path of the URL; the receiver answers, but has nothing there.",
    405: "Check the path of the URL: what is there does not take POST.",
    407: "The proxy asks for credentials: check EGRESS_PROXY.",
    408: "The receiver should answer at once and do its work afterwards.",
    410: "The receiver wants no more webhooks. Resume the subscription only if its people ask for it.",
    411: "The receiver, or a proxy before it, mishandles Content-Length: ask its people.",
    413: "The receiver has to take larger requests.",
    415: "The receiver has to take application/json.",
    429: "The receiver takes fewer requests: set a limit in the subscription (requests a second).",
    502: "The receiver's web server can't reach its application: ask its people whether it runs.",
    503: "The receiver is overloaded or down for maintenance; it is tried again by itself.",
    504: "The receiver should answer at once and do its work afterwards.",
}
# Redirects that lead to a login page name it so.
LOGIN = re.compile(
    r"/(?:log[-_]?in|sign[-_]?in|sso|auth|accounts?/log)(?:[/?.]|$)|[?&](?:next|returnto|return_to)=", re.IGNORECASE
)


def next_step(kind: str, status: int | None = None, *, location: str = "") -> str:
    """What to do first about a failure of that kind; `status` and `location` are those of the answer, if any."""
    if kind != "status" or status is None:
        return NEXT_STEPS.get(kind, NEXT_STEPS["internal"])
    if status in STATUS_STEPS:
        return STATUS_STEPS[status]
    if 300 <= status < 400:
        if LOGIN.search(location):
            return (
                "It leads to a login page: the receiver has to take this path without a login (the signature tells "
                'who is calling), or give credentials in the subscription\'s headers: "Authorization".'
            )
        return "Redirects are not followed. Put the address it leads to into the URL."
    return NEXT_STEPS["status"]


OURS = frozenset({"internal", "payload"})
# Signs that an endpoint has too much to do, or is away: whatever is sent to it next would fail in the same way. Among
# them a name that can't be looked up, a certificate that is not right, and a connection that a proxy breaks off as
# nobody is behind it.
OVERLOADED_ERRORS = frozenset({"timeout", "connect_timeout", "refused", "dns", "reset", "tls"})
# 408 and 520 to 524 are a proxy's words for no proper answer (the latter Cloudflare's).
OVERLOADED_STATUSES = frozenset({408, 429, 502, 503, 504, 520, 521, 522, 523, 524})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt. `error` is "" for a 2xx answer, else one of NEXT_STEPS; `detail` says it in plain words.

    `response_body` holds at most 4 KiB; all text is safe to store and to show as text.
    """

    status_code: int | None = None
    error: str = ""
    detail: str = ""
    duration_ms: int = 0
    response_headers: Mapping[str, str] = field(default_factory=dict)
    response_body: str = ""

    @property
    def succeeded(self) -> bool:
        return self.error == ""

    @property
    def endpoint_is_to_blame(self) -> bool:
        """Whether the endpoint failed, not we."""
        return not self.succeeded and self.error not in OURS

    @property
    def endpoint_is_overloaded(self) -> bool:
        """Whether more requests would make it worse: too many requests, a gateway's answer, no answer, nobody there."""
        return self.error in OVERLOADED_ERRORS or self.status_code in OVERLOADED_STATUSES

    @property
    def retry_after(self) -> str:
        """The header's value, or ""."""
        return next((value for name, value in self.response_headers.items() if name.lower() == "retry-after"), "")
