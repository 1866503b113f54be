"""Webhooks of an order: for each of its events and each subscription, what came of it, or why nothing did."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from orderhooks import reporting
from orderhooks.admin.health import badge
from orderhooks.admin.links import page_url
from orderhooks.admin.read_only import sees_payload
from orderhooks.models import Delivery, Event, Subscription
from orderhooks.models.events import EventQuerySet
from orderhooks.reporting import EventReport, Reason, SubscriptionOutcome
from orderhooks.reporting.counts import count_text

__all__ = ["Webhooks", "webhooks_of"]

NEWEST_EVENTS = 50
SUBSCRIPTIONS = 200
# What has a line of its own, the most pressing first; the rest is summed up.
PRESSING = {
    Reason.FAILED: "bad",
    Reason.ABORTED: "bad",
    Reason.NO_PAYLOAD: "bad",
    Reason.DISABLED: "bad",
    Reason.BEHIND: "held",
    Reason.PAUSED: "held",
    Reason.WAITING: "held",
    Reason.NOT_ROUTED: "held",
    Reason.SENDING: "held",
    Reason.SKIPPED: "quiet",
    Reason.MERGED: "quiet",
    Reason.DELIVERED: "good",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One subscription's line of an event's table."""

    subscription: str
    subscription_url: str
    badge: SafeString
    details: str
    at: datetime | None
    delivery_url: str


@dataclass(frozen=True, slots=True)
class EventRows:
    """An event, its lines, and the subscriptions that did not get it, each with the reason."""

    event: Event
    event_url: str
    lines: Sequence[Line]
    others: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Webhooks:
    """What an order's page shows of its webhooks. `has_more`: the oldest events are left out."""

    reports: Sequence[EventReport]
    has_more: bool
    site: AdminSite

    @property
    def failed(self) -> list[int]:
        """The primary keys of its deliveries that failed."""
        return [
            one.delivery.pk
            for report in self.reports
            for one in report.outcomes
            if one.reason in (Reason.FAILED, Reason.ABORTED) and one.delivery
        ]

    def summary(self) -> SafeString:
        """A badge for each reason that calls for one, with its count."""
        counts: Counter[Reason] = Counter(one.reason for report in self.reports for one in report.outcomes)
        # Of an event, not of its subscriptions.
        counts[Reason.NO_PAYLOAD] = sum(report.event.published_at is None for report in self.reports)
        found = (
            (badge(level, f"{count_text(counts[reason])} {reason.label}"),)
            for reason, level in PRESSING.items()
            if counts[reason]
        )
        return format_html_join(" ", "{}", found)

    def draw(
        self,
        request: HttpRequest,
        before: SafeString | str = "",
        *,
        problems: Sequence[str] = (),
        nothing: str = "",
    ) -> SafeString:
        """The table, with the links and errors that the user may see, below the `problems` of the worker.

        `before` stands between the summary and the table. `nothing`: why there are no events, or no newer ones.
        """
        events = [self._event_rows(request, report) for report in self.reports]
        context = {
            "events": events,
            "summary": self.summary(),
            "before": before,
            "more_url": self._more_url(request) if self.has_more else "",
            "problems": problems,
            "with_errors": sees_payload(request),
            "nothing": nothing,
        }
        return render_to_string("admin/orderhooks/webhooks.html", context)

    def _event_rows(self, request: HttpRequest, report: EventReport) -> EventRows:
        pressing = list(PRESSING)
        shown = [one for one in report.outcomes if one.reason in PRESSING and one.reason != Reason.NO_PAYLOAD]
        shown.sort(key=lambda one: pressing.index(one.reason))
        now, confidential = timezone.now(), sees_payload(request)
        others = [
            (str(one.subscription), reporting.subscription_outcome_text(one, now=now, confidential=confidential))
            for one in report.outcomes
            if one.reason not in PRESSING
        ]
        url = page_url(request, Event, "change", report.event.pk, site=self.site)
        return EventRows(report.event, url, [self._line(request, one) for one in shown], others)

    def _line(self, request: HttpRequest, one: SubscriptionOutcome) -> Line:
        details, at = _details(one)
        return Line(
            subscription=str(one.subscription),
            subscription_url=page_url(request, Subscription, "change", one.subscription.pk, site=self.site),
            badge=badge(PRESSING[one.reason], one.reason.label),
            details=details,
            at=at,
            delivery_url=page_url(request, Delivery, "change", one.delivery.pk, site=self.site) if one.delivery else "",
        )

    def _more_url(self, request: HttpRequest) -> str:
        number = self.reports[0].event.order_number
        return page_url(request, Event, "changelist", site=self.site, order_number__exact=number)


def webhooks_of(events: EventQuerySet, *, stores: Collection[str] | None, site: AdminSite) -> Webhooks:
    """What came of the newest of these events, as far as they are of these stores (None: all). Three queries."""
    # One more than is shown says whether there are more.
    events, among = events.of_stores(stores), Subscription.objects.of_stores(stores, operational=False)
    newest = list(events.defer("payload", "changes").order_by("-sequence")[: NEWEST_EVENTS + 1])
    reports = reporting.event_reports(newest[:NEWEST_EVENTS], at_most=SUBSCRIPTIONS, among=among, stores=stores)
    return Webhooks(reports, len(newest) > NEWEST_EVENTS, site)


def _details(one: SubscriptionOutcome) -> tuple[str, datetime | None]:
    """The text beside the badge, and the time that goes with it."""
    delivery, now = one.delivery, timezone.now()
    if delivery is None:
        return "", None
    match one.reason:
        case Reason.DELIVERED:
            tries = (
                _("at attempt %(number)d") % {"number": delivery.attempts_made} if delivery.attempts_made > 1 else ""
            )
            return tries, delivery.finished_at
        case Reason.WAITING if delivery.next_attempt_at:
            why = reporting.subscription_outcome_text(one, now=now)
            return _joined([why, delivery.last_detail]), delivery.expected_at
        case Reason.SKIPPED:
            return "", delivery.finished_at
        case Reason.BEHIND:
            # Its former attempt is not what it waits for.
            return "", None
        case Reason.MERGED:
            return reporting.subscription_outcome_text(one, now=now) if one.carrier else "", delivery.finished_at
        case Reason.FAILED | Reason.ABORTED:
            return delivery.last_detail, delivery.finished_at
        case _:
            return delivery.last_detail, None


def _joined(parts: Iterable[str]) -> str:
    # A part may end with a point of its own, which may be that of "3:10 p.m.".
    return " ".join(part if part.endswith(".") else f"{part}." for part in parts if part)
