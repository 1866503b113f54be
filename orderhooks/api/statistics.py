"""Statistics in the API, of one subscription or of all that the user may see."""

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import permissions
from orderhooks.api import access
from orderhooks.api.fields import StrictDateTimeField
from orderhooks.api.filters import require_known
from orderhooks.api.openapi.descriptions import ApiResponse, describe
from orderhooks.api.openapi.parameters import in_query
from orderhooks.api.protocol.query_parameters import int_parameter
from orderhooks.api.resources import ApiViewSet
from orderhooks.db import DatabaseClock
from orderhooks.models import AttemptStats, Delivery, Subscription
from orderhooks.models.attempt_stats import HOUR, first_hour, percentile
from orderhooks.reporting.objectives import objectives

__all__ = ["HOURS_PARAMETER", "StatisticsSerializer", "StatisticsViewSet", "statistics_of"]

DEFAULT_HOURS = 24
MAX_HOURS = 24 * 31
MAX_COUNTED = 10_000
HOURS_PARAMETER = in_query(
    "hours",
    {"type": "integer", "minimum": 1, "maximum": MAX_HOURS, "default": DEFAULT_HOURS},
    "How many hours to count.",
)


class HourSerializer(serializers.Serializer[Any]):
    """Attempts of one hour."""

    hour = StrictDateTimeField(help_text="The start of the hour in UTC.")
    succeeded = serializers.IntegerField()
    failed = serializers.IntegerField()


class ObjectiveSerializer(serializers.Serializer[Any]):
    """How a subscription does on its objective. Shares are from 0 to 1."""

    seconds = serializers.IntegerField(help_text="Deliveries should arrive within this time.")
    share = serializers.FloatField(help_text="Percent of the deliveries that should.")
    attainment = serializers.FloatField(
        allow_null=True, help_text="The share that did in the last 30 days; null: none was due."
    )
    attainment_1h = serializers.FloatField(allow_null=True, help_text="The same in the last hour.")
    budget_left = serializers.FloatField(help_text="The part of the error budget of the last 30 days that is left.")
    burn_rate_1h = serializers.FloatField(
        allow_null=True,
        help_text=(
            "How many times faster than allowed the error budget was used in the last hour; null: some were late, and"
            " a share of 100 leaves no budget."
        ),
    )
    burn_rate_6h = serializers.FloatField(allow_null=True, help_text="The same in the last six hours.")


class StatisticsSerializer(serializers.Serializer[Any]):
    """Attempts of the last `hours`, including the current one. Tests are not counted."""

    hours = serializers.IntegerField()
    succeeded = serializers.IntegerField(help_text="Attempts with a 2xx response.")
    failed = serializers.IntegerField()
    success_rate = serializers.FloatField(allow_null=True, help_text="From 0 to 1; null without attempts.")
    p50_ms = serializers.FloatField(allow_null=True, help_text="The median time of an attempt in milliseconds.")
    p95_ms = serializers.FloatField(allow_null=True, help_text="95 % of the attempts took at most this time.")
    p99_ms = serializers.FloatField(allow_null=True, help_text="99 % of the attempts took at most this time.")
    waiting = serializers.IntegerField(help_text="Pending deliveries.")
    waiting_is_exact = serializers.BooleanField(help_text=f"False if there are more than {MAX_COUNTED}.")
    oldest_waiting_at = StrictDateTimeField(allow_null=True, help_text="When the oldest pending delivery was created.")
    by_hour = HourSerializer(many=True)
    objective = ObjectiveSerializer(allow_null=True, help_text="Of one subscription that has one; otherwise null.")


def statistics_of(request: Request, subscriptions: Iterable[Subscription] | None) -> Response:
    """Statistics of these subscriptions, or of all with None, for the last `?hours=` (1 to 744; 24 by default).

    Raises ParameterError.
    """
    require_known(request, ["hours"])
    hours = _hours(request)
    now = DatabaseClock().now()
    attempt_stats = AttemptStats.objects.filter(hour__gte=first_hour(now=now, hours=hours))
    pending = Delivery.objects.filter(state=Delivery.State.PENDING)
    if subscriptions is not None:
        subscriptions = list(subscriptions)
        keys = [subscription.pk for subscription in subscriptions]
        attempt_stats, pending = attempt_stats.filter(subscription__in=keys), pending.filter(subscription__in=keys)
    # Those from the time when a subscription was of another store are not the user's.
    pending = pending.about_stores(access.order_stores_of(request.user))
    by_hour, times = _by_hour(attempt_stats.by_hour(), hours=hours, now=now), attempt_stats.by_bucket()
    succeeded, failed = (sum(row[name] for row in by_hour) for name in ("succeeded", "failed"))
    waiting = pending.order_by()[: MAX_COUNTED + 1].count()
    oldest = pending.order_by("id").only("created_at").first()
    found = {
        "hours": hours,
        "succeeded": succeeded,
        "failed": failed,
        "success_rate": succeeded / (succeeded + failed) if succeeded + failed else None,
        **{f"p{share}_ms": percentile(times, share / 100) for share in (50, 95, 99)},
        "waiting": min(waiting, MAX_COUNTED),
        "waiting_is_exact": waiting <= MAX_COUNTED,
        "oldest_waiting_at": oldest and oldest.created_at,
        "by_hour": by_hour,
        "objective": None if subscriptions is None else _objective(subscriptions, now=now),
    }
    return Response(StatisticsSerializer(found).data)


def _objective(subscriptions: list[Subscription], *, now: datetime) -> dict[str, Any] | None:
    if len(subscriptions) != 1 or not (found := objectives(subscriptions, now=now)):
        return None
    [objective] = found.values()
    rates = {f"burn_rate_{window}": objective.burn_rate(window) for window in ("1h", "6h")}
    return {
        "seconds": objective.seconds,
        "share": objective.share,
        "attainment": objective.attainment(),
        "attainment_1h": objective.attainment("1h"),
        "budget_left": objective.budget_left,
        # JSON has no infinity.
        **{name: None if math.isinf(rate) else rate for name, rate in rates.items()},
    }


def _by_hour(counted: dict[tuple[datetime, str], int], *, hours: int, now: datetime) -> list[dict[str, Any]]:
    start = first_hour(now=now, hours=hours)
    rows: list[dict[str, Any]] = [
        {"hour": start + number * HOUR, "succeeded": 0, "failed": 0} for number in range(hours)
    ]
    for (hour, outcome), count in counted.items():
        kind = "succeeded" if outcome == AttemptStats.Outcome.SUCCESS else "failed"
        # A worker whose clock is ahead of the database's may have counted for the next hour.
        if 0 <= (number := (hour - start) // HOUR) < hours:
            rows[number][kind] += count
    return rows


def _hours(request: Request) -> int:
    return int_parameter(request, "hours", default=DEFAULT_HOURS, lowest=1, highest=MAX_HOURS)


class StatisticsViewSet(ApiViewSet):
    """Statistics of all subscriptions that the user may see."""

    required_permissions = {"list": [permissions.VIEW_DELIVERY]}
    queryset = Delivery.objects.none()

    @describe(
        "getStatistics",
        "Read the statistics",
        {200: ApiResponse("Success rate, times and pending deliveries, also by hour.", StatisticsSerializer)},
        description="Of all subscriptions that you see.",
        parameters=[HOURS_PARAMETER],
    )
    def list(self, request: Request) -> Response:
        # None, all subscriptions, needs no list of their keys.
        visible = None if access.manages(request.user) else access.seen_subscriptions_of(request.user).only("pk")
        return statistics_of(request, visible)
