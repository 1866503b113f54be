"""Statistics in the API: how deliveries to one subscription, or to all that a user sees, have been going."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks.api import access
from orderhooks.api.fields import StrictDateTimeField
from orderhooks.api.filters import require_known
from orderhooks.api.protocol.query_parameters import int_parameter
from orderhooks.api.resources import ApiViewSet
from orderhooks.db import DatabaseClock
from orderhooks.models import AttemptStats, Delivery, Subscription
from orderhooks.models.attempt_stats import HOUR, first_hour, percentile

__all__ = ["StatisticsViewSet", "statistics_of"]

HOURS = 24
MOST_HOURS = 24 * 31
MOST_WAITING = 10_000


class HourSerializer(serializers.Serializer[Any]):
    hour = StrictDateTimeField(help_text="Its beginning, UTC.")
    succeeded = serializers.IntegerField()
    failed = serializers.IntegerField()


class StatisticsSerializer(serializers.Serializer[Any]):
    """Attempts of the last `hours`, the running one included; tests don't count."""

    hours = serializers.IntegerField()
    succeeded = serializers.IntegerField(help_text="Attempts that were answered 2xx.")
    failed = serializers.IntegerField()
    success_rate = serializers.FloatField(allow_null=True, help_text="From 0 to 1; null if nothing was sent.")
    p50_ms = serializers.FloatField(allow_null=True, help_text="Half of the answers took no longer, or timed out.")
    p95_ms = serializers.FloatField(allow_null=True)
    p99_ms = serializers.FloatField(allow_null=True)
    waiting = serializers.IntegerField(help_text="Deliveries that wait to be sent.")
    waiting_is_exact = serializers.BooleanField(help_text=f"False if it is more than {MOST_WAITING}.")
    oldest_waiting_at = StrictDateTimeField(allow_null=True, help_text="When the oldest of them was made.")
    by_hour = HourSerializer(many=True)


def statistics_of(request: Request, subscriptions: Iterable[Subscription] | None) -> Response:
    """Of these subscriptions, or of all there are. `?hours=` is 1 to 744."""
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
    waiting = pending.order_by()[: MOST_WAITING + 1].count()
    oldest = pending.order_by("id").only("created_at").first()
    found = {
        "hours": hours,
        "succeeded": succeeded,
        "failed": failed,
        "success_rate": succeeded / (succeeded + failed) if succeeded + failed else None,
        **{f"p{share}_ms": percentile(times, share / 100) for share in (50, 95, 99)},
        "waiting": min(waiting, MOST_WAITING),
        "waiting_is_exact": waiting <= MOST_WAITING,
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
        # A clock that is ahead of the database's may have counted for the next hour already.
        if 0 <= (number := (hour - start) // HOUR) < hours:
            rows[number][kind] += count
    return rows


def _hours(request: Request) -> int:
    return int_parameter(request, "hours", default=HOURS, lowest=1, highest=MOST_HOURS)


class StatisticsViewSet(ApiViewSet):
    """Of all subscriptions that the user sees."""

    required_permissions = {"list": ["orderhooks.view_delivery"]}
    queryset = Delivery.objects.none()

    def list(self, request: Request) -> Response:
        mine = None if access.manages(request.user) else access.subscriptions_of(request.user).only("pk")
        return statistics_of(request, mine)
