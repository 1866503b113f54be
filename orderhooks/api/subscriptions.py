"""Subscriptions in the API. A signing secret is shown only in the response to the request that created it."""

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import operations, permissions, signing
from orderhooks.api import access, backfills, jobs, previews, replays, trials
from orderhooks.api.deliveries import DeliveryDetailSerializer
from orderhooks.api.fields import StrictDateTimeField, StrictFloatField
from orderhooks.api.filters import SubscriptionFilters
from orderhooks.api.login_fields import left_behind_text
from orderhooks.api.members import PlainSerializer
from orderhooks.api.missed import MISSED, PARAMETERS, missed_of
from orderhooks.api.openapi.descriptions import ApiResponse, Operation, describe, object_of, page_of
from orderhooks.api.protocol import history
from orderhooks.api.statistics import HOURS_PARAMETER, StatisticsSerializer, statistics_of
from orderhooks.api.subscription_fields import SubscriptionSerializer
from orderhooks.api.version_moves import VersionMoves
from orderhooks.db import DatabaseClock
from orderhooks.models import Delivery, Subscription
from orderhooks.models.signing_secrets import LONGEST_OVERLAP, OVERLAP

HOUR = timedelta(hours=1)
# Texts of the OpenAPI document.
EXAMPLE = {
    "name": "CRM",
    "url": "https://crm.example.com/webhooks",
    "topics": ["order.paid", "order.cancelled"],
    "contact_email": "team@example.com",
}
NOT_VALID = "The content is not valid: for example, the URL, a topic or a header, or the store is not yours."
SHOWN_ONCE = "A signing secret is shown only in the response to the request that creates it, so store it."
READ = {200: ApiResponse("The subscription.", SubscriptionSerializer)}
CREATED = {201: ApiResponse("The subscription with its secret.", SubscriptionSerializer, has_secret=True)}
CHANGED = {200: ApiResponse("The changed subscription.", SubscriptionSerializer, has_secret=True)}


class RotationSerializer(PlainSerializer):
    """How to replace the signing secret."""

    overlap_hours = StrictFloatField(
        required=False,
        default=OVERLAP / HOUR,
        min_value=0,
        max_value=LONGEST_OVERLAP / HOUR,
        help_text="How many hours the former secrets still sign in addition to the new one. 0 revokes them now.",
    )


class ResumptionSerializer(PlainSerializer):
    """Which held deliveries to skip."""

    skip_before = StrictDateTimeField(
        required=False,
        default=None,
        help_text="Skip held deliveries from before this time, which is past. The default is to send all of them.",
    )

    def validate_skip_before(self, skip_before: Any) -> Any:
        if skip_before is not None and skip_before > DatabaseClock().now():
            raise serializers.ValidationError("Send a time that is past: it would skip all that is held.", code="range")
        return skip_before


