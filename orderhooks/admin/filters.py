"""The filters of the delivery log, each choice with the count of what it would show."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from orderhooks import topics
from orderhooks.models import Delivery, Subscription
from orderhooks.models.counting import count_text, counts_up_to

BOUND = 1000
MOST_LISTED = 500

Rows = QuerySet[Any]


class CountedFilter(admin.SimpleListFilter):
    """Shows how many each choice would show beside the other filters and the search that are on."""

    def rows(self, queryset: Rows, value: str) -> Rows:
        """Those of a choice."""
        raise NotImplementedError

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        value = self.value()
        if not value:
            return queryset
        return self.rows(queryset, value) if self.is_known(value) else queryset.none()

    def is_known(self, value: str) -> bool:
        return value in {str(known) for known, _title in self.lookup_choices}

    def has_output(self) -> bool:
        return True

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        others = changelist.get_queryset(self.request, exclude_parameters=self.expected_parameters())
        counts = self.counts(others)
        yield self._choice(changelist, None, _("All"))
        for value, title in self.lookup_choices:
            yield self._choice(changelist, str(value), f"{title} ({counts[str(value)]})")

    def counts(self, others: Rows) -> Mapping[str, str]:
        values = [str(value) for value, _title in self.lookup_choices]
        found = counts_up_to(BOUND, {value: self.rows(others, value) for value in values})
        return {value: count_text(count, bound=BOUND) for value, count in found.items()}

    def _choice(self, changelist: ChangeList, value: str | None, display: str) -> dict[str, Any]:
        name: str = self.parameter_name  # type: ignore[assignment]
        link = changelist.get_query_string({name: value}) if value else changelist.get_query_string(remove=[name])
        return {"selected": self.value() == value, "query_string": link, "display": display}


class SampledFilter(CountedFilter):
    """Has too many choices to count each by itself: it counts the newest rows, and says so if there are more."""

    column: str

    def counts(self, others: Rows) -> Mapping[str, str]:
        newest = [str(value) for value in others.values_list(self.column, flat=True)[: BOUND + 1]]
        if len(newest) <= BOUND:
            counts = Counter(newest)
            return {value: count_text(counts[value], bound=BOUND) for value, _title in self.lookup_choices}
        counts = Counter(newest[:BOUND])
        of = _("%(count)s of the newest %(bound)s")
        bound = count_text(BOUND, bound=BOUND)
        return {
            value: of % {"count": count_text(counts[value], bound=BOUND), "bound": bound}
            for value, _title in self.lookup_choices
        }


class StateFilter(CountedFilter):
    title = gettext_lazy("state")
    parameter_name = "state__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return [(state.value, str(state.label)) for state in Delivery.State]

    def rows(self, queryset: Rows, value: str) -> Rows:
        return queryset.filter(state=value)


class AnswerFilter(CountedFilter):
    title = gettext_lazy("last answer")
    parameter_name = "answer"
    known: Mapping[str, tuple[int, str | Promise]] = {
        "2xx": (2, "2xx"),
        "3xx": (3, "3xx"),
        "4xx": (4, "4xx"),
        "5xx": (5, "5xx"),
        "none": (0, gettext_lazy("no answer")),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return [(value, str(title)) for value, (_class, title) in self.known.items()]

    def rows(self, queryset: Any, value: str) -> Rows:
        return queryset.answered(self.known[value][0])


class SinceFilter(CountedFilter):
    """A span up to now, or since a moment in the user's zone: `?since=24h`, `?since=2026-11-24T03:00`."""

    title = gettext_lazy("date")
    parameter_name = "since"
    template = "admin/orderhooks/delivery/since_filter.html"
    spans: Mapping[str, tuple[timedelta, str | Promise]] = {
        "1h": (timedelta(hours=1), gettext_lazy("the last hour")),
        "24h": (timedelta(hours=24), gettext_lazy("the last 24 hours")),
        "7d": (timedelta(days=7), gettext_lazy("the last 7 days")),
    }

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        # What the form of the filter has to hand on: the search and the other filters.
        own = (self.parameter_name, PAGE_VAR)
        self.others = [(name, one) for name, many in request.GET.lists() if name not in own for one in many]
        value = self.value()
        self.moment = _moment(value) if value and value not in self.spans else None
        if value and value not in self.spans and self.moment is None and not hasattr(request, "_orderhooks_told"):
            request._orderhooks_told = True  # type: ignore[attr-defined]
            text = _("“%(value)s” is no date and time. Write it such as 2026-11-24T03:00.") % {"value": value}
            messages.error(request, text)

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return [(value, str(title)) for value, (_span, title) in self.spans.items()]

    def is_known(self, value: str) -> bool:
        return value in self.spans or self.moment is not None

    def rows(self, queryset: Any, value: str) -> Rows:
        # To the minute, so that a page's queries all mean the same.
        now = timezone.now().replace(second=0, microsecond=0)
        since: Callable[[datetime], Rows] = queryset.since
        return since(now - self.spans[value][0] if value in self.spans else self.moment)  # type: ignore[arg-type]

    @property
    def written(self) -> str:
        """The moment as the input takes it."""
        return self.moment.strftime("%Y-%m-%dT%H:%M") if self.moment else ""


class TopicFilter(SampledFilter):
    title = gettext_lazy("topic")
    parameter_name = "topic"
    column = "event__topic"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        # From the catalogue: to ask the table for its topics is to read all of it.
        return [(name, name) for name in topics.catalogue()]

    def rows(self, queryset: Rows, value: str) -> Rows:
        return queryset.filter(event__topic=value)


class SubscriptionFilter(SampledFilter):
    title = gettext_lazy("subscription")
    parameter_name = "subscription__id__exact"
    column = "subscription_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        known: list[tuple[str, str]] | None = getattr(request, "_orderhooks_subscriptions", None)
        if known is None:
            rows = Subscription.objects.values_list("pk", "name")[:MOST_LISTED]
            known = [(str(pk), name) for pk, name in rows]
            request._orderhooks_subscriptions = known  # type: ignore[attr-defined]
        return known

    def is_known(self, value: str) -> bool:
        # Also one that is not listed: its own page links here.
        return value.isascii() and value.isdigit() and len(value) < 19

    def rows(self, queryset: Rows, value: str) -> Rows:
        return queryset.filter(subscription=int(value))


FILTERS: list[Any] = [StateFilter, AnswerFilter, SinceFilter, TopicFilter, SubscriptionFilter]


def _moment(text: str) -> datetime | None:
    try:
        moment = parse_datetime(text)
        if moment is None:
            return None
        # In the user's zone, unless it names one.
        return timezone.make_aware(moment) if timezone.is_naive(moment) else timezone.localtime(moment)
    except (ValueError, OverflowError):
        return None
