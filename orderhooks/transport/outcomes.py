"""Outcomes: every way that an attempt can end, in words for an operator."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# Each kind of failure, and what an operator can do about it.
NEXT_STEPS = {
    "dns": "Check the host name for typing errors, and whether it is still registered.",
    "blocked": "Use an address of the public internet, or open the network in the settings.",
    "refused": "Ask the receiver whether its service is running, and on this port.",
    "connect_timeout": "Ask the receiver whether a firewall drops connections from here.",
    "tls": "The receiver has to mend its certificate or TLS settings.",
    "timeout": "The receiver should answer at once and do its work afterwards.",
    "reset": "Ask the receiver what its log says of this moment.",
    "protocol": "Check that the URL leads to a web server.",
    "too_large": "The receiver should answer with a short text.",
    "status": "Ask the receiver what its log says of this webhook-id.",
    "payload": "Mend the order source and publish the event again.",
    "internal": "See the worker's log.",
}
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