class SubscriptionViewSet(mixins.RetrieveModelMixin, mixins.DestroyModelMixin, mixins.ListModelMixin, VersionMoves):
    """Subscriptions that the user may see."""

    queryset = Subscription.objects.select_related("owner").prefetch_related("secrets")
    serializer_class = SubscriptionSerializer
    public_id_prefix = "sub_"
    filterset_class = SubscriptionFilters
    required_permissions = {
        **VersionMoves.required_permissions,
        **dict.fromkeys(
            ("test", "pause", "resume", "rotate_secret", "revoke_former_secrets"), (permissions.CHANGE_SUBSCRIPTION,)
        ),
        "replay": jobs.START,
        "backfill": jobs.START,
        "stats": [permissions.VIEW_SUBSCRIPTION, permissions.VIEW_DELIVERY],
        "missed": [permissions.VIEW_SUBSCRIPTION, permissions.VIEW_EVENT],
        "preview": [permissions.VIEW_SUBSCRIPTION, permissions.VIEW_PAYLOAD],
        "try_choices": [permissions.VIEW_SUBSCRIPTION, permissions.VIEW_EVENT, permissions.VIEW_PAYLOAD],
    }
    throttle_scopes = {"test": "test", "replay": "replay", "backfill": "replay", "rotate_secret": "rotate"}
    actions_without_body = ["test", "pause", "revoke_former_secrets"]
    actions_outside_transactions = ["test"]
    inherited_operations = {
        "list": Operation(
            "listSubscriptions",
            "List subscriptions",
            {200: ApiResponse("A page of subscriptions, newest first.", page_of(SubscriptionSerializer))},
        ),
        "retrieve": Operation("getSubscription", "Read a subscription", READ),
        "destroy": Operation(
            "deleteSubscription",
            "Delete a subscription",
            {204: ApiResponse("The subscription and its log are deleted.")},
        ),
    }

    def get_queryset(self) -> QuerySet[Subscription]:
        return access.subscriptions_of(self.request.user).select_related("owner").prefetch_related("secrets")

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "now": timezone.now()}

    @describe(
        "createSubscription",
        "Subscribe",
        CREATED,
        description=f"The subscription receives the events of orders that change from now on. {SHOWN_ONCE}",
        request=SubscriptionSerializer,
        example=EXAMPLE,
        problems={422: NOT_VALID},
    )
    @sensitive_variables()
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Create a subscription: 201 and the subscription with its `secret`, which is shown only this once."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return self._create(serializer.validated_data)

    @describe(
        "replaceSubscription",
        "Change a subscription",
        CHANGED,
        description="Fields that are not sent keep their values.",
        request=SubscriptionSerializer,
        example=EXAMPLE,
        problems={422: NOT_VALID},
    )
    @sensitive_variables()
    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change the subscription. The response has a new `secret` if the `signature` needs one of another kind."""
        return self._update(self.get_object(), request.data, partial=kwargs.get("partial", False))

    @describe(
        "changeSubscription",
        "Change some fields of a subscription",
        CHANGED,
        description="Fields that are not sent keep their values. A `signature` that needs another kind of secret"
        f" creates one. {SHOWN_ONCE}",
        request=SubscriptionSerializer,
        example={"topics": ["order.*"]},
        problems={422: NOT_VALID},
    )
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change some fields of the subscription."""
        return self.update(request, *args, partial=True, **kwargs)

    def perform_destroy(self, instance: Subscription) -> None:
        history.log_deletion(self.request, instance)
        instance.delete()

    @describe(
        "testSubscription",
        "Test the endpoint",
        {200: ApiResponse("The delivery, with the endpoint's response.", DeliveryDetailSerializer)},
        description="Sends an example order as `webhook.test` now, also if the subscription is paused or disabled, and"
        " waits for the response.",
    )
    @action(detail=True, methods=["post"])
    def test(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Send an example order as `webhook.test` now and wait for the response. Returns the delivery."""
        subscription = self.get_object()
        made = operations.send_test(subscription, by=request.user.get_username())
        history.log_change(request, subscription, f"Sent a test: {made.state}.")
        delivery = Delivery.objects.select_related("event", "subscription").get(pk=made.pk)
        return Response(DeliveryDetailSerializer(delivery, context=self.get_serializer_context()).data)

    @describe(
        "rotateSecret",
        "Create a new signing secret",
        CHANGED,
        description=f"The former secrets still sign in addition to it for `overlap_hours`. {SHOWN_ONCE}",
        request=RotationSerializer,
        example={"overlap_hours": 48},
    )
    @action(detail=True, methods=["post"], url_path="rotate-secret")
    @sensitive_variables()
    def rotate_secret(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Create a new signing secret. The response shows it once, as `secret`."""
        serializer = RotationSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        subscription = self.get_object()
        overlap = serializer.validated_data["overlap_hours"] * HOUR
        secret = operations.rotate(subscription, overlap=overlap)
        history.log_change(request, subscription, "Rotated the signing secret.")
        return self.subscription_response(subscription, secret)

    @describe(
        "revokeFormerSecrets",
        "Revoke former signing secrets",
        {200: ApiResponse("How many secrets were revoked.", object_of(revoked={"type": "integer"}))},
    )
    @action(detail=True, methods=["post"], url_path="revoke-former-secrets")
    def revoke_former_secrets(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Revoke all signing secrets except the newest. `revoked` is how many."""
        subscription = self.get_object()
        revoked = operations.revoke_former_secrets(subscription)
        history.log_change(request, subscription, "Revoked former signing secrets.")
        return Response({"revoked": revoked})

    @describe("pauseSubscription", "Pause", READ, description="Deliveries are held until the subscription is resumed.")
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Pause the subscription: its deliveries are held until it is resumed."""
        subscription = self.get_object()
        if operations.pause(Subscription.objects.filter(pk=subscription.pk)):
            history.log_change(request, subscription, "Paused.")
        return self.subscription_response(subscription)

    @describe(
        "resumeSubscription",
        "Resume",
        READ,
        description="Held deliveries are sent; those from before `skip_before` are skipped instead.",
        request=ResumptionSerializer,
        example={"skip_before": "2026-11-24T06:00:00Z"},
        problems={422: "The date or time does not exist, such as 30 February."},
    )
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Resume the subscription. Held deliveries are sent; those from before `skip_before` are skipped instead."""
        serializer = ResumptionSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        subscription = self.get_object()
        chosen = Subscription.objects.filter(pk=subscription.pk)
        skip_before, stores = serializer.validated_data["skip_before"], access.order_stores_of(request.user)
        resumed = operations.resume(chosen, skip_before=skip_before, stores=stores)
        if resumed.subscriptions:
            history.log_change(request, subscription, f"Resumed; {resumed.skipped} deliveries skipped.")
        return self.subscription_response(subscription)

    @describe(
        "replayToSubscription",
        "Send events of a period again",
        replays.RESPONSES,
        request=replays.PlanSerializer,
        example={"since": "2026-11-23T00:00:00Z", "only": "failed", "dry_run": True},
        problems={422: "The period is empty, or a topic is unknown."},
    )
    @action(detail=True, methods=["post"])
    def replay(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Start a replay: 202 and the replay. With `dry_run` 200 and how many deliveries it would send."""
        serializer = replays.PlanSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return replays.begin(request, self.with_visible_store(), serializer.validated_data)

    @describe(
        "backfillSubscription",
        "Send the orders that exist",
        backfills.RESPONSES,
        description=backfills.DESCRIPTION,
        request=backfills.BackfillPlanSerializer,
        example={"since": "2026-01-01T00:00:00Z", "dry_run": True},
        problems=backfills.PROBLEMS,
    )
    @action(detail=True, methods=["post"])
    def backfill(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Start a backfill: 202 and the backfill. With `dry_run` 200 and how many orders it would go through."""
        serializer = backfills.BackfillPlanSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return backfills.begin(request, self.with_visible_store(), serializer.validated_data)

    @describe(
        "tryChoices",
        "Try a filter and a projection",
        trials.RESPONSES,
        description=trials.DESCRIPTION,
        request=trials.ChoiceSerializer,
        example=trials.EXAMPLE,
        problems={422: NOT_VALID},
    )
    @action(detail=False, methods=["post"], url_path="try", url_name="try")
    def try_choices(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """What the choices of a subscription would have done with the last events. Nothing is sent or stored."""
        serializer = trials.ChoiceSerializer(data=request.data, context=self.get_serializer_context())
        serializer.is_valid(raise_exception=True)
        return trials.run(request, serializer.validated_data)

    @describe(
        "getSubscriptionStatistics",
        "Read a subscription's statistics",
        {200: ApiResponse("Success rate, times and pending deliveries, also by hour.", StatisticsSerializer)},
        parameters=[HOURS_PARAMETER],
    )
    @action(detail=True)
    def stats(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Statistics of its deliveries in the last `?hours=` (1 to 744; 24 by default)."""
        return statistics_of(request, [self.with_visible_store()])

    @describe(
        "listMissed",
        "List missed events",
        {200: ApiResponse("A page of events, oldest first, each with the reason.", MISSED)},
        description="Events that the subscription should have received and has not, for a receiver that was down.",
        parameters=PARAMETERS,
        problems={422: "The date or time does not exist, such as 30 February."},
    )
    @action(detail=True)
    def missed(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Events that the subscription has not received since `?since=` (24 hours ago by default), oldest first."""
        return missed_of(request, self.with_visible_store())

    @describe(
        "previewRequest",
        "Preview a request",
        previews.RESPONSES,
        description="The request for an order and a topic. Nothing is sent.",
        parameters=previews.PARAMETERS,
        problems={409: "The order is unknown, or the request can't be built.", 422: "The topic is unknown."},
    )
    @action(detail=True)
    def preview(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The signed request for the order with the number `?order=` and the topic `?topic=`. Nothing is sent."""
        return previews.preview_of(request, self.with_visible_store())

    @sensitive_variables()
    def _create(self, values: dict[str, Any]) -> Response:
        with transaction.atomic(using=Subscription.objects.db):
            subscription, secret = Subscription.create_with_secret(**values, owner=self.request.user)
            history.log_addition(self.request, subscription)
        return self.subscription_response(subscription, secret, status=status.HTTP_201_CREATED)

    @sensitive_variables()
    def _update(self, subscription: Subscription, data: Any, *, partial: bool) -> Response:
        serializer = self.get_serializer(subscription, data=data, partial=partial)
        serializer.is_valid(raise_exception=True)
        values = serializer.validated_data
        changed = [name for name, value in values.items() if getattr(subscription, name) != value]
        version = subscription.api_version
        with transaction.atomic(using=Subscription.objects.db):
            dropped = left_behind_text(subscription, values)
            secret = operations.reconfigure(subscription, values)
            if changed:
                message = f"Changed {', '.join(changed)}.{dropped}"
                if "api_version" in changed:
                    message += f" The version was {version} and is {subscription.api_version}."
                history.log_change(self.request, subscription, message)
        return self.subscription_response(subscription, secret)

    @sensitive_variables()
    def subscription_response(
        self, subscription: Subscription, secret: str = "", *, status: int = status.HTTP_200_OK
    ) -> Response:
        data = self.get_serializer(self.get_queryset().get(pk=subscription.pk)).data
        # The private key of a pair is never shown. Its public key is in the data.
        shown = {"secret": secret} if secret and not signing.public_key(secret) else {}
        return Response({**data, **shown}, status=status)
