"""Trials in the API: what a subscription's choices would have done with the last events."""

from collections.abc import Mapping
from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import trials
from orderhooks.api import access
from orderhooks.api.fields import StrictCharField, StrictDateTimeField, StrictIntegerField
from orderhooks.api.openapi.descriptions import ApiResponse, Envelope
from orderhooks.api.subscription_fields import SubscriptionSerializer
from orderhooks.models import Subscription
from orderhooks.trials import DEFAULT_EVENTS, MOST_EVENTS, EventTrial, Trial

__all__ = ["DESCRIPTION", "EXAMPLE", "RESPONSES", "ChoiceSerializer", "run"]


class ChoiceSerializer(SubscriptionSerializer):
    """What a subscription chooses, as it would be saved."""

    events = StrictIntegerField(
        required=False,
        default=DEFAULT_EVENTS,
        min_value=1,
        max_value=MOST_EVENTS,
        help_text="How many of the last events of the topics are tried.",
    )

    class Meta(SubscriptionSerializer.Meta):
        fields = ["topics", "store", "changed_fields", "filter", "projection", "api_version", "format", "events"]
        read_only_fields: list[str] = []


class EventTrialSerializer(serializers.Serializer[Any]):
    """What would have come of one event."""

    event = serializers.CharField(source="event.public_id")
    topic = serializers.CharField(source="event.topic")
    order_number = serializers.CharField(source="event.order_number")
    occurred_at = StrictDateTimeField(source="event.occurred_at")
    result = serializers.ChoiceField(choices=Trial.choices)
    text = StrictCharField(help_text="Why it would not have been sent.")
    body = serializers.SerializerMethodField(help_text="The body that would have been sent; null if none.")
    field_schemas: Mapping[str, Any] = {"body": {"type": ["string", "null"]}}

    def get_body(self, one: EventTrial) -> str | None:
        return one.body.decode(errors="replace") if one.result == Trial.SENT else None


DESCRIPTION = (
    "Runs the choices over the last events of the topics, before they are saved. Nothing is sent or stored. Without"
    " such events the topics' examples are tried, and `is_example` is true."
)
EXAMPLE = {"topics": ["order.*"], "filter": "data.order.currency == 'EUR'", "events": 50}
COUNT = {"type": "integer", "minimum": 0}
RESPONSES = {
    200: ApiResponse(
        "What would have come of each event, newest first.",
        Envelope(
            EventTrialSerializer,
            {"sent": COUNT, "left_out": COUNT, "held": COUNT, "is_example": {"type": "boolean"}},
            "Trials",
        ),
    )
}


def run(request: Request, choices: Mapping[str, Any]) -> Response:
    """Try validated data of a ChoiceSerializer."""
    values = dict(choices)
    at_most = values.pop("events")
    seen = access.stores_of(request.user)
    stores = None if access.ALL_STORES in seen else seen
    found = trials.run(Subscription(**values), at_most=at_most, now=timezone.now(), stores=stores)
    return Response(
        {
            **{result.value: found.count(result) for result in Trial},
            "is_example": found.is_example,
            "results": EventTrialSerializer(found.events, many=True).data,
        }
    )
