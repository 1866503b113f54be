"""Deliveries in the API: list, read, redeliver, skip."""

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from django.utils.functional import cached_property
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import operations, permissions, sending, shaping
from orderhooks.api import access
from orderhooks.api.fields import MODEL_FIELD_MAPPING, BoundedListField, StrictCharField
from orderhooks.api.filters import DeliveryFilters
from orderhooks.api.members import PlainSerializer
from orderhooks.api.openapi.descriptions import ApiResponse, Body, ListOf, Operation, describe, object_of, page_of
from orderhooks.api.openapi.parameters import paging
from orderhooks.api.protocol import history
from orderhooks.api.protocol.problems import ConflictError
from orderhooks.api.resources import ResourceViewSet
from orderhooks.db import DatabaseClock
from orderhooks.models import Attempt, Delivery
from orderhooks.models.deliveries import DeliveryQuerySet
from orderhooks.reporting import delivery_summary

# For more deliveries there are replays, which run in the background.
MAX_CHOSEN = 1000
# Texts of the OpenAPI document.
EXAMPLE = {"deliveries": ["dlv_01KAR5BBR0D4Y8H6S1V3PBN2WK"]}
UNKNOWN = "A delivery is unknown, or not visible to you."
# How many attempts a delivery shows. The default RETRY_SCHEDULE makes ten.
MAX_ATTEMPTS = 100


