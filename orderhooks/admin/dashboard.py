"""The dashboard: the last day's attempts, what waits, which endpoints have trouble, and whether a worker is there."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from orderhooks import permissions, reporting, tasks
from orderhooks.admin import charts
from orderhooks.admin.health import day_chart, health_badge, last_trouble, rate
from orderhooks.admin.links import page_url
from orderhooks.admin.lookups import ListedLookups
from orderhooks.admin.order_links import order_pages
from orderhooks.admin.read_only import NotEdited, events_of_number, sees_payload
from orderhooks.admin.stores import chosen_stores, has_several_stores, known_stores, sees_alarms, stores_of
from orderhooks.admin.webhooks import Webhooks, webhooks_of
from orderhooks.db import DatabaseClock
from orderhooks.models import AttemptStats, Change, Dashboard, Delivery, Event, Subscription
from orderhooks.models.attempt_stats import HOUR, first_hour, percentile
from orderhooks.reporting import MOST_WAITING, Backlog, EventReport, current_backlog
from orderhooks.reporting.attempt_stats import HOURS, MOST_COUNTED, DayStats, day_stats, unhealthy
from orderhooks.reporting.counts import count_text
from orderhooks.reporting.durations import span_text
from orderhooks.reporting.worker_status import SWEEP_LATE, Worker, late_sweep_text, missing_worker_text

WORST = 10
MARK_EVERY = 6
LONGEST_NUMBER = Event._meta.get_field("order_number").max_length
FILLS = {
    AttemptStats.Outcome.SUCCESS: "success",
    AttemptStats.Outcome.REDIRECT: "redirect",
    AttemptStats.Outcome.REFUSED: "refused",
    AttemptStats.Outcome.BROKEN: "failure",
    AttemptStats.Outcome.TIMEOUT: "timeout",
    AttemptStats.Outcome.OTHER: "other",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence about the machinery, and how it is: `good`, `held` or `bad`."""

    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """An hour of the chart's table: the counts in the order of AttemptStats.Outcome."""

    hour: str
    counts: Sequence[int]

    def texts(self) -> list[str]:
        """The counts as they are read."""
        return [count_text(count) for count in self.counts]


@dataclass(frozen=True, slots=True)
class Unhealthy:
    """A subscription that has trouble."""

    subscription: Subscription
    url: str
    badge: SafeString
    # Why an active one is listed, where the badge does not say it.
    failed: str
    rate: str
    chart: SafeString
    waiting: str
    trouble: SafeString | str


def worker_notice(worker: Worker, *, now: datetime) -> Notice:
    """Whether a worker is running."""
    if missing := missing_worker_text(worker, now=now):
        return Notice("bad", missing)
    span = span_text(now - (worker.seen_at or now))
    if worker.at_work:
        return Notice("good", _("A worker was seen %(span)s ago.") % {"span": span})
    return Notice("good", _("A worker was seen %(span)s ago; it comes again when there is work.") % {"span": span})


def sweep_notice(worker: Worker, *, now: datetime) -> Notice:
    """Whether the queue starts the sweep, which finds what a lost wake-up left behind."""
    due_at = worker.sweep_due_at
    if due_at is None:
        return Notice(
            "held",
            _(
                'The sweep, which starts a worker each minute, is off. Set ORDERHOOKS["SWEEP"] to True and run'
                " manage.py migrate."
            ),
        )
    if due_at > now:
        return Notice(
            "good",
            _("The sweep, which starts a worker each minute, is next due in %(span)s.")
            % {"span": span_text(due_at - now)},
        )
    span = span_text(now - due_at)
    if not worker.sweep_is_late(now=now):
        if worker.seen_at and now - due_at >= SWEEP_LATE:
            return Notice(
                "good",
                _("The sweep, which starts a worker each minute, is late; a worker was seen %(span)s ago.")
                % {"span": span_text(now - worker.seen_at)},
            )
        return Notice(
            "good", _("The sweep, which starts a worker each minute, has been due for %(span)s.") % {"span": span}
        )
    return Notice("bad", late_sweep_text(worker, now=now))


def loss_notices(request: HttpRequest, *, now: datetime) -> list[Notice]:
    """The changes that could not be captured. Which order had one is not for users who are limited to stores."""
    if stores_of(request) is None:
        texts = reporting.losses(now=now, with_errors=sees_payload(request))
    else:
        texts = reporting.withheld_losses(now=now)
    return [Notice("bad", text) for text in texts]


def reconciliation_notices(*, now: datetime) -> list[Notice]:
    """What the last reconciliation found, if there was one."""
    last = reporting.last_reconciliation()
    level = "bad" if last and last.unpublished() else "good"
    return [Notice(level, reporting.reconciliation_text(last, now=now))] if last else []


def new_notices(worker: Worker, waiting: Backlog, *, now: datetime) -> list[Notice]:
    """The changes and events that no worker has taken up yet. The deliveries that wait do not include them."""
    level = "bad" if worker.is_missing(now=now) else "held"
    return [Notice(level, reporting.backlog_text(waiting.new, now=now))] if waiting.new.total else []


