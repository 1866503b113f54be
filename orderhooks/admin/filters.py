"""The filters of the delivery log, each choice with the count of what it would show.

# Note [Counts of the log]
Each filter looks at the newest rows that the other filters and the search leave: 1,000 and one. If there are no more,
the counts are exact. If there are, states and responses, which have indexes, are counted up to 1,000 each, unless
another filter is on as well, which no index serves together with them. All others read `12 of the newest 1,000`. For
the same reason, when filters are combined, those that are on count nothing, and the list counts to 1,000, not 10,000.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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

from orderhooks import sources
from orderhooks.admin.source_choices import SOURCE_PARAMETER, has_several_sources
from orderhooks.admin.stores import has_several_stores, known_stores, seen_subscriptions
from orderhooks.admin.topic_choices import listed_topics, newest_of
from orderhooks.db import public_ids
from orderhooks.db.bounded_counts import counts_up_to
from orderhooks.models import Delivery, Subscription
from orderhooks.reporting.counts import count_text

BOUND = 1000
# A status code as it is typed.
STATUS = re.compile("[2-5][0-9]{2}", re.ASCII)
MOST_LISTED = 500

Rows = QuerySet[Any]


@dataclass(frozen=True, slots=True)
class Newest:
    """The columns of a row that the filters count."""

    public_id: str
    state: str
    failure_class: int | None
    topic: str
    subscription: int
    subscription_state: str
    source: str = ""
    store: str = ""


COLUMNS = {
    "public_id": "public_id",
    "state": "state",
    "failure_class": "failure_class",
    "topic": "event__topic",
    "subscription": "subscription_id",
    "subscription_state": "subscription__state",
}
# Not in the index of topics: read only where a project has several sources or stores.
SOURCE_COLUMN = {"source": "event__source"}
STORE_COLUMN = {"store": "event__store"}


class CountedFilter(admin.SimpleListFilter):
    """Shows how many each choice would show. See Note [Counts of the log]."""

    # Whether the rows of a choice are found in their order by an index.
    indexed = False

    def rows(self, queryset: Rows, value: str) -> Rows:
        """The rows of a choice."""
        raise NotImplementedError

    def choices_of(self, row: Newest) -> Iterable[str]:
        """The choices that would show the row."""
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
        counts = {} if self.value() and are_combined(self.request) else self.counts(changelist)
        yield self._choice(changelist, None, _("All"))
        for value, title in self.lookup_choices:
            count = counts.get(str(value))
            yield self._choice(changelist, str(value), str(title) if count is None else f"{title} ({count})")

    def counts(self, changelist: ChangeList) -> dict[str, str]:
        values = [str(value) for value, _title in self.lookup_choices]
        newest, more = self._newest(changelist)
        if more and self.indexed and not self._others_on() - {SinceFilter.parameter_name}:
            rows = self._others(changelist)
            found = counts_up_to(BOUND, {value: self.rows(rows, value) for value in values})
            return {value: count_text(count, bound=BOUND) for value, count in found.items()}
        counts = Counter(value for row in newest for value in self.choices_of(row))
        return {value: self.count_label(counts[value], more=more) for value in values}

    def count_label(self, count: int, *, more: bool) -> str:
        text = count_text(count, bound=BOUND)
        if not more:
            return text
        return _("%(count)s of the newest %(bound)s") % {"count": text, "bound": count_text(BOUND, bound=BOUND)}

    def _newest(self, changelist: ChangeList) -> tuple[list[Newest], bool]:
        """The newest rows that the others leave, and whether there are more. Looked up once for all that are off."""
        if self.value():
            # Not by the topic's order, for the topic's own counts.
            others = self._others(changelist)
            others = others.order_by("-pk") if isinstance(self, TopicFilter) else others
            return self._looked_up(list(others.values_list("pk", flat=True)[: BOUND + 1]))
        known = self.request.__dict__
        if "_orderhooks_newest" not in known:
            # The rows of the list itself, whose keys have been read.
            known["_orderhooks_newest"] = self._looked_up(changelist.paginator.keys[: BOUND + 1])
        newest: tuple[list[Newest], bool] = known["_orderhooks_newest"]
        return newest

    def _looked_up(self, keys: list[int]) -> tuple[list[Newest], bool]:
        several = (has_several_sources(), SOURCE_COLUMN), (has_several_stores(self.request), STORE_COLUMN)
        columns = dict(COLUMNS)
        for there_are, column in several:
            columns |= column if there_are else {}
        rows = Delivery.objects.filter(pk__in=keys[:BOUND]).order_by().values_list(*columns.values())
        return [Newest(**dict(zip(columns, row, strict=True))) for row in rows], len(keys) > BOUND

    def _others(self, changelist: ChangeList) -> Rows:
        return changelist.get_queryset(self.request, exclude_parameters=self.expected_parameters())

    def _others_on(self) -> set[Any]:
        return {name for name, value in self.request.GET.items() if value} - {self.parameter_name, PAGE_VAR}

    def _choice(self, changelist: ChangeList, value: str | None, display: str) -> dict[str, Any]:
        name: str = self.parameter_name  # type: ignore[assignment]
        link = changelist.get_query_string({name: value}) if value else changelist.get_query_string(remove=[name])
        return {"selected": self.value() == value, "query_string": link, "display": display}


class StateFilter(CountedFilter):
    """By the state. `held` shows those of the pending ones that wait for their subscription to be active."""

    title = gettext_lazy("state")
    parameter_name = "state__exact"
    indexed = True
    held = "held"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        pending, *others = ((state.value, str(state.label)) for state in Delivery.State)
        return [(pending[0], _("pending or held")), (self.held, _("held")), *others]

    def rows(self, queryset: Rows, value: str) -> Rows:
        if value == self.held:
            return queryset.filter(state=Delivery.State.PENDING).exclude(subscription__state=Subscription.State.ACTIVE)
        return queryset.filter(state=value)

    def choices_of(self, row: Newest) -> Iterable[str]:
        is_held = row.state == Delivery.State.PENDING and row.subscription_state != Subscription.State.ACTIVE
        return [row.state, *([self.held] if is_held else ())]


class ResponseFilter(CountedFilter):
    title = gettext_lazy("last response")
    parameter_name = "response"
    indexed = True
    known: Mapping[str, tuple[int, str | Promise]] = {
        "2xx": (2, "2xx"),
        "3xx": (3, "3xx"),
        "4xx": (4, "4xx"),
        "5xx": (5, "5xx"),
        "none": (0, gettext_lazy("no response")),
    }
    template = "admin/orderhooks/delivery/response_filter.html"

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self.others = _others_of(request, self.parameter_name)

    def is_known(self, value: str) -> bool:
        return value in self.known or bool(STATUS.fullmatch(value))

    @property
    def written(self) -> str:
        """The status code that was typed."""
        value = self.value() or ""
        return value if STATUS.fullmatch(value) else ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return [(value, str(title)) for value, (_class, title) in self.known.items()]

    def rows(self, queryset: Any, value: str) -> Rows:
        if value in self.known:
            found: Rows = queryset.answered(self.known[value][0])
        else:
            # By the index of its class first: `404` among all responses of 4xx.
            found = queryset.answered(int(value[0])).filter(last_status_code=int(value))
        return found

    def choices_of(self, row: Newest) -> Iterable[str]:
        if row.state == Delivery.State.DELIVERED:
            return ["2xx"]
        return [name for name, (status_class, _title) in self.known.items() if status_class == row.failure_class]


class SinceFilter(CountedFilter):
    """A span up to now, or since a time in the user's zone: `?since=24h`, `?since=2026-11-24T03:00`."""

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
        self.others = _others_of(request, self.parameter_name)
        self.now = timezone.now()
        self.earliest = {
            value: public_ids.earliest_at("dlv_", self.now - span) for value, (span, _title) in self.spans.items()
        }
        value = self.value()
        self.at = _parsed(value) if value and value not in self.spans else None
        if value and value not in self.spans and self.at is None and not hasattr(request, "_orderhooks_refused"):
            request._orderhooks_refused = True  # type: ignore[attr-defined]
            text = _("“%(value)s” is not a valid date and time. Write it such as 2026-11-24T03:00.") % {"value": value}
            messages.error(request, text)

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return [(value, str(title)) for value, (_span, title) in self.spans.items()]

    def is_known(self, value: str) -> bool:
        return value in self.spans or self.at is not None

    def rows(self, queryset: Any, value: str) -> Rows:
        since: Callable[[datetime], Rows] = queryset.since
        return since(self.now - self.spans[value][0] if value in self.spans else self.at)  # type: ignore[arg-type]

    def choices_of(self, row: Newest) -> Iterable[str]:
        return [value for value, earliest in self.earliest.items() if row.public_id >= earliest]

    def count_label(self, count: int, *, more: bool) -> str:
        # The newest rows are in the order of time: fewer than all of them are all that there are.
        return count_text(count + (more and count == BOUND), bound=BOUND)

    @property
    def label(self) -> str:
        """What stands before the input."""
        return _("Since")

    @property
    def written(self) -> str:
        """The time as the input takes it."""
        return self.at.strftime("%Y-%m-%dT%H:%M") if self.at else ""


