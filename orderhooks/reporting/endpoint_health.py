"""An endpoint's health in plain words: since when it fails, how it responds, what happens next, what to do.

Admin, API, commands and summaries of deliveries take their sentences from here, so that one fact reads the same
everywhere. Everything here is pure: the caller brings the rows and the clock.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import models
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from orderhooks import conf, transport
from orderhooks.models import Subscription
from orderhooks.reporting.durations import relative_text, span_text, time_text

__all__ = ["OUTCOMES", "EndpointReport", "Health", "health_of", "held_text", "outcome_text", "report", "short_text"]

State = Subscription.State

# What an endpoint did, or what was done to it, for each kind of error.
OUTCOMES = {
    "dns": gettext_lazy("could not be found by its host name"),
    "blocked": gettext_lazy("was at an address that may not be contacted"),
    "refused": gettext_lazy("refused the connection"),
    "connect_timeout": gettext_lazy("could not be reached in time"),
    "tls": gettext_lazy("failed to make a safe connection (TLS)"),
    "timeout": gettext_lazy("did not respond in time"),
    "reset": gettext_lazy("broke the connection off"),
    "protocol": gettext_lazy("did not send a valid HTTP response"),
    "too_large": gettext_lazy("sent a response that is too large"),
    "aborted": gettext_lazy("refused it and asked that it is not tried again"),
    "login": gettext_lazy("could not be logged in to"),
    "payload": gettext_lazy("was not called: the payload could not be built"),
    "format": gettext_lazy("was not called: the subscription's format failed"),
    "handshake": gettext_lazy("did not allow the requests"),
    "filter": gettext_lazy("was not called: its filter could not judge the event"),
    "filtered": gettext_lazy("was not called: its filter leaves the event out"),
    "projection": gettext_lazy("was not called: its projection failed on the event"),
    "version": gettext_lazy("was not called: the body could not be made in its version"),
    "key": gettext_lazy("was not called: a key to decrypt the event or the secrets is missing"),
    "secret": gettext_lazy("was not called: it has no secret to sign with"),
    "internal": gettext_lazy("may not have been called: there was an error on our side"),
}


class Health(models.TextChoices):
    """How an endpoint is, in a word."""

    ACTIVE = "active", gettext_lazy("active")
    CIRCUIT_OPEN = "circuit_open", gettext_lazy("cooling down")
    FAILING = "failing", gettext_lazy("failing")
    PAUSED = "paused", gettext_lazy("paused")
    DISABLED = "disabled", gettext_lazy("disabled")


def health_of(subscription: Subscription, *, now: datetime) -> Health:
    """How it is at that time."""
    if subscription.state != Subscription.State.ACTIVE:
        return Health(subscription.state)
    if subscription.is_circuit_open(at=now):
        return Health.CIRCUIT_OPEN
    return Health.FAILING if subscription.failing_since is not None else Health.ACTIVE


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """How an endpoint is, beginning with what has been true for longest. A blank part does not apply.

    `since`: since when it fails, or that nothing is sent to it; `response`: how it responded last, and when;
    `pause`: until when nothing is sent to it; `deadline`: when it will be disabled; `remedy`: what to do, unless
    `response` says it.
    """

    since: str
    response: str = ""
    pause: str = ""
    deadline: str = ""
    remedy: str = ""

    def sentences(self) -> list[str]:
        """The parts that apply, in the order in which they should be read."""
        return [part for part in (self.since, self.response, self.pause, self.deadline, self.remedy) if part]

    def text(self) -> str:
        """The sentences in one line."""
        return " ".join(self.sentences())


def report(subscription: Subscription, *, now: datetime) -> EndpointReport | None:
    """What people should know about an endpoint that is unhealthy or stopped; None if it is healthy."""
    if subscription.state == State.DISABLED:
        return EndpointReport(
            _("Disabled: nothing is sent to it, and its deliveries are kept."),
            response=subscription.state_reason or _response(subscription, now=now),
            remedy=_("Have the receiver fixed, send a test, then resume the subscription."),
        )
    if subscription.state == State.PAUSED:
        return EndpointReport(
            _("Paused by an operator: nothing is sent to it, and its deliveries are kept."),
            remedy=_("Resume the subscription once the receiver is ready."),
        )
    circuit_open = subscription.is_circuit_open(at=now)
    if subscription.failing_since is None and not circuit_open:
        return None
    since = deadline = ""
    if subscription.failing_since is not None:
        since = ngettext(
            "Failing since %(time)s (%(span)s, %(count)d attempt).",
            "Failing since %(time)s (%(span)s, %(count)d attempts in a row).",
            subscription.consecutive_failures,
        ) % {
            "time": time_text(subscription.failing_since, now=now),
            "span": span_text(now - subscription.failing_since),
            "count": subscription.consecutive_failures,
        }
        disabled_at = subscription.failing_since + timedelta(days=conf.current().disable_after_days)
        deadline = _("Unless an attempt succeeds, it will be disabled at %(time)s, %(relative)s.") % {
            "time": time_text(disabled_at, now=now),
            "relative": relative_text(disabled_at, now=now),
        }
        if disabled_at <= now:
            deadline = _("The next attempt that fails disables it.")
    pause = ""
    if circuit_open and subscription.circuit_open_until is not None:
        left = subscription.circuit_open_until - now
        pause = _("It has cooled down: one request tries it next.")
        if left >= timedelta(seconds=1):
            pause = _(
                "Nothing is sent to it until %(time)s, %(relative)s: it is cooling down. Then one request tries it."
            ) % {
                "time": time_text(subscription.circuit_open_until, now=now),
                "relative": relative_text(subscription.circuit_open_until, now=now),
            }
    return EndpointReport(since, _response(subscription, now=now), pause, deadline, _remedy(subscription))


def short_text(subscription: Subscription, *, now: datetime) -> str:
    """The same in a few words, for a column: `failing for 23 min, cooling down for 34 s more`."""
    found = health_of(subscription, now=now)
    if found not in (Health.CIRCUIT_OPEN, Health.FAILING):
        return str(found.label)
    parts = []
    if subscription.failing_since is not None:
        parts.append(_("failing for %(span)s") % {"span": span_text(now - subscription.failing_since)})
    if found == Health.CIRCUIT_OPEN and subscription.circuit_open_until is not None:
        parts.append(_("cooling down for %(span)s more") % {"span": span_text(subscription.circuit_open_until - now)})
    return ", ".join(parts)


def held_text(subscription: Subscription, *, now: datetime) -> str:
    """Why nothing is sent to an endpoint now, or "". Held: until a person resumes it. A wait ends by itself.

    `Waits until 03:12 because Warehouse responded with 503 at 03:11; failing since 02:40.`
    """
    if subscription.state == State.PAUSED:
        return _("Held: the subscription is paused by an operator. Resume it, and this is sent.")
    if subscription.state == State.DISABLED:
        reason = subscription.state_reason
        return (_("Held: the subscription is disabled. %(reason)s") % {"reason": reason}).strip()
    if not subscription.is_circuit_open(at=now) or subscription.circuit_open_until is None:
        return ""
    values = {
        "until": time_text(subscription.circuit_open_until, now=now),
        "name": subscription.name,
        "outcome": _outcome(subscription) or _("was overloaded or away"),
        "at": time_text(subscription.last_failure_at, now=now) if subscription.last_failure_at else "",
        "since": time_text(subscription.failing_since, now=now) if subscription.failing_since else "",
    }
    if not values["at"]:
        text = _("Waits until %(until)s because %(name)s %(outcome)s") % values
    else:
        text = _("Waits until %(until)s because %(name)s %(outcome)s at %(at)s") % values
    text += _("; failing since %(since)s") % values if values["since"] else ""
    # Not "2:30 a.m..".
    return text if text.endswith(".") else f"{text}."


def outcome_text(status_code: int | None, error: str) -> str:
    """What an endpoint did: `responded with 503`, `did not respond in time`."""
    if status_code is not None and error in ("", "status"):
        return _("responded with %(status)d") % {"status": status_code}
    return str(OUTCOMES.get(error, error))


def _outcome(subscription: Subscription) -> str:
    return outcome_text(subscription.last_failure_status, subscription.last_failure_kind)


def _response(subscription: Subscription, *, now: datetime) -> str:
    if subscription.last_failure_at is None:
        return ""
    when = time_text(subscription.last_failure_at, now=now)
    if (outcome := _outcome(subscription)) and not _has_own_remedy(subscription):
        # "3:11 a.m." ends the sentence by itself.
        return (_("It %(outcome)s at %(time)s.") % {"outcome": outcome, "time": when}).replace("..", ".")
    return _("At %(time)s: %(detail)s") % {"time": when, "detail": subscription.last_failure}


def _has_own_remedy(subscription: Subscription) -> bool:
    """Whether the last error's text says what to do, and its kind and status would say something else: the server that
    gives access tokens is away, not this endpoint; a redirect leads to a login page, not to another address.
    """
    kind, status = subscription.last_failure_kind, subscription.last_failure_status
    if kind != "login" and not (status is not None and 300 <= status < 400):
        return False
    text = subscription.last_failure
    return bool(text) and transport.next_step(kind or "status", status) not in text


def _remedy(subscription: Subscription) -> str:
    kind, status = subscription.last_failure_kind, subscription.last_failure_status
    if _has_own_remedy(subscription):
        return ""
    if kind or status:
        return transport.next_step(kind or "status", status)
    return _("Send a test to see how it responds now, and inform the people who run the receiver.")
