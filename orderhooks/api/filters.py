"""The filters of lists: by equality and by time. An unknown parameter is an error, otherwise it would show all rows."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import django_filters
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.forms import ChoiceField, Field
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail
from rest_framework.request import Request

from orderhooks import versions
from orderhooks.api.fields import StrictDateTimeField
from orderhooks.api.protocol.drf import FORMAT_PARAMETER
from orderhooks.api.protocol.problems import ParameterError
from orderhooks.db import public_ids
from orderhooks.models import Backfill, Delivery, Event, Order, Replay, Subscription
from orderhooks.models.deliveries import DeliveryQuerySet
from orderhooks.models.events import EventQuerySet
from orderhooks.models.subscriptions import SubscriptionQuerySet

__all__ = [
    "BackfillFilters",
    "DeliveryFilters",
    "EventFilters",
    "OrderFilters",
    "ReplayFilters",
    "StrictFilterBackend",
    "SubscriptionFilters",
]

PAGING = ("cursor", "page_size", "ordering")
BEHIND = [("true", "behind the newest version"), ("false", "on the newest version")]
ANSWERED = [("0", "not at all"), ("2", "2xx"), ("3", "3xx"), ("4", "4xx"), ("5", "5xx")]


class StrictFilterBackend(DjangoFilterBackend):
    """Applies the view's `filterset_class` to its list.

    Raises ParameterError for unknown parameters and invalid values.
    """

    def filter_queryset(self, request: Request, queryset: Any, view: Any) -> Any:
        if view.action != "list":
            return queryset
        filterset = self.get_filterset(request, queryset, view)
        filters = filterset.filters if filterset else {}
        require_known(request, [*filters, *PAGING])
        if filterset is None:
            return queryset
        given = {name: request.query_params[name] for name in filters if name in request.query_params}
        # Form fields strip white space, and an empty value would filter nothing.
        if blank := {name: value for name, value in given.items() if not value.strip()}:
            text = "Send a value, or leave the parameter out."
            raise ParameterError(
                {name: [ErrorDetail(text, "whitespace" if blank[name] else "blank")] for name in blank}
            )
        if not filterset.is_valid():
            errors = filterset.form.errors.as_data()
            raise ParameterError({name: [_remedy(filterset, name, found)] for name, found in errors.items()})
        return filterset.qs

    def to_html(self, request: Request, queryset: Any, view: Any) -> str:
        return ""  # the form's template is in an app that need not be installed


def require_known(request: Request, names: Iterable[str]) -> None:
    """Raises ParameterError for query parameters that are not among `names` (or `format`), or that come twice."""
    names = list(names)
    if twice := [name for name, values in request.query_params.lists() if len(values) > 1]:
        raise ParameterError({name: ["Send this parameter only once."] for name in twice})
    allowed = {*names, FORMAT_PARAMETER}
    if unknown := [name for name in request.query_params if name not in allowed]:
        known = ", ".join(sorted(names)) or "none"
        raise ParameterError({name: [f"Unknown parameter. Known parameters: {known}."] for name in unknown})


def _remedy(filterset: django_filters.FilterSet, name: str, found: Sequence[ValidationError]) -> ErrorDetail:
    field = filterset.form.fields[name]
    code = str(found[0].code or "invalid")
    if isinstance(field, ChoiceField):
        choices: Any = field.choices
        return ErrorDetail(f"Send one of: {', '.join(str(value) for value, _label in choices if value)}.", code)
    return ErrorDetail(" ".join(text for one in found for text in one.messages), code)


class DateTimeFormField(Field):
    def to_python(self, value: Any) -> datetime | None:
        if not value:
            return None
        try:
            parsed: datetime = StrictDateTimeField().run_validation(value)
        except serializers.ValidationError as error:
            [detail] = error.detail
            raise ValidationError(str(detail), code=str(getattr(detail, "code", "invalid"))) from None
        return parsed


class DateTimeFilter(django_filters.Filter):
    """A date and time, in the same form as in request bodies."""

    field_class = DateTimeFormField


class OrderFilters(django_filters.FilterSet):
    class Meta:
        model = Order
        fields = ["number", "store", "status", "payment_status", "fulfillment_status"]


class EventFilters(django_filters.FilterSet):
    since = DateTimeFilter(method="made_since")
    until = DateTimeFilter(method="made_until")

    class Meta:
        model = Event
        fields = ["topic", "order_number", "source", "store"]

    # Ids contain the time, and unlike the time they have an index.

    def made_since(self, events: EventQuerySet, _name: str, at: datetime) -> EventQuerySet:
        return events.filter(public_id__gte=public_ids.earliest_at("evt_", at))

    def made_until(self, events: EventQuerySet, _name: str, at: datetime) -> EventQuerySet:
        return events.filter(public_id__lt=public_ids.earliest_at("evt_", at))


class SubscriptionFilters(django_filters.FilterSet):
    is_behind = django_filters.ChoiceFilter(choices=BEHIND, method="of_newest_version")

    class Meta:
        model = Subscription
        fields = ["name", "store", "state", "api_version"]

    def of_newest_version(self, rows: SubscriptionQuerySet, _name: str, behind: str) -> QuerySet[Any]:
        return rows.behind() if behind == "true" else rows.filter(api_version=versions.newest())


def _of(rows: QuerySet[Any], name: str, owner: QuerySet[Any], public_id: str) -> QuerySet[Any]:
    # Filters by primary key, which the indexes of the log begin with.
    return rows.filter(**{name: owner.filter(public_id=public_id).values_list("pk", flat=True).first() or 0})


class DeliveryFilters(django_filters.FilterSet):
    subscription = django_filters.CharFilter(method="of_subscription")
    event = django_filters.CharFilter(method="of_event")
    order_number = django_filters.CharFilter(method="of_order")
    source = django_filters.CharFilter(method="of_source")
    topic = django_filters.CharFilter(method="of_topic")
    answered = django_filters.ChoiceFilter(choices=ANSWERED, method="last_answered")
    since = DateTimeFilter(method="made_since")

    class Meta:
        model = Delivery
        fields = ["state"]

    def of_subscription(self, rows: DeliveryQuerySet, name: str, public_id: str) -> QuerySet[Any]:
        return _of(rows, name, Subscription.objects.all(), public_id)

    def of_event(self, rows: DeliveryQuerySet, name: str, public_id: str) -> QuerySet[Any]:
        return _of(rows, name, Event.objects.all(), public_id)

    def of_order(self, rows: DeliveryQuerySet, _name: str, number: str) -> DeliveryQuerySet:
        return rows.filter(event__order_number=number)

    def of_source(self, rows: DeliveryQuerySet, _name: str, source: str) -> DeliveryQuerySet:
        return rows.filter(event__source=source)

    def of_topic(self, rows: DeliveryQuerySet, _name: str, topic: str) -> DeliveryQuerySet:
        return rows.filter(event__topic=topic)

    def last_answered(self, rows: DeliveryQuerySet, _name: str, status_class: str) -> DeliveryQuerySet:
        return rows.answered(int(status_class))

    def made_since(self, rows: DeliveryQuerySet, _name: str, at: datetime) -> DeliveryQuerySet:
        return rows.since(at)


class JobFilters(django_filters.FilterSet):
    subscription = django_filters.CharFilter(method="of_subscription")

    def of_subscription(self, rows: QuerySet[Any], name: str, public_id: str) -> QuerySet[Any]:
        return _of(rows, name, Subscription.objects.all(), public_id)


class ReplayFilters(JobFilters):
    class Meta:
        model = Replay
        fields = ["state"]


class BackfillFilters(JobFilters):
    class Meta:
        model = Backfill
        fields = ["state"]
