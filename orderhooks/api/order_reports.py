"""An order's report in the API: what became of its newest events, for each subscription."""

from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import reporting
from orderhooks.api import access
from orderhooks.api.events import EventSerializer
from orderhooks.api.fields import StrictDateTimeField
from orderhooks.api.filters import require_known
from orderhooks.models.events import EventQuerySet
from orderhooks.reporting import SubscriptionOutcome

__all__ = ["LARGE", "SubscriptionOutcomeSerializer", "order_report"]

MAX_EVENTS = 50
# Of an event; left out of reports.
LARGE = ("payload", "changes")
MAX_SUBSCRIPTIONS = 200


class SubscriptionOutcomeSerializer(serializers.Serializer[Any]):
    """What became of one event for one subscription."""

    subscription = serializers.CharField(source="subscription.public_id")
    subscription_name = serializers.CharField(source="subscription.name")
    reason = serializers.ChoiceField(
        choices=reporting.Reason.choices, help_text="The state of the delivery, or why there is none."
    )
    text = serializers.SerializerMethodField(help_text="The reason in a sentence.")
    delivery = serializers.SerializerMethodField(help_text="The delivery's id; null if there is none.")
    last_detail = serializers.SerializerMethodField(help_text="The result of the last attempt in words.")
    next_attempt_at = serializers.SerializerMethodField()

    def get_text(self, outcome: SubscriptionOutcome) -> str:
        return reporting.subscription_outcome_text(outcome, now=timezone.now())

    def get_delivery(self, outcome: SubscriptionOutcome) -> str | None:
        return outcome.delivery.public_id if outcome.delivery else None

    def get_last_detail(self, outcome: SubscriptionOutcome) -> str:
        return outcome.delivery.last_detail if outcome.delivery else ""

    def get_next_attempt_at(self, outcome: SubscriptionOutcome) -> Any:
        at = outcome.delivery and outcome.delivery.next_attempt_at
        return at and StrictDateTimeField().to_representation(at)


def order_report(request: Request, events: EventQuerySet) -> Response:
    """The newest 50 of these events, newest first, each for the first 200 subscriptions that the user may see.

    Raises ParameterError for any query parameter.
    """
    require_known(request, [])
    newest = list(events.order_by("-sequence").defer(*LARGE)[:MAX_EVENTS])
    among = access.subscriptions_of(request.user)
    reports = reporting.event_reports(newest, at_most=MAX_SUBSCRIPTIONS, among=among)
    return Response(
        [
            {
                **_event_data(report.event, request),
                "subscriptions": SubscriptionOutcomeSerializer(report.outcomes, many=True).data,
            }
            for report in reports
        ]
    )


def _event_data(event: Any, request: Request) -> dict[str, Any]:
    data = EventSerializer(event, context={"request": request}).data
    return {name: value for name, value in data.items() if name not in LARGE}