class UntilFilter(SinceFilter):
    """Before a time in the user's zone: `?until=2026-11-24T05:00`, also together with `since`."""

    title = gettext_lazy("latest date")
    parameter_name = "until"
    spans: Mapping[str, tuple[timedelta, str | Promise]] = {}

    @property
    def label(self) -> str:
        return _("Until")

    def rows(self, queryset: Any, value: str) -> Rows:
        until: Callable[[datetime], Rows] = queryset.until
        return until(self.at)  # type: ignore[arg-type]


class TopicFilter(CountedFilter):
    title = gettext_lazy("topic")
    parameter_name = "topic"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return [(name, name) for name in listed_topics(request)]

    def rows(self, queryset: Rows, value: str) -> Rows:
        # From its newest event on. Otherwise PostgreSQL may read the events by age, and with them all that came since a
        # topic went out of use.
        return queryset.filter(event__topic=value, event__lte=newest_of(self.request, value))

    def choices_of(self, row: Newest) -> Iterable[str]:
        return [row.topic]


class SourceFilter(CountedFilter):
    """Only for projects with several order sources: see `without_sole_choices`."""

    title = gettext_lazy("source")
    parameter_name = SOURCE_PARAMETER

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return [(name, name) for name in sources.names()]

    def rows(self, queryset: Rows, value: str) -> Rows:
        return queryset.filter(event__source=value)

    def choices_of(self, row: Newest) -> Iterable[str]:
        return [row.source]


