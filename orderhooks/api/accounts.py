"""What came of an order's events for each subscription, or why nothing did."""

from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import reporting
from orderhooks.api import access
from orderhooks.api.events import EventSerializer
from orderhooks.api.fields import Moment
from orderhooks.api.filters import require_known
from orderhooks.models.events import EventQuerySet
from orderhooks.reporting import SubscriptionOutcome

__all__ = ["LARGE", "StandingSerializer", "accounts_of"]

NEWEST_EVENTS = 50
# Of an event; left out of accounts.
LARGE = ("payload", "changes")
SUBSCRIPTIONS = 200


class StandingSerializer(serializers.Serializer[Any]):
    subscription = serializers.CharField(source="subscription.public_id")
    subscription_name = serializers.CharField(source="subscription.name")
    reason = serializers.ChoiceField(choices=reporting.Reason.choices, help_text="What came of it, or why nothing did.")
    text = serializers.SerializerMethodField(help_text="The reason in words.")
    delivery = serializers.SerializerMethodField(help_text="Its id, or null.")
    last_detail = serializers.SerializerMethodField(help_text="What the last attempt came to, in words.")
    next_attempt_at = serializers.SerializerMethodField()

    def get_text(self, outcome: SubscriptionOutcome) -> str:
        return reporting.subscription_outcome_text(outcome, now=timezone.now())

    def get_delivery(self, outcome: SubscriptionOutcome) -> str | None:
        return outcome.delivery.public_id if outcome.delivery else None

    def get_last_detail(self, outcome: SubscriptionOutcome) -> str:
        return outcome.delivery.last_detail if outcome.delivery else ""

    def get_next_attempt_at(self, outcome: SubscriptionOutcome) -> Any:
        moment = outcome.delivery and outcome.delivery.next_attempt_at
        return moment and Moment().to_representation(moment)


def accounts_of(request: Request, events: EventQuerySet) -> Response:
    """The newest 50 events of an order, newest first, each for the first 200 subscriptions that the user sees."""
    require_known(request, [])
    newest = list(events.order_by("-sequence").defer(*LARGE)[:NEWEST_EVENTS])
    reports = reporting.event_reports(newest, at_most=SUBSCRIPTIONS, among=access.subscriptions_of(request.user))
    return Response(
        [
            {
                **_told(report.event, request),
                "subscriptions": StandingSerializer(report.outcomes, many=True).data,
            }
            for report in reports
        ]
    )


def _told(event: Any, request: Request) -> dict[str, Any]:
    shown = EventSerializer(event, context={"request": request})
    return {name: value for name, value in shown.data.items() if name not in LARGE}
