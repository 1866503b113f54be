"""Statistics in the API, of one subscription or of all that the user may see."""

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
        keys = [subscription.pk for subscription in subscriptions]
        attempt_stats, pending = attempt_stats.filter(subscription__in=keys), pending.filter(subscription__in=keys)
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
    }
    return Response(StatisticsSerializer(found).data)


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
