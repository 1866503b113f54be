"""An order's report in the API: what became of its newest events, for each subscription.

For an order of any source, by its number. The built-in orders have it by their id too: `api.orders`.
"""

from collections.abc import Mapping
from typing import Any

from django.utils import timezone
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import permissions, reporting, sources
from orderhooks.api import access
from orderhooks.api.events import EventSerializer
from orderhooks.api.fields import StrictDateTimeField
from orderhooks.api.filters import require_known
from orderhooks.api.openapi.descriptions import ApiResponse, ListOf, Schema, describe
from orderhooks.api.resources import ApiViewSet
from orderhooks.models import Event
from orderhooks.models.events import EventQuerySet
from orderhooks.reporting import SubscriptionOutcome

__all__ = ["REPORT_DESCRIPTION", "REPORT_RESPONSES", "EventReportSerializer", "OrderWebhooksViewSet", "order_report"]

# Fields of events that reports leave out.
LARGE_FIELDS = ("payload", "changes")
MAX_EVENTS = 50
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
    field_schemas: Mapping[str, Schema] = {
        "next_attempt_at": {"type": ["string", "null"], "format": "date-time"},
    }

    def get_text(self, outcome: SubscriptionOutcome) -> str:
        return reporting.subscription_outcome_text(
            outcome, now=timezone.now(), confidential=self.context["confidential"]
        )

    def get_delivery(self, outcome: SubscriptionOutcome) -> str | None:
        return outcome.delivery.public_id if outcome.delivery else None

    def get_last_detail(self, outcome: SubscriptionOutcome) -> str:
        return outcome.delivery.last_detail if outcome.delivery else ""

    def get_next_attempt_at(self, outcome: SubscriptionOutcome) -> Any:
        at = outcome.delivery and outcome.delivery.next_attempt_at
        return at and StrictDateTimeField().to_representation(at)


class EventReportSerializer(EventSerializer):
    """An event, and what became of it for each subscription."""

    # The context has the outcomes by the event's primary key.
    subscriptions = serializers.SerializerMethodField()
    field_schemas = {"subscriptions": ListOf(SubscriptionOutcomeSerializer)}

    class Meta(EventSerializer.Meta):
        fields = [*(name for name in EventSerializer.Meta.fields if name not in LARGE_FIELDS), "subscriptions"]
        read_only_fields = fields

    def get_subscriptions(self, event: Event) -> Any:
        context = {"confidential": self.context["request"].user.has_perm(permissions.VIEW_PAYLOAD)}
        return SubscriptionOutcomeSerializer(self.context["outcomes"][event.pk], many=True, context=context).data


REPORT_DESCRIPTION = "Each event has its delivery for each subscription that you see, or the reason why there is none."
REPORT_RESPONSES = {
    200: ApiResponse(
        "The newest 50 events, newest first, each for the first 200 subscriptions.", ListOf(EventReportSerializer)
    )
}


def order_report(request: Request, events: EventQuerySet) -> Response:
    """The newest 50 of these events, newest first, each for the first 200 subscriptions that the user may see.

    Raises ParameterError for any query parameter.
    """
    require_known(request, [])
    newest = list(events.order_by("-sequence").defer(*LARGE_FIELDS)[:MAX_EVENTS])
    among = access.seen_subscriptions_of(request.user)
    stores = access.order_stores_of(request.user)
    reports = reporting.event_reports(newest, at_most=MAX_SUBSCRIPTIONS, among=among, stores=stores)
    context = {"request": request, "outcomes": {report.event.pk: report.outcomes for report in reports}}
    return Response(EventReportSerializer([report.event for report in reports], many=True, context=context).data)


class OrderWebhooksViewSet(ApiViewSet):
    """What became of the events of an order of any source."""

    required_permissions = {"retrieve": [permissions.VIEW_EVENT, permissions.VIEW_DELIVERY]}

    @describe(
        "getWebhooksOfOrderNumber",
        "Read what became of the events of an order number",
        REPORT_RESPONSES,
        description="The events that an order source published with this order number, also of orders that are deleted"
        f" by now. {REPORT_DESCRIPTION} If several stores have an order of this number, the events of all of them that"
        " you see.",
    )
    def retrieve(self, request: Request, source: str, number: str, **_kwargs: Any) -> Response:
        """The report of the order, or of the orders, with that number.

        Raises NotFound, in the same words whether there is no such order or the user may not see it.
        """
        events = access.events_of(request.user).filter(source=source, order_number=number)
        if not events.exists() and not _order_exists(request.user, source, number):
            raise NotFound("Not found.")
        return order_report(request, events)


def _order_exists(user: Any, source: str, number: str) -> bool:
    """Whether the source finds an order with that number in the stores that the user may see events of."""
    if source not in sources.names():
        return False
    known, stores = sources.by_name(source), access.stores_of(user)
    chosen = None if access.ALL_STORES in stores else stores
    return reporting.find_order_of_stores(known, number, chosen) is not None
