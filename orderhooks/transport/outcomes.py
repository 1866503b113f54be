"""Outcomes: every way in which an attempt can end, with the next step for an operator."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

# The kinds of failure, each with what an operator can do.
NEXT_STEPS = {
    "dns": "Check the spelling of the host name, and whether it is still registered.",
    "blocked": "Use an address of the public internet, or open the network in the settings.",
    "refused": "Ask the receiver whether its service is running, and on this port.",
    "connect_timeout": "Ask the receiver whether a firewall drops connections from here.",
    "tls": "The receiver has to fix its certificate or TLS settings.",
    "timeout": "The receiver should respond at once and do its work afterwards.",
    "reset": "Ask the receiver what its log says at this time.",
    "protocol": "Check that the URL leads to a web server.",
    "too_large": "The receiver should respond with a short text.",
    "handshake": "The receiver has to correct its response to OPTIONS, which allows the requests. Or choose a format "
    "of the subscription that needs no permission.",
    "status": "Ask the receiver what its log says about this webhook-id.",
    "aborted": "Ask the people who run the receiver why it refuses this webhook. Redeliver it when they would accept "
    "it.",
    "login": "Check how the subscription logs in: its user name, its OAuth2 client or its client certificate.",
    "payload": "Fix the order source and publish the event again.",
    "format": "Fix the subscription's format, or choose another one.",
    "filter": "Change the subscription's filter; the next attempt judges the event again.",
    "filtered": "Nothing is to be done. Redeliver it if it is to be sent all the same.",
    "projection": "Change the subscription's projection; the next attempt uses it.",
    "version": "Fix the function that converts the body, or move the subscription to another version.",
    "key": "Put the missing key back into ENCRYPTION_KEYS; the next attempt uses it.",
    "secret": "Give the subscription a new secret, which its receiver needs too; the next attempt signs with it.",
    "internal": "See the worker's log.",
}
# The next step for statuses that say more than that the response was not 2xx.
STATUS_STEPS = {
    304: "A POST must not get 304 (not modified): the receiver, or a cache in front of it, must stop that.",
    400: "The receiver could not read the request: check that it expects the format that this subscription sends.",
    401: "Check the signing secret at the receiver. If it expects credentials, give them: how the subscription logs in,"
    ' or its header "Authorization".',
    403: "Check the signing secret at the receiver, the subscription's headers, and whether a firewall or CSRF check "
    "refuses the request.",
    404: "Check the path of the URL: the receiver has nothing there.",
    405: "Check the path of the URL: the receiver does not accept POST there.",
    407: "The proxy asks for credentials: check EGRESS_PROXY.",
    408: "The receiver should respond at once and do its work afterwards.",
    410: "The receiver wants no more webhooks. Resume the subscription only if the people who run it ask for it.",
    411: "The receiver, or a proxy in front of it, mishandles Content-Length: ask the people who run it.",
    413: "The receiver has to accept larger requests.",
    415: "The receiver has to accept the content type that this subscription sends, or choose another format.",
    429: "The receiver wants fewer requests: set a limit in the subscription (requests a second).",
    502: "The receiver's web server can't reach its application: ask the people who run it.",
    503: "The receiver is overloaded or down for maintenance; it is tried again automatically.",
    504: "The receiver should respond at once and do its work afterwards.",
}
# How the URLs of login pages look.
LOGIN = re.compile(
    r"/(?:log[-_]?in|sign[-_]?in|sso|auth|accounts?/log)(?:[/?.]|$)|[?&](?:next|returnto|return_to)=", re.IGNORECASE
)


def next_step(kind: str, status: int | None = None, *, location: str = "") -> str:
    """What an operator should do first about a failure.

    `kind` is a key of NEXT_STEPS; an unknown one counts as `internal`. `status` and `location` (the header) come from
    the response, if there was one.
    """
    if kind != "status" or status is None:
        return NEXT_STEPS.get(kind, NEXT_STEPS["internal"])
    if status in STATUS_STEPS:
        return STATUS_STEPS[status]
    if 300 <= status < 400:
        if LOGIN.search(location):
            return (
                "It leads to a login page: the receiver has to accept this path without a login (the signature shows "
                'who sends), or give credentials in the subscription\'s headers: "Authorization".'
            )
        return "Redirects are not followed. Change the URL to the address that it leads to."
    return NEXT_STEPS["status"]


# The kind of an event that the filter leaves out by the time of the attempt.
FILTERED = "filtered"
# The kind of a failure after which the receiver wants no retry.
ABORTED = "aborted"
# Failures to give an event the shape that the subscription asks for. Who manages it has to correct something.
UNSENT = frozenset({"filter", "projection", "version", "format", "key", "secret"})
# What ends an attempt before a request is made.
NOT_REQUESTED = UNSENT | {FILTERED}
# Failures of orderhooks, or of what people configured: they say nothing about the endpoint.
OURS = NOT_REQUESTED | {"internal", "payload"}
# Failures after which the next request would fail in the same way, because the endpoint is overloaded or unavailable:
# also a name that can't be resolved, an invalid certificate, a login that fails, and a connection that a proxy resets
# because there is no server behind it. An endpoint that does not allow requests would be asked by each that waits.
OVERLOADED_ERRORS = frozenset({"timeout", "connect_timeout", "refused", "dns", "reset", "tls", "login", "handshake"})
# With 408 and with 520 to 524 (Cloudflare) a proxy says that it got no valid response.
OVERLOADED_STATUSES = frozenset({408, 429, 502, 503, 504, 520, 521, 522, 523, 524})


class Instruction(StrEnum):
    """What a receiver asks for in the header `webhook-delivery` of its response.

    Source: https://github.com/standard-webhooks/standard-webhooks/pull/291 and
    https://docs.svix.com/receiving/delivery-control
    """

    # Send this endpoint nothing more.
    DISABLE = "disable"
    # Don't try this delivery again.
    ABORT = "abort"


INSTRUCTION_HEADER = "webhook-delivery"
# Every value that is known, in lower case. All others are ignored.
INSTRUCTIONS = {
    "disable": Instruction.DISABLE,
    "abort-message": Instruction.ABORT,
    "abort": Instruction.ABORT,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an attempt.

    `error` is "" after a 2xx response, and otherwise a key of NEXT_STEPS. `detail` is a sentence for people.
    `status_code` is None if no valid response arrived. `response_body` has at most 4,096 characters. All texts are safe
    to store and to show as text.
    """

    status_code: int | None = None
    error: str = ""
    detail: str = ""
    duration_ms: int = 0
    response_headers: Mapping[str, str] = field(default_factory=dict)
    response_body: str = ""
    # What an authorization server wished for in place of the endpoint.
    login_retry_after: str = ""

    @property
    def succeeded(self) -> bool:
        return self.error == ""

    @property
    def endpoint_is_to_blame(self) -> bool:
        """Whether the endpoint failed, and not orderhooks or the order source."""
        return not self.succeeded and self.error not in OURS and self.error != ABORTED

    @property
    def endpoint_is_overloaded(self) -> bool:
        """Whether more requests would make it worse: the endpoint is overloaded or unavailable."""
        if self.error == ABORTED:
            return False
        return self.error in OVERLOADED_ERRORS or self.status_code in OVERLOADED_STATUSES

    @property
    def retry_after(self) -> str:
        """The value of the Retry-After header, or ""."""
        if self.login_retry_after:
            return self.login_retry_after
        return _value(self.response_headers, "retry-after")

    @property
    def instruction(self) -> Instruction | None:
        """What the receiver asks for, if it sent a complete response to a POST; None: nothing that is known."""
        if self.error not in ("", "status", ABORTED):
            return None
        return instruction_of(self.response_headers)


def instruction_of(headers: Mapping[str, str]) -> Instruction | None:
    """The instruction in a response's headers; None if there is none, or none that is known."""
    return INSTRUCTIONS.get(_value(headers, INSTRUCTION_HEADER).strip().lower())


def instruction_text(headers: Mapping[str, str]) -> str:
    """A sentence on the response's instruction; "" if it has none. It does not quote the header."""
    if not (value := _value(headers, INSTRUCTION_HEADER).strip()):
        return ""
    if value.lower() not in INSTRUCTIONS:
        return f"Its header {INSTRUCTION_HEADER} has an unknown value, which was ignored."
    return ASKED[INSTRUCTIONS[value.lower()]]


ASKED = {
    Instruction.DISABLE: f"It asks to be disabled ({INSTRUCTION_HEADER}).",
    Instruction.ABORT: f"It asks that this delivery is not tried again ({INSTRUCTION_HEADER}).",
}


def _value(headers: Mapping[str, str], wanted: str) -> str:
    return next((value for name, value in headers.items() if name.lower() == wanted), "")
