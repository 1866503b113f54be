"""Replays in the API: counted first if wished, followed on their way, cancelled."""

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import operations
from orderhooks.api import access
from orderhooks.api.fields import (
    MODEL_FIELD_MAPPING,
    StrictBooleanField,
    StrictCharField,
    StrictChoiceField,
    StrictDateTimeField,
)
from orderhooks.api.filters import ReplayFilters
from orderhooks.api.members import PlainSerializer
from orderhooks.api.protocol import history
from orderhooks.api.protocol.problems import ConflictError
from orderhooks.api.resources import ResourceViewSet
from orderhooks.models import Replay, Subscription
from orderhooks.models.configuration import validate_topics

__all__ = ["PlanSerializer", "ReplayViewSet", "begin"]


class PlanSerializer(PlainSerializer):
    """What to replay."""

    since = StrictDateTimeField(help_text="Events from then on.")
    until = StrictDateTimeField(required=False, help_text="Events before then; else those up to now.")
    topics = serializers.ListField(
        child=StrictCharField(max_length=128),
        required=False,
        allow_empty=False,
        max_length=200,
        validators=[validate_topics],
        help_text="Patterns; without them all that the subscription wants.",
    )
    only = StrictChoiceField(choices=Replay.Only.choices, required=False, help_text="Else all of them.")
    dry_run = StrictBooleanField(required=False, default=False, help_text="Count only.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["since"] >= attrs.get("until", timezone.now()):
            raise serializers.ValidationError({"since": ["Let it be before `until`, and before now."]}, code="range")
        return attrs


class PlanForSerializer(PlanSerializer):
    subscription = StrictCharField(max_length=64, help_text="Its id.")


class ReplaySerializer(serializers.ModelSerializer[Replay]):
    serializer_field_mapping = MODEL_FIELD_MAPPING

    subscription = serializers.CharField(source="subscription.public_id", read_only=True)
    subscription_name = serializers.CharField(source="subscription.name", read_only=True)
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


def begin(request: Request, subscription: Subscription, plan: dict[str, Any]) -> Response:
    """202 and the replay; or with `dry_run` 200, how many deliveries it would send, and whether that is all."""
    dry_run = plan["dry_run"]
    plan = {name: value for name, value in plan.items() if name not in ("dry_run", "subscription")} | {
        "subscription": subscription
    }
    if dry_run:
        expected = operations.preview_replay(**plan)
        return Response({"count": expected.count, "count_is_exact": expected.is_exact})
    replay = operations.replay(**plan, by=request.user.get_username())
    history.log_change(request, subscription, f"Replay {replay.public_id}.")
    return Response(ReplaySerializer(replay).data, status=status.HTTP_202_ACCEPTED)


class ReplayViewSet(mixins.RetrieveModelMixin, mixins.ListModelMixin, ResourceViewSet[Replay]):
    queryset = Replay.objects.select_related("subscription")
    serializer_class = ReplaySerializer
    public_id_prefix = "rpl_"
    filterset_class = ReplayFilters
    required_permissions = {
        "create": (access.REDELIVER, access.VIEW_SUBSCRIPTION),
        "cancel": (access.REDELIVER, access.VIEW_SUBSCRIPTION, access.VIEW_REPLAY),
    }
    actions_without_body = ["cancel"]
    throttle_scopes = {"create": "replay"}

    def get_queryset(self) -> QuerySet[Replay]:
        return access.replays_of(self.request.user).select_related("subscription")

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """202 and the replay; with `dry_run` 200 and how many deliveries it would send."""
        serializer = PlanForSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        wanted = serializer.validated_data["subscription"]
        subscription = access.subscriptions_of(request.user).filter(public_id=wanted).first()
        if subscription is None or not access.is_in_reach(request.user, subscription.store):
            text = "There is no subscription of this id that you may see."
            raise serializers.ValidationError({"subscription": [text]}, code="unknown")
        return begin(request, subscription, serializer.validated_data)

    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The replay, cancelled: what it has made due already is sent. 409 if it was through."""
        replay = self.get_object()
        if not operations.cancel_replay(replay):
            raise ConflictError(f"It is {replay.get_state_display()} already.")
        history.log_change(request, replay, "Cancelled.")
        return Response(self.get_serializer(self.get_object()).data)