class AttemptSerializer(serializers.ModelSerializer[Attempt]):
    """One request to an endpoint, and its result."""

    # Require the permission `view_payload`.
    confidential_fields = ("request_headers", "response_headers", "response_body")
    field_schemas: Mapping[str, Body] = {"request_headers": {"type": "object"}, "response_headers": {"type": "object"}}
    serializer_field_mapping = MODEL_FIELD_MAPPING

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
        return access.visible_fields(super().get_fields(), self.context["request"], hidden=self.confidential_fields)


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    """One event for one subscription."""

    serializer_field_mapping = MODEL_FIELD_MAPPING

    event = serializers.CharField(source="event.public_id", read_only=True)
    topic = serializers.CharField(source="event.topic", read_only=True)
    source = serializers.CharField(source="event.source", read_only=True)  # type: ignore[assignment]
    order_number = serializers.CharField(source="event.order_number", read_only=True)
    subscription = serializers.CharField(source="subscription.public_id", read_only=True)
    subscription_name = serializers.CharField(source="subscription.name", read_only=True)
    held = serializers.BooleanField(
        source="is_held", read_only=True, help_text="Waits until its subscription is active."
    )
    merged = serializers.BooleanField(
        source="is_merged",
        read_only=True,
        help_text="Skipped because a later `order.updated` carries its changes: see `update_interval_seconds`.",
    )

    class Meta:
        model = Delivery
        fields = [
            "public_id",
            "event",
            "topic",
            "source",
            "order_number",
            "subscription",
            "subscription_name",
            "state",
            "held",
            "merged",
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
    """One event for one subscription, with its attempts."""

    merged_into = serializers.SerializerMethodField(
        help_text="The id of the event that carries its changes if it was merged, and you may see it; otherwise null."
    )
    summary = serializers.SerializerMethodField(help_text="What has happened and what comes next, in sentences.")
    attempts = serializers.SerializerMethodField(help_text=f"The newest {MAX_ATTEMPTS}, oldest first.")
    field_schemas: Mapping[str, Body] = {"attempts": ListOf(AttemptSerializer)}

    class Meta(DeliverySerializer.Meta):
        fields = [*DeliverySerializer.Meta.fields, "merged_into", "summary", "attempts"]
        read_only_fields = fields

    @cached_property
    def _stores(self) -> frozenset[str] | None:
        """The stores whose events the user may see. None: all."""
        return access.order_stores_of(self.context["request"].user)

    def get_merged_into(self, delivery: Delivery) -> str | None:
        carrier = delivery.carrier()
        return carrier.event.public_id if carrier and delivery_summary.is_seen(carrier, self._stores) else None

    def get_summary(self, delivery: Delivery) -> list[str]:
        now, stores = DatabaseClock().now(), self._stores
        return delivery_summary.summarize(delivery, _newest(delivery), now=now, stores=stores)

    def get_attempts(self, delivery: Delivery) -> list[dict[str, Any]]:
        return AttemptSerializer(_newest(delivery), many=True, context=self.context).data  # type: ignore[return-value]


def _newest(delivery: Delivery) -> list[Attempt]:
    return sorted(delivery.attempts.order_by("-number")[:MAX_ATTEMPTS], key=lambda attempt: attempt.number)


class ChosenSerializer(PlainSerializer):
    """The ids of the deliveries to redeliver or skip."""

    deliveries = BoundedListField(child=StrictCharField(max_length=64), allow_empty=False, max_length=MAX_CHOSEN)


class DeliveryViewSet(mixins.RetrieveModelMixin, mixins.ListModelMixin, ResourceViewSet[Delivery]):
    """The delivery log: deliveries of the subscriptions that the user may see."""

    # The payload is deferred because it may be large and is not shown.
    queryset = Delivery.objects.select_related("event", "subscription").defer("event__payload", "event__changes")
    public_id_prefix = "dlv_"
    filterset_class = DeliveryFilters
    required_permissions = {
        **dict.fromkeys(
            ("redeliver", "redeliver_many", "skip", "skip_many"),
            (permissions.REDELIVER_DELIVERY, permissions.VIEW_DELIVERY),
        ),
        "curl": [permissions.VIEW_DELIVERY, permissions.VIEW_PAYLOAD],
    }
    actions_without_body = ["redeliver", "skip"]
    throttle_scopes = {"redeliver": "redeliver", "redeliver_many": "redeliver"}
    inherited_operations = {
        "list": Operation(
            "listDeliveries",
            "List deliveries",
            {200: ApiResponse("A page of the log, newest first.", page_of(DeliverySerializer))},
        ),
        "retrieve": Operation(
            "getDelivery",
            "Read a delivery",
            {200: ApiResponse("The delivery with its summary and its attempts.", DeliveryDetailSerializer)},
        ),
    }

    def get_queryset(self) -> QuerySet[Delivery]:
        rows = access.deliveries_of(self.request.user).select_related("event", "subscription")
        return rows if self.action == "curl" else rows.defer("event__payload", "event__changes")

    def get_serializer_class(self) -> type[DeliverySerializer]:
        return DeliverySerializer if self.action == "list" else DeliveryDetailSerializer

    @describe(
        "listAttempts",
        "List a delivery's attempts",
        {200: ApiResponse("A page of attempts, newest first.", page_of(AttemptSerializer))},
        parameters=paging("created_at"),
    )
    @action(detail=True)
    def attempts(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """A page of the attempts, newest first."""
        return self.list_response(self.get_object().attempts.order_by("-pk"), AttemptSerializer)

    @describe(
        "getCurlScript",
        "Get a delivery as a curl script",
        {200: ApiResponse("A shell script that sends the same request.", object_of(script={"type": "string"}))},
        description="The script reads the signing secret from its environment.",
        problems={409: "The event can't take the shape that the subscription asks for."},
    )
    @action(detail=True)
    def curl(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """`script`: a shell script that sends the same request with curl. It reads the secret from its environment."""
        try:
            return Response({"script": sending.curl_script(self.get_object())})
        except shaping.ShapingError as error:
            raise ConflictError(str(error)) from None

    @describe(
        "redeliver",
        "Redeliver",
        {202: ApiResponse("The delivery, which is due now.", DeliveryDetailSerializer)},
        problems={409: "The delivery is being sent now, or it is a test; or the key came with another request."},
    )
    @action(detail=True, methods=["post"])
    def redeliver(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Send the delivery again: 202 and the delivery. 409 while it is being sent, and for a test."""
        delivery = self.get_object()
        if not operations.redeliver(Delivery.objects.filter(pk=delivery.pk), by=request.user.get_username()):
            raise ConflictError(
                "A test can't be redelivered. Send a new test to the subscription."
                if delivery.trigger == Delivery.Trigger.TEST
                else "The delivery is being sent now. Wait for the result, then try again if it has failed."
            )
        history.log_change(request, delivery, "Redelivered.")
        return Response(self.get_serializer(self.get_object()).data, status=status.HTTP_202_ACCEPTED)

    @describe(
        "skipDelivery",
        "Skip a delivery",
        {200: ApiResponse("The skipped delivery.", DeliveryDetailSerializer)},
        description="A pending or failed delivery is not sent, and no later event waits for it.",
        problems={409: "The delivery is neither pending nor failed; or the key came with another request."},
    )
    @action(detail=True, methods=["post"])
    def skip(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Skip a delivery that is pending or has failed: it is not sent, and no later event waits for it."""
        delivery = self.get_object()
        if not operations.skip(Delivery.objects.filter(pk=delivery.pk)):
            raise ConflictError(
                f"The delivery is {delivery.get_state_display()}. Only pending and failed deliveries can be skipped."
            )
        history.log_change(request, delivery, "Skipped.")
        return Response(self.get_serializer(self.get_object()).data)

    @describe(
        "redeliverMany",
        "Redeliver many",
        {202: ApiResponse("How many deliveries will be sent again.", object_of(redelivered={"type": "integer"}))},
        request=ChosenSerializer,
        example=EXAMPLE,
        problems={422: UNKNOWN},
    )
    @action(detail=False, methods=["post"], url_path="redeliver")
    def redeliver_many(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Send these deliveries again: 202 and `redelivered`, how many of them will be sent."""
        chosen = self._chosen(request)
        count = operations.redeliver(chosen, by=request.user.get_username())
        for delivery in chosen.filter(state=Delivery.State.PENDING).only("public_id"):
            history.log_change(request, delivery, "Redelivered.")
        return Response({"redelivered": count}, status=status.HTTP_202_ACCEPTED)

    @describe(
        "skipMany",
        "Skip many",
        {
            200: ApiResponse(
                "How many pending or failed deliveries were skipped.", object_of(skipped={"type": "integer"})
            )
        },
        request=ChosenSerializer,
        example=EXAMPLE,
        problems={422: UNKNOWN},
    )
    @action(detail=False, methods=["post"], url_path="skip")
    def skip_many(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Skip those of these deliveries that are pending or have failed. `skipped` is how many."""
        chosen = self._chosen(request)
        count = operations.skip(chosen)
        for delivery in chosen.filter(state=Delivery.State.SKIPPED).only("public_id"):
            history.log_change(request, delivery, "Skipped.")
        return Response({"skipped": count})

    def _chosen(self, request: Request) -> DeliveryQuerySet:
        serializer = ChosenSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        public_ids = set(serializer.validated_data["deliveries"])
        rows = access.deliveries_of(request.user).filter(public_id__in=public_ids)
        found = dict(rows.values_list("public_id", "pk"))
        if missing := sorted(public_ids - found.keys()):
            text = f"There is no delivery {missing[0]}, or you may not see it."
            raise serializers.ValidationError({"deliveries": [text]}, code="unknown")
        # By primary key, because the caller filters again by what has changed.
        return Delivery.objects.filter(pk__in=list(found.values()))
