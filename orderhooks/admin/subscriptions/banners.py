"""Banners: how an endpoint is doing, why, and what to do about it, in plain words. The first thing on its page."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from orderhooks import versions
from orderhooks.models import Subscription
from orderhooks.reporting import endpoint_health
from orderhooks.reporting.certificates import certificate_problem, has_expired
from orderhooks.reporting.counts import count_text
from orderhooks.reporting.durations import span_text, time_text
from orderhooks.reporting.objectives import Objective, objective_problem
from orderhooks.reporting.unsent import unsent_problem

__all__ = ["COUNT_UP_TO", "Banner", "banner", "certificate_banner", "unsent_banner", "version_banner"]

State = Subscription.State

RECENTLY = timedelta(hours=1)
# Counts of the log end here.
COUNT_UP_TO = 10_000


@dataclass(frozen=True, slots=True)
class Banner:
    """`level` is well, busy, warning or stopped."""

    level: str
    title: str
    reason: str
    remedy: str | SafeString

    def draw(self) -> SafeString:
        return format_html(
            '<div class="orderhooks-banner orderhooks-banner-{}"><strong>{}</strong><p>{}</p><p>{}</p></div>',
            self.level,
            self.title,
            self.reason,
            self.remedy,
        )


def certificate_banner(subscription: Subscription, *, now: datetime) -> SafeString:
    """That its client certificate has expired or will soon; blank if there is nothing to do."""
    if not (problem := certificate_problem(subscription, now=now)):
        return SafeString()
    if has_expired(subscription, now=now):
        return Banner("stopped", _("Its client certificate has expired."), problem, "").draw()
    if (facts := subscription.certificate_facts) and facts.not_before > now:
        return Banner("stopped", _("Its client certificate is not valid yet."), problem, "").draw()
    return Banner("warning", _("Its client certificate ends soon."), problem, "").draw()


def unsent_banner(subscription: Subscription, *, now: datetime) -> SafeString:
    """That deliveries could not be made; blank if none lately."""
    if not (problem := unsent_problem(subscription, now=now)):
        return SafeString()
    return Banner("warning", _("Some deliveries can’t be made, and wait."), problem, "").draw()


def banner(
    subscription: Subscription, *, now: datetime, held: Callable[[], int], objective: Objective | None = None
) -> Banner:
    """The banner of a subscription. `held` counts the deliveries that wait, and is called only where it matters."""
    if subscription.state == State.DISABLED:
        return Banner(
            "stopped",
            _("Disabled: nothing is sent to it."),
            subscription.state_reason,
            _("Have the receiver fixed, send a test, then resume: you choose what happens to what waits. %s")
            % _waiting(held()),
        )
    if subscription.state == State.PAUSED:
        return Banner(
            "stopped",
            _("Paused: nothing is sent to it."),
            _("An operator paused it. Its deliveries are held until you resume it."),
            _("Resume it once the receiver is ready: you choose what happens to what waits. %s") % _waiting(held()),
        )
    if (report := endpoint_health.report(subscription, now=now)) is not None:
        first, *rest = [text for text in (report.since, report.response, report.pause) if text]
        remedy = " ".join(text for text in (report.deadline, report.remedy, _waiting(held())) if text)
        return Banner("warning", first, " ".join(rest), remedy)
    if subscription.recovered_at is not None and subscription.recovered_at > now - RECENTLY:
        return Banner(
            "busy",
            _("Recovered %s ago.") % span_text(now - subscription.recovered_at),
            _("Before that: %s") % subscription.last_failure if subscription.last_failure else "",
            _("There is nothing to do: what waits goes out by itself, at a rising rate. %s") % _waiting(held()),
        )
    if subscription.last_success_at is None:
        return Banner(
            "busy",
            _("Active; nothing has arrived there yet."),
            "",
            _("Send a test to see whether it responds."),
        )
    if objective is not None and (problem := objective_problem(objective)):
        return Banner(
            "warning",
            _("Active, but deliveries arrive too late."),
            problem,
            _("The log of what was sent to it shows which. They are late because it responds slowly or failed before."),
        )
    return Banner(
        "well",
        # That some can't be made is said beside it.
        _("Active: its other deliveries arrive.")
        if unsent_problem(subscription, now=now)
        else _("Active: its deliveries arrive."),
        _("Last success: %s") % time_text(subscription.last_success_at, now=now),
        "",
    )


def version_banner(subscription: Subscription, *, now: datetime, url: str) -> SafeString:
    """The banner of a subscription that is not on the newest version of the body; blank if it is."""
    if not subscription.is_behind:
        return SafeString()
    name, newest = subscription.api_version, versions.newest()
    move = format_html('<a href="{}">{}</a>', url, _("See what a move to %s changes.") % newest)
    version = versions.registered().get(name)
    if version is None:
        title = _("The version %s of the body is not registered: nothing can be sent.") % name
        reason = _("Its deliveries are held until it is in ORDERHOOKS[“API_VERSIONS”] again, or until you move it.")
        return Banner("stopped", title, reason, move).draw()
    if version.is_past_sunset(now=now):
        title = _("Its version %(name)s of the body ended on %(date)s.")
        return Banner("warning", title % {"name": name, "date": _day(version.sunset_at)}, "", move).draw()
    dates = [
        text % _day(at)
        for text, at in ((_("Deprecated: %s."), version.deprecated_at), (_("End: %s."), version.sunset_at))
        if at is not None
    ]
    level = "warning" if version.is_deprecated(now=now) else "busy"
    title = _("It gets the version %(name)s of the body; %(newest)s is the newest.") % {"name": name, "newest": newest}
    return Banner(level, title, " ".join(dates), move).draw()


def _day(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d}" if at else "-"


def _waiting(count: int) -> str:
    text = ngettext("%s delivery waits.", "%s deliveries wait.", count) if count else _("No delivery waits.")
    return text % count_text(count, bound=COUNT_UP_TO) if count else text