class LogStoreFilter(CountedFilter):
    """By the store of the event. Only for users who see several stores: see OfStores.get_list_filter."""

    title = gettext_lazy("store")
    parameter_name = "store"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return [(store, store) for store in known_stores(request)]

    def is_known(self, value: str) -> bool:
        # Also one that is not listed: there may be more than are offered.
        return "\0" not in value

    def rows(self, queryset: Rows, value: str) -> Rows:
        return queryset.filter(event__store=value)

    def choices_of(self, row: Newest) -> Iterable[str]:
        return [row.store]


class SubscriptionFilter(CountedFilter):
    title = gettext_lazy("subscription")
    parameter_name = "subscription__id__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        known: list[tuple[str, str]] | None = getattr(request, "_orderhooks_subscriptions", None)
        if known is None:
            rows = seen_subscriptions(request).values_list("pk", "name")[:MOST_LISTED]
            known = [(str(pk), name) for pk, name in rows]
            request._orderhooks_subscriptions = known  # type: ignore[attr-defined]
        return known

    def is_known(self, value: str) -> bool:
        # Also one that is not listed: its own page links here.
        return value.isascii() and value.isdigit() and len(value) < 19

    def rows(self, queryset: Rows, value: str) -> Rows:
        return queryset.filter(subscription=int(value))

    def choices_of(self, row: Newest) -> Iterable[str]:
        return [str(row.subscription)]


FILTERS: list[Any] = [
    StateFilter,
    ResponseFilter,
    SinceFilter,
    UntilFilter,
    TopicFilter,
    SourceFilter,
    LogStoreFilter,
    SubscriptionFilter,
]


def are_combined(request: HttpRequest) -> bool:
    """Whether more than one is on, of those that each have an index of their own; a date goes with every index."""
    names = {one.parameter_name for one in FILTERS} - {SinceFilter.parameter_name}
    return sum(bool(request.GET.get(name)) for name in names) > 1


def _others_of(request: HttpRequest, parameter_name: str) -> list[tuple[str, str]]:
    own = (parameter_name, PAGE_VAR)
    return [(name, one) for name, many in request.GET.lists() if name not in own for one in many]


def _parsed(text: str) -> datetime | None:
    try:
        at = parse_datetime(text)
        if at is None:
            return None
        # In the user's zone, unless it names one.
        return timezone.make_aware(at) if timezone.is_naive(at) else timezone.localtime(at)
    except (ValueError, OverflowError):
        return None