@admin.register(Dashboard)
class DashboardAdmin(NotEdited, ListedLookups):
    def get_urls(self) -> list[URLPattern]:
        dashboard = self.admin_site.admin_view(self.changelist_view)
        order = self.admin_site.admin_view(self.order_view)
        return [
            path("", dashboard, name="orderhooks_dashboard_changelist"),
            path("order/", order, name="orderhooks_dashboard_order"),
        ]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(permissions.VIEW_DELIVERY)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        now, stores, alarms = DatabaseClock().now(), chosen_stores(request), sees_alarms(request)
        worker = tasks.look_at_worker()
        waiting = current_backlog(at_most=MOST_WAITING, stores=stores, alarms=alarms)
        attempt_stats = AttemptStats.objects.of_stores(stores, alarms=alarms).filter(
            hour__gte=first_hour(now=now, hours=HOURS)
        )
        rows = table(attempt_stats.by_hour(), now=now)
        totals = [sum(row.counts[number] for row in rows) for number in range(len(FILLS))]
        times = attempt_stats.by_bucket()
        worst = unhealthy(now=now, at_most=WORST + 1, stores=stores, alarms=alarms)
        narrowed = {"store": store} if has_several_stores(request) and (store := request.GET.get("store")) else {}
        context = {
            "title": _("Dashboard"),
            "notices": [
                worker_notice(worker, now=now),
                sweep_notice(worker, now=now),
                *new_notices(worker, waiting, now=now),
                *loss_notices(request, now=now),
                *(Notice("bad", one) for one in reporting.unpublished_problems(stores=stores)),
                *(Notice("bad", one) for one in reporting.certificate_problems(now=now, stores=stores, alarms=alarms)),
                *(Notice("bad", one) for one in reporting.unsent_problems(now=now, stores=stores, alarms=alarms)),
                *(Notice("bad", one) for one in reporting.objective_problems(now=now, stores=stores, alarms=alarms)),
                *(Notice("bad", one) for one in reporting.unregistered_versions(stores=stores)),
                *(Notice("held", one) for one in (reporting.alarm_problems() if stores is None else ())),
                # It counts the orders of all stores.
                *(reconciliation_notices(now=now) if stores is None else ()),
                *(Notice("good" if one.is_right else "bad", one.text) for one in reporting.capture_levels()),
            ],
            "stores": known_stores(request) if has_several_stores(request) else (),
            "store": request.GET.get("store", ""),
            "waiting": self._waiting(request, waiting, now=now),
            # Of which store a change is, is not known yet.
            "nothing_waits": not waiting.total and (stores is None or not Change.objects.exists()),
            "nobody_sends": worker.is_missing(now=now),
            "chart": chart(rows),
            "most": count_text(max(sum(row.counts) for row in rows)),
            "marks": [*(row.hour for row in rows[::MARK_EVERY]), _time_of_day(now)],
            "legend": [
                (name, outcome.label, count_text(count))
                for (outcome, name), count in zip(FILLS.items(), totals, strict=True)
            ],
            "rows": rows[::-1],
            "outcomes": [outcome.label for outcome in FILLS],
            "p50": milliseconds(percentile(times, 0.5)),
            "p95": milliseconds(percentile(times, 0.95)),
            "unhealthy": self._unhealthy(request, worst[:WORST], stores, now=now),
            # How many are shown, if there are more.
            "of_the_unhealthy": WORST if len(worst) > WORST else 0,
            "subscriptions_url": page_url(request, Subscription, "changelist", site=self.admin_site, **narrowed),
        }
        return self._response(request, "admin/orderhooks/dashboard.html", context)

    def order_view(self, request: HttpRequest) -> HttpResponse:
        """The webhooks of the order with a number, whatever model the store keeps its orders in."""
        number = request.GET.get("number", "").replace("\0", "").strip()
        events = events_of_number(number) if number else Event.objects.none()
        stores = stores_of(request)
        found = webhooks_of(events, stores=stores, site=self.admin_site)
        pages = order_pages(request, (one.event for one in found.reports), site=self.admin_site)
        known_stores_of = {(one.event.source, one.event.order_pk): one.event.store for one in found.reports}
        context = {
            "title": _("Webhooks of order %(number)s") % {"number": number} if number else _("Webhooks of an order"),
            "number": number,
            "pages": sorted(
                (source, known_stores_of.get((source, key), ""), key, url) for (source, key), url in pages.items()
            ),
            "orders": [
                # Of which store a change is, is not known yet.
                (heading, one.draw(request, nothing=_waits(one) if stores is None else ""))
                for heading, one in _by_order(found, number)
            ],
            "unknown": reporting.order_without_events_text(number, stores=stores)
            if number and not found.reports
            else "",
            "problems": reporting.worker_problems(tasks.look_at_worker(), now=DatabaseClock().now()),
        }
        return self._response(request, "admin/orderhooks/order_webhooks.html", context)

    def _response(self, request: HttpRequest, template: str, context: Mapping[str, Any]) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        request.current_app = self.admin_site.name
        return TemplateResponse(
            request,
            template,
            {**self.admin_site.each_context(request), "opts": self.opts, "longest_number": LONGEST_NUMBER, **context},
        )

    def _waiting(self, request: HttpRequest, found: Backlog, *, now: datetime) -> dict[str, str]:
        if found.oldest is None:
            return {}
        narrowed = f"&{urlencode({'store': store})}" if (store := request.GET.get("store")) else ""
        return {
            "count": count_text(found.waiting, bound=MOST_WAITING),
            "url": f"{self._url('delivery_changelist')}?state__exact={Delivery.State.PENDING.value}{narrowed}",
            "oldest": str(found.oldest),
            "oldest_url": self._url("delivery_change", found.oldest.pk),
            "oldest_span": span_text(now - found.oldest.created_at),
            "oldest_for": str(found.oldest.subscription),
        }

    def _unhealthy(
        self,
        request: HttpRequest,
        subscriptions: Sequence[Subscription],
        stores: Collection[str] | None,
        *,
        now: datetime,
    ) -> list[Unhealthy]:
        stats = day_stats(subscriptions, now=now, stores=stores)
        return [self._unhealthy_row(request, one, stats[one.pk], now=now) for one in subscriptions]

    def _unhealthy_row(
        self, request: HttpRequest, subscription: Subscription, stats: DayStats, *, now: datetime
    ) -> Unhealthy:
        return Unhealthy(
            subscription=subscription,
            url=page_url(request, Subscription, "change", subscription.pk, site=self.admin_site),
            badge=health_badge(subscription, now=now),
            failed=_failed_text(stats),
            rate=rate(stats),
            chart=day_chart(stats),
            waiting=count_text(stats.waiting, bound=MOST_COUNTED),
            trouble=last_trouble(subscription, now=now),
        )

    def _url(self, name: str, *arguments: object) -> str:
        return reverse(f"{self.admin_site.name}:orderhooks_{name}", args=arguments)


