"""Replays in the API: count, start, follow and cancel them."""

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
    BoundedListField,
    StoredDateTimeField,
    StrictBooleanField,
    StrictCharField,
    StrictChoiceField,
)
from orderhooks.api.filters import ReplayFilters
from orderhooks.api.jobs import JobViewSet, job_permissions, named_subscription, subscription_field
from orderhooks.api.members import PlainSerializer
from orderhooks.api.openapi.descriptions import ApiResponse, Body, Operation, describe, object_of, page_of
from orderhooks.api.protocol import history
from orderhooks.models import Replay, Subscription
from orderhooks.topics import UnknownTopicError

__all__ = ["RESPONSES", "PlanSerializer", "ReplayViewSet", "begin"]


class PlanSerializer(PlainSerializer):
    """The events to send again to one subscription."""

    since = StoredDateTimeField(help_text="Events from this time on.")
    until = StoredDateTimeField(required=False, help_text="Events before this time. The default is now.")
    topics = BoundedListField(
        child=StrictCharField(max_length=128),
        required=False,
        allow_empty=False,
        max_length=200,
        help_text="Topics or patterns. The default is the subscription's own.",
    )
    only = StrictChoiceField(
        choices=Replay.Only.choices, required=False, help_text="Only these events. The default is all."
    )
    dry_run = StrictBooleanField(
        required=False, default=False, help_text="Only count the deliveries that would be sent."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["since"] >= attrs.get("until", timezone.now()):
            raise serializers.ValidationError(
                {"since": ["`since` must be before `until` and before now."]}, code="range"
            )
        return attrs


class PlanForSerializer(PlanSerializer):
    """The events to send again, and the subscription to send them to."""

    subscription = subscription_field()


class ReplaySerializer(serializers.ModelSerializer[Replay]):
    """A replay and its progress."""

    serializer_field_mapping = MODEL_FIELD_MAPPING

    subscription = serializers.CharField(source="subscription.public_id", read_only=True)
    subscription_name = serializers.CharField(source="subscription.name", read_only=True)
    field_schemas: Mapping[str, Body] = {
        "topics": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Topics or patterns. Empty means those of the subscription.",
        },
    }
    progress = serializers.FloatField(source="share_done", read_only=True, help_text="From 0 to 1.")

    class Meta:
        model = Replay
        fields = [
            "public_id",
            "subscription",
            "subscription_name",
            "since",
            "until",
            "topics",
            "only",
            "state",
            "progress",
            "total",
            "total_is_exact",
            "done",
            "requested_by",
            "created_at",
            "finished_at",
        ]
        read_only_fields = fields


# Of the requests that start a replay.
RESPONSES = {
    200: ApiResponse(
        "With `dry_run`: how many deliveries the replay would send. Nothing is sent.",
        object_of(count={"type": "integer"}, count_is_exact={"type": "boolean"}),
    ),
    202: ApiResponse("The replay, which has started.", ReplaySerializer),
}


def begin(request: Request, subscription: Subscription, plan: dict[str, Any]) -> Response:
    """Start a replay: 202 and the replay. With `dry_run` 200 and `count`, how many deliveries it would send."""
    dry_run = plan["dry_run"]
    plan = {name: value for name, value in plan.items() if name not in ("dry_run", "subscription")} | {
        "subscription": subscription
    }
    try:
        if dry_run:
            expected = operations.preview_replay(**plan)
            return Response({"count": expected.count, "count_is_exact": expected.is_exact})
        replay = operations.replay(**plan, by=request.user.get_username())
    except UnknownTopicError as error:
        raise serializers.ValidationError({"topics": [str(error)]}, code="topic") from None
    except operations.ReplayError as error:
        # The serializer has judged the rest: what is left is how far back deliveries are kept.
        raise serializers.ValidationError({"since": [str(error)]}, code="range") from None
    history.log_change(request, subscription, f"Replay {replay.public_id}.")
    return Response(ReplaySerializer(replay).data, status=status.HTTP_202_ACCEPTED)


class ReplayViewSet(JobViewSet):
    """Replays of the subscriptions that the user may see."""

    queryset = Replay.objects.select_related("subscription")
    serializer_class = ReplaySerializer
    public_id_prefix = "rpl_"
    filterset_class = ReplayFilters
    required_permissions = job_permissions(permissions.VIEW_REPLAY)
    inherited_operations = {
        "list": Operation(
            "listReplays",
            "List replays",
            {200: ApiResponse("A page of replays, newest first.", page_of(ReplaySerializer))},
        ),
        "retrieve": Operation(
            "getReplay", "Read a replay", {200: ApiResponse("The replay and its progress.", ReplaySerializer)}
        ),
    }

    def get_queryset(self) -> QuerySet[Replay]:
        return access.replays_of(self.request.user).select_related("subscription")

    @describe(
        "createReplay",
        "Send events of a period again",
        RESPONSES,
        request=PlanForSerializer,
        example={
            "subscription": "sub_01KAR5BBR0D4Y8H6S1V3PBN2WK",
            "since": "2026-11-23T00:00:00Z",
            "only": "never_sent",
        },
        problems={422: "The period is empty, or a topic or the subscription is unknown."},
    )
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Start a replay: 202 and the replay. With `dry_run` 200 and how many deliveries it would send."""
        serializer = PlanForSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        subscription = named_subscription(request, serializer.validated_data["subscription"])
        return begin(request, subscription, serializer.validated_data)

    @describe(
        "cancelReplay",
        "Cancel a replay",
        {200: ApiResponse("The cancelled replay.", ReplaySerializer)},
        description="Deliveries that are already due are still sent.",
        problems={409: "The replay has already ended; or the key came with another request."},
    )
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Cancel the replay. Deliveries that are already due are still sent. 409 if it has already ended."""
        return self.cancelled(request, operations.cancel_replay)
