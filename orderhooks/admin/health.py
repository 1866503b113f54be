"""How subscriptions are doing: the columns of their list. What they show is fetched at once for the page's rows."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from orderhooks.admin import charts
from orderhooks.admin.links import link, page_url
from orderhooks.admin.lookups import LastPageList
from orderhooks.admin.stores import stores_of
from orderhooks.models import Delivery, Subscription
from orderhooks.reporting import durations, endpoint_health, objectives
from orderhooks.reporting.attempt_stats import MOST_COUNTED, DayStats, day_stats
from orderhooks.reporting.certificates import certificate_problem, has_expired
from orderhooks.reporting.counts import count_text
from orderhooks.reporting.endpoint_health import Health, health_of
from orderhooks.reporting.objectives import Objective
from orderhooks.reporting.unsent import unsent_problem

__all__ = ["HEALTH_COLUMNS", "HealthColumns", "badge", "day_chart", "health_badge", "last_trouble", "rate"]

HEALTH_COLUMNS = ["health", "last_error", "waiting", "success_rate", "objective", "last_day", "last_success"]
LEVELS = {
    Health.ACTIVE: "good",
    Health.CIRCUIT_OPEN: "bad",
    Health.FAILING: "bad",
    Health.PAUSED: "held",
    Health.DISABLED: "bad",
}
MOST_CHARACTERS = 120


class _HealthList(LastPageList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        now = timezone.now()
        stats = day_stats(self.result_list, now=now, stores=stores_of(request))
        found = objectives.objectives(self.result_list, now=now)
        for subscription in self.result_list:
            # A column does not get the request, and so not the user.
            subscription._request = request
            subscription._stats, subscription._now = stats[subscription.pk], now
            subscription._objective = found.get(subscription.pk)


class HealthColumns(admin.ModelAdmin):
    """A mixin of the subscriptions' admin. Its columns' queries do not grow with the rows."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return _HealthList

    @admin.display(description=gettext_lazy("health"), ordering="state")
    def health(self, subscription: Any) -> SafeString:
        return health_badge(subscription, now=subscription._now)

    @admin.display(description=gettext_lazy("success, 24 h"))
    def success_rate(self, subscription: Any) -> str:
        return rate(subscription._stats)

    @admin.display(description=gettext_lazy("objective"))
    def objective(self, subscription: Any) -> SafeString | str:
        return objective_badge(subscription._objective) if subscription._objective else "-"

    @admin.display(description=gettext_lazy("attempts, 24 h"))
    def last_day(self, subscription: Any) -> SafeString:
        return day_chart(subscription._stats)

    @admin.display(description=gettext_lazy("waiting"))
    def waiting(self, subscription: Any) -> SafeString | str:
        count = count_text(subscription._stats.waiting, bound=MOST_COUNTED)
        if not subscription._stats.waiting:
            return count
        query = {"subscription__id__exact": subscription.pk, "state__exact": Delivery.State.PENDING.value}
        url = page_url(subscription._request, Delivery, "changelist", site=self.admin_site, **query)
        return link(url, count)

    @admin.display(description=gettext_lazy("last success"), ordering="last_success_at")
    def last_success(self, subscription: Any) -> SafeString | str:
        return _time_html(subscription.last_success_at, subscription._now)

    @admin.display(description=gettext_lazy("last error"), ordering="last_failure_at")
    def last_error(self, subscription: Any) -> SafeString | str:
        return last_trouble(subscription, now=subscription._now)


def last_trouble(subscription: Subscription, *, now: datetime) -> SafeString | str:
    """Why it was disabled, otherwise its last error, and when it was.

    A receiver that has itself disabled makes no error.
    """
    text = Truncator(subscription.state_reason or subscription.last_failure).chars(MOST_CHARACTERS)
    if subscription.last_failure_at is None:
        return text or "-"
    return format_html("{} <br>{}", text, _time_html(subscription.last_failure_at, now))


def badge(level: str, text: object) -> SafeString:
    """Text on a colour: `good`, `bad`, `held`, `quiet`, or as the state of a delivery is."""
    return format_html('<span class="orderhooks-badge orderhooks-{}">{}</span>', level, text)


def health_badge(subscription: Subscription, *, now: Any) -> SafeString:
    """The health of a subscription, and that its client certificate ends soon."""
    found = health_of(subscription, now=now)
    text = endpoint_health.short_text(subscription, now=now)
    health = badge(LEVELS[found], text)
    if unsent_problem(subscription, now=now):
        health = format_html("{} {}", health, badge("held", _("some deliveries can’t be made")))
    if not certificate_problem(subscription, now=now):
        return health
    if has_expired(subscription, now=now):
        return format_html("{} {}", health, badge("bad", _("certificate expired")))
    left = durations.relative_text(subscription.certificate_expires_at, now=now)
    return format_html("{} {}", health, badge("held", _("certificate ends %(left)s") % {"left": left}))


def objective_badge(objective: Objective) -> SafeString | str:
    """How it does, on a colour if it is missed or will be soon."""
    text = objectives.short_text(objective)
    if objective.is_missed:
        return badge("bad", text)
    return badge("held", text) if objective.fast_burn() is not None else text


def rate(stats: DayStats) -> str:
    """`99.1 %`: never 100 % when something failed."""
    if stats.success_rate is None:
        return "-"
    percent = number_format(round(min(stats.success_rate * 100, 99.9), 1), decimal_pos=1) if stats.failed else "100"
    return _("%(percent)s %%") % {"percent": percent}


def day_chart(stats: DayStats) -> SafeString:
    """24 bars; the rate beside it says the same in a number."""
    label = _("Last 24 hours: %(succeeded)d attempts succeeded, %(failed)d failed") % {
        "succeeded": stats.succeeded,
        "failed": stats.failed,
    }
    series = [
        charts.Series("success", [hour.succeeded for hour in stats.hours]),
        charts.Series("failure", [hour.failed for hour in stats.hours]),
    ]
    return charts.bars(series, width=120, height=28, label=label)


def _time_html(at: Any, now: Any) -> SafeString | str:
    """How long ago, with the time itself as a tooltip."""
    if at is None:
        return "-"
    absolute, relative = durations.time_text(at, now=now), durations.relative_text(at, now=now)
    return format_html('<span title="{}">{}</span>', absolute, relative)
