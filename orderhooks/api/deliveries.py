"""Deliveries in the API: the log, and sending again."""

from typing import Any

from django.db import models
from django.db.models import QuerySet
from rest_framework import serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import publishing
from orderhooks.api.fields import Moment
from orderhooks.api.filters import given
from orderhooks.api.pagination import NewestFirst
from orderhooks.api.parsers import StrictJSONParser
from orderhooks.api.permissions import MayRedeliver, ModelPermissions, visible
from orderhooks.models import Attempt, Delivery

# Of attempts; shown to those who may see payloads.
CONFIDENTIAL = ("request_headers", "response_headers", "response_body")


class AttemptSerializer(serializers.ModelSerializer[Attempt]):
    serializer_field_mapping = {**serializers.ModelSerializer.serializer_field_mapping, models.DateTimeField: Moment}

    class Meta:
        model = Attempt
        fields = [
            "number",
            "trigger",
            "requested_by",
            "started_at",
            "duration_ms",
            "status_code",
            "error",
            "detail",
            "request_headers",
            "response_headers",
            "response_body",
        ]
        read_only_fields = fields

    def get_fields(self) -> dict[str, Any]:
        return visible(super().get_fields(), self.context["request"], hidden=CONFIDENTIAL)


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    serializer_field_mapping = {**serializers.ModelSerializer.serializer_field_mapping, models.DateTimeField: Moment}

    event = serializers.CharField(source="event.public_id", read_only=True)
    topic = serializers.CharField(source="event.topic", read_only=True)
    order_number = serializers.CharField(source="event.order_number", read_only=True)
    subscription = serializers.CharField(source="subscription.public_id", read_only=True)
    held = serializers.BooleanField(
        source="is_held", read_only=True, help_text="It waits for its subscription to be active."
    )

    class Meta:
        model = Delivery
        fields = [
            "public_id",
            "event",
            "topic",
            "order_number",
            "subscription",
            "state",
            "held",
            "trigger",
            "requested_by",
            "attempts_made",
            "next_attempt_at",
            "last_status_code",
            "last_error",
            "last_detail",
            "created_at",
            "finished_at",
        ]
        read_only_fields = fields


class DeliveryDetailSerializer(DeliverySerializer):
    attempts = AttemptSerializer(many=True, read_only=True)

    class Meta(DeliverySerializer.Meta):
        fields = [*DeliverySerializer.Meta.fields, "attempts"]
        read_only_fields = fields


class DeliveryViewSet(viewsets.ReadOnlyModelViewSet[Delivery]):
    """Filters: `?state=`, `?subscription=` and `?event=` (public ids)."""

    # The event is told by id, topic and number; its payload may be large.
    queryset = Delivery.objects.select_related("event", "subscription").defer("event__payload", "event__changes")
    permission_classes = [ModelPermissions]
    pagination_class = NewestFirst
    parser_classes = [StrictJSONParser]
    filter_backends = []
    lookup_field = "public_id"
    lookup_value_regex = "dlv_[0-9A-Z]{26}"

    def get_queryset(self) -> QuerySet[Delivery]:
        rows = super().get_queryset()
        if self.action != "list":
            return rows.prefetch_related("attempts")
        if state := given(self.request, "state", choices=Delivery.State.values):
            rows = rows.filter(state=state)
        if subscription := given(self.request, "subscription"):
            rows = rows.filter(subscription__public_id=subscription)
        if event := given(self.request, "event"):
            rows = rows.filter(event__public_id=event)
        return rows

    def get_serializer_class(self) -> type[DeliverySerializer]:
        return DeliverySerializer if self.action == "list" else DeliveryDetailSerializer

    @action(detail=True, methods=["post"], permission_classes=[MayRedeliver])
    def redeliver(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """202 and the delivery; 409 while it is being sent."""
        delivery = self.get_object()
        chosen = Delivery.objects.filter(pk=delivery.pk)
        if not publishing.redeliver(chosen, by=request.user.get_username()):
            busy = {"detail": "It is being sent at this moment. Look at the outcome, then ask again if need be."}
            return Response(busy, status=status.HTTP_409_CONFLICT)
        return Response(self.get_serializer(self.get_object()).data, status=status.HTTP_202_ACCEPTED)
