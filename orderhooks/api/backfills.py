"""Backfills in the API: count, start, follow and cancel them."""

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import operations, permissions
from orderhooks.api import access
from orderhooks.api.fields import (
    MODEL_FIELD_MAPPING,
    StoredDateTimeField,
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
)
from orderhooks.api.filters import BackfillFilters
from orderhooks.api.jobs import JobViewSet, job_permissions, named_subscription, subscription_field
from orderhooks.api.members import PlainSerializer
from orderhooks.api.openapi.descriptions import ApiResponse, Body, Operation, describe, object_of, page_of
from orderhooks.api.protocol import history
from orderhooks.api.protocol.problems import ConflictError
from orderhooks.models import Backfill, Subscription
from orderhooks.models.backfills import DEFAULT_RATE, MOST_RATE
from orderhooks.topics import UnknownTopicError

__all__ = ["RESPONSES", "BackfillPlanSerializer", "BackfillViewSet", "begin"]

# By the argument that is not valid.
CODES: Mapping[str, str] = {"source": "unknown", "topic": "topic", "since": "range", "rate": "range"}


class BackfillPlanSerializer(PlainSerializer):
    """The orders to send to one subscription."""

    topic = StrictCharField(
        max_length=128,
        required=False,
        default="order.updated",
        help_text="The topic of the events. The subscription must want it.",
    )
    source = StrictCharField(  # type: ignore[assignment]  # DRF takes it out of the class
        max_length=64, required=False, help_text="The order source. It may be left out if there is only one."
    )
    since = StoredDateTimeField(
        required=False, default=None, help_text="Only orders dated since this time. The default is all orders."
    )
    rate = StrictIntegerField(
        min_value=1,
        max_value=MOST_RATE,
        required=False,
        default=DEFAULT_RATE,
        help_text="At most this many orders a second.",
    )
    dry_run = StrictBooleanField(required=False, default=False, help_text="Only count the orders.")

    def validate_since(self, since: Any) -> Any:
        if since is not None and since >= timezone.now():
            raise serializers.ValidationError(["`since` must be before now."], code="range")
        return since


class BackfillPlanForSerializer(BackfillPlanSerializer):
    """The orders to send, and the subscription to send them to."""

    subscription = subscription_field()


NOT_COUNTED = "Null: the subscription is for one store, and the order source has no `store_field`."


class BackfillSerializer(serializers.ModelSerializer[Backfill]):
    """A backfill and its progress."""

    serializer_field_mapping = MODEL_FIELD_MAPPING
    # Requires the permission `view_payload`. An error may quote the order.
    confidential_fields = ["first_error"]

    subscription = serializers.CharField(source="subscription.public_id", read_only=True)
    subscription_name = serializers.CharField(source="subscription.name", read_only=True)
    walked = serializers.SerializerMethodField(
        help_text="Orders that it has gone through. Null, for users who are limited to stores, if `total` is null."
    )
    progress = serializers.FloatField(source="share_done", read_only=True, help_text="From 0 to 1.")

    field_schemas: Mapping[str, Body] = {"walked": {"type": ["integer", "null"]}}

    class Meta:
        model = Backfill
        fields = [
            "public_id",
            "subscription",
            "subscription_name",
            "source",
            "topic",
            "since",
            "rate",
            "state",
            "progress",
            "total",
            "walked",
            "done",
            "failed",
            "first_error",
            "error",
            "requested_by",
            "created_at",
            "finished_at",
        ]
        read_only_fields = fields
        extra_kwargs = {
            "total": {"help_text": f"How many orders there were when it began. {NOT_COUNTED}"},
            "done": {"help_text": "Deliveries that it has made."},
            "failed": {"help_text": "Orders that could not be read."},
            "first_error": {"help_text": "The first order that could not be read, and why."},
            "error": {"help_text": "Why the backfill itself failed."},
        }

    def get_fields(self) -> dict[str, Any]:
        return access.visible_fields(super().get_fields(), self.context["request"], hidden=self.confidential_fields)

    def get_walked(self, backfill: Backfill) -> int | None:
        # Not counted either: the orders of other stores are among those that it goes through.
        is_limited = access.order_stores_of(self.context["request"].user) is not None
        return None if backfill.total is None and is_limited else backfill.walked