def _waits(webhooks: Webhooks) -> str:
    """That a change of the order that these are about is no event yet."""
    event = webhooks.reports[0].event
    return reporting.waiting_change_text(event.source, [event.order_pk])


def _by_order(found: Webhooks, number: str) -> list[tuple[str, Webhooks]]:
    """What came of each order, below a heading if several have the number: other stores have orders of their own."""
    groups: dict[tuple[str, str], list[EventReport]] = {}
    for one in found.reports:
        groups.setdefault((one.event.source, one.event.order_pk), []).append(one)
    if len(groups) < 2:
        return [("", found)] if found.reports else []
    parts = []
    for (source, key), reports in groups.items():
        values = {"number": number, "store": reports[0].event.store or _("no store"), "source": source, "key": key}
        heading = (
            _("Order %(number)s of %(store)s")
            if reports[0].event.store
            else _("Order %(number)s (%(source)s, %(key)s)")
        )
        parts.append((heading % values, replace(found, reports=reports)))
    return parts


def _failed_text(stats: DayStats) -> str:
    if not stats.failed:
        return ""
    text = ngettext("%(count)s attempt failed in 24 hours", "%(count)s attempts failed in 24 hours", stats.failed)
    return text % {"count": count_text(stats.failed)}


def table(counted: Mapping[tuple[datetime, str], int], *, now: datetime) -> list[Row]:
    """The last hours, oldest first, also those in which nothing was sent."""
    start = first_hour(now=now, hours=HOURS)
    hours = [start + number * HOUR for number in range(HOURS)]
    return [Row(_time_of_day(hour), [counted.get((hour, outcome.value), 0) for outcome in FILLS]) for hour in hours]


def _time_of_day(at: datetime) -> str:
    return date_format(timezone.localtime(at) if timezone.is_aware(at) else at, "TIME_FORMAT")


def chart(rows: Sequence[Row]) -> SafeString:
    series = [charts.Series(name, [row.counts[number] for row in rows]) for number, name in enumerate(FILLS.values())]
    tips = [f"{row.hour}: {_counts_text(row.counts)}" for row in rows]
    label = _("Attempts of the last 24 hours by hour and outcome; the table below has the numbers")
    return charts.bars(series, width=720, height=180, label=label, tips=tips)


def _counts_text(counts: Sequence[int]) -> str:
    found = [f"{count_text(count)} × {outcome.label}" for outcome, count in zip(FILLS, counts, strict=True) if count]
    return "; ".join(found) or "0"


def milliseconds(time: float | None) -> str:
    """`12 ms`, `1.5 s`."""
    if time is None:
        return "-"
    if time < 1000:
        return _("%(time)s ms") % {"time": number_format(round(time))}
    return _("%(time)s s") % {"time": number_format(round(time / 1000, 1), decimal_pos=1)}