# Of the requests that start a backfill.
RESPONSES = {
    200: ApiResponse(
        "With `dry_run`: how many orders the backfill would go through. Nothing is sent.",
        object_of(count={"type": ["integer", "null"], "description": NOT_COUNTED}),
    ),
    202: ApiResponse("The backfill, which has started.", BackfillSerializer),
}
DESCRIPTION = (
    "Sends one event for each order, as it is when its turn comes, to this subscription only. `changes` is empty."
    " Each event keeps to the endpoint's limits."
)
PROBLEMS = {
    409: "A backfill of the subscription is running; or the key came with another request.",
    422: "The subscription does not want the topic, or the topic, the source or the subscription is unknown.",
}


def begin(request: Request, subscription: Subscription, plan: dict[str, Any]) -> Response:
    """Start a backfill: 202 and the backfill. With `dry_run` 200 and `count`, how many orders it would go through."""
    plan = {name: value for name, value in plan.items() if name != "subscription"}
    dry_run = plan.pop("dry_run")
    try:
        if dry_run:
            return Response({"count": operations.preview_backfill(subscription, **plan).total})
        backfill = operations.backfill(subscription, **plan, by=request.user.get_username())
    except UnknownTopicError as error:
        raise serializers.ValidationError({"topic": [str(error)]}, code="topic") from None
    except operations.BackfillError as error:
        if not error.field:
            raise ConflictError(str(error)) from None
        raise serializers.ValidationError({error.field: [str(error)]}, code=CODES[error.field]) from None
    history.log_change(request, subscription, f"Backfill {backfill.public_id}.")
    data = BackfillSerializer(backfill, context={"request": request}).data
    return Response(data, status=status.HTTP_202_ACCEPTED)


class BackfillViewSet(JobViewSet):
    """Backfills of the subscriptions that the user may see."""

    queryset = Backfill.objects.select_related("subscription")
    serializer_class = BackfillSerializer
    public_id_prefix = "bfl_"
    filterset_class = BackfillFilters
    required_permissions = job_permissions(permissions.VIEW_BACKFILL)
    inherited_operations = {
        "list": Operation(
            "listBackfills",
            "List backfills",
            {200: ApiResponse("A page of backfills, newest first.", page_of(BackfillSerializer))},
        ),
        "retrieve": Operation(
            "getBackfill", "Read a backfill", {200: ApiResponse("The backfill and its progress.", BackfillSerializer)}
        ),
    }

    def get_queryset(self) -> QuerySet[Backfill]:
        return access.backfills_of(self.request.user).select_related("subscription")

    @describe(
        "createBackfill",
        "Send the orders that exist",
        RESPONSES,
        description=DESCRIPTION,
        request=BackfillPlanForSerializer,
        example={"subscription": "sub_01KAR5BBR0D4Y8H6S1V3PBN2WK", "since": "2026-01-01T00:00:00Z", "rate": 50},
        problems=PROBLEMS,
    )
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Start a backfill: 202 and the backfill. With `dry_run` 200 and how many orders it would go through."""
        serializer = BackfillPlanForSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        subscription = named_subscription(request, serializer.validated_data["subscription"])
        return begin(request, subscription, serializer.validated_data)

    @describe(
        "cancelBackfill",
        "Cancel a backfill",
        {200: ApiResponse("The cancelled backfill.", BackfillSerializer)},
        description="Deliveries that it has made already are still sent.",
        problems={409: "The backfill has already ended; or the key came with another request."},
    )
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Cancel the backfill. Deliveries that it has made already are still sent. 409 if it has already ended."""
        return self.cancelled(request, operations.cancel_backfill)
