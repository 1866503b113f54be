"""Subscriptions in the API. A signing secret is shown only in the response to the request that created it."""

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import operations, permissions, signing
from orderhooks.api import access, replays
from orderhooks.api.deliveries import DeliveryDetailSerializer
from orderhooks.api.fields import StrictDateTimeField, StrictFloatField
from orderhooks.api.filters import SubscriptionFilters, require_known
from orderhooks.api.members import PlainSerializer
from orderhooks.api.missed import missed_of
from orderhooks.api.protocol import history
from orderhooks.api.protocol.problems import ConflictError, ParameterError
from orderhooks.api.resources import ResourceViewSet
from orderhooks.api.statistics import statistics_of
from orderhooks.api.subscription_fields import SubscriptionSerializer
from orderhooks.db import DatabaseClock
from orderhooks.models import Delivery, Subscription
from orderhooks.models.signing_secrets import LONGEST_OVERLAP, OVERLAP
from orderhooks.previews import PreviewError
from orderhooks.topics import UnknownTopicError

HOUR = timedelta(hours=1)


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
        help_text="Skip held deliveries from before this time. The default is to send all of them.",
    )


class SubscriptionViewSet(
    mixins.RetrieveModelMixin, mixins.DestroyModelMixin, mixins.ListModelMixin, ResourceViewSet[Subscription]
):
    """Subscriptions that the user may see."""

    queryset = Subscription.objects.select_related("owner").prefetch_related("secrets")
    serializer_class = SubscriptionSerializer
    public_id_prefix = "sub_"
    filterset_class = SubscriptionFilters
    required_permissions = {
        **dict.fromkeys(
            ("test", "pause", "resume", "rotate_secret", "revoke_former_secrets"), (permissions.CHANGE_SUBSCRIPTION,)
        ),
        "replay": [permissions.REDELIVER_DELIVERY, permissions.VIEW_SUBSCRIPTION],
        "stats": [permissions.VIEW_SUBSCRIPTION, permissions.VIEW_DELIVERY],
        "missed": [permissions.VIEW_SUBSCRIPTION, permissions.VIEW_EVENT],
        "preview": [permissions.VIEW_SUBSCRIPTION, permissions.VIEW_PAYLOAD],
    }
    throttle_scopes = {"test": "test", "replay": "replay", "rotate_secret": "rotate"}
    actions_without_body = ["test", "pause", "revoke_former_secrets"]
    actions_outside_transactions = ["test"]

    def get_queryset(self) -> QuerySet[Subscription]:
        return access.subscriptions_of(self.request.user).select_related("owner").prefetch_related("secrets")

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "now": timezone.now()}

    @sensitive_variables()
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Create a subscription: 201 and the subscription with its `secret`, which is shown only this once."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return self._create(serializer.validated_data)

    @sensitive_variables()
    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change the subscription. The response has a new `secret` if the `signature` needs one of another kind."""
        return self._update(self.get_object(), request.data, partial=kwargs.get("partial", False))

    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change some fields of the subscription."""
        return self.update(request, *args, partial=True, **kwargs)

    def perform_destroy(self, instance: Subscription) -> None:
        history.log_deletion(self.request, instance)
        instance.delete()

    @action(detail=True, methods=["post"])
    def test(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Send an example order as `webhook.test` now and wait for the response. Returns the delivery."""
        subscription = self.get_object()
        made = operations.send_test(subscription, by=request.user.get_username())
        history.log_change(request, subscription, f"Sent a test: {made.state}.")
        delivery = Delivery.objects.select_related("event", "subscription").get(pk=made.pk)
        return Response(DeliveryDetailSerializer(delivery, context=self.get_serializer_context()).data)

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
        return self._subscription_response(subscription, secret)

    @action(detail=True, methods=["post"], url_path="revoke-former-secrets")
    def revoke_former_secrets(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Revoke all signing secrets except the newest. `revoked` is how many."""
        subscription = self.get_object()
        revoked = operations.revoke_former_secrets(subscription)
        history.log_change(request, subscription, "Revoked former signing secrets.")
        return Response({"revoked": revoked})

    @action(detail=True, methods=["post"])
    def pause(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Pause the subscription: its deliveries are held until it is resumed."""
        subscription = self.get_object()
        if operations.pause(Subscription.objects.filter(pk=subscription.pk)):
            history.log_change(request, subscription, "Paused.")
        return self._subscription_response(subscription)

    @action(detail=True, methods=["post"])
    def resume(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Resume the subscription. Held deliveries are sent; those from before `skip_before` are skipped instead."""
        serializer = ResumptionSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        subscription = self.get_object()
        chosen = Subscription.objects.filter(pk=subscription.pk)
        resumed = operations.resume(chosen, skip_before=serializer.validated_data["skip_before"])
        if resumed.subscriptions:
            history.log_change(request, subscription, f"Resumed; {resumed.skipped} deliveries skipped.")
        return self._subscription_response(subscription)

    @action(detail=True, methods=["post"])
    def replay(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Start a replay: 202 and the replay. With `dry_run` 200 and how many deliveries it would send."""
        serializer = replays.PlanSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return replays.begin(request, self._with_visible_store(), serializer.validated_data)

    @action(detail=True)
    def stats(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Statistics of its deliveries in the last `?hours=` (1 to 744; 24 by default)."""
        return statistics_of(request, [self.get_object()])

    @action(detail=True)
    def missed(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Events that the subscription has not received since `?since=` (24 hours ago by default), oldest first."""
        return missed_of(request, self._with_visible_store())

    @action(detail=True)
    def preview(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The signed request for the order with the number `?order=` and the topic `?topic=`. Nothing is sent."""
        require_known(request, ["order", "topic"])
        given = {name: request.query_params.get(name, "") for name in ("order", "topic")}
        if wrong := [name for name, value in given.items() if not value]:
            raise ParameterError({name: ["Send an order's number and a topic."] for name in wrong})
        subscription, stores = self.get_object(), access.order_stores_of(request.user)
        try:
            now = DatabaseClock().now()
            shown = operations.preview(subscription, given["order"], topic=given["topic"], now=now, stores=stores)
        except UnknownTopicError as error:
            raise ParameterError({"topic": [str(error)]}, code="topic") from None
        except PreviewError as error:
            raise ConflictError(str(error), code="not_sendable") from None
        body = shown.body.decode()
        return Response({"wanted": shown.wanted, "url": shown.url, "headers": dict(shown.headers), "body": body})

    def _with_visible_store(self) -> Subscription:
        """The subscription. Raises NotFound if its owner may no longer see the orders of its store."""
        subscription = self.get_object()
        if not access.may_see_store(self.request.user, subscription.store):
            raise NotFound(
                "You may not see the orders of this subscription's store. The setting STORES_FOR_USER decides that."
            )
        return subscription

    @sensitive_variables()
    def _create(self, values: dict[str, Any]) -> Response:
        with transaction.atomic(using=Subscription.objects.db):
            subscription, secret = Subscription.create_with_secret(**values, owner=self.request.user)
            history.log_addition(self.request, subscription)
        return self._subscription_response(subscription, secret, status=status.HTTP_201_CREATED)

    @sensitive_variables()
    def _update(self, subscription: Subscription, data: Any, *, partial: bool) -> Response:
        serializer = self.get_serializer(subscription, data=data, partial=partial)
        serializer.is_valid(raise_exception=True)
        values = serializer.validated_data
        changed = [name for name, value in values.items() if getattr(subscription, name) != value]
        with transaction.atomic(using=Subscription.objects.db):
            url, headers = values.get("url", subscription.url), values.get("headers", subscription.headers)
            dropped = subscription.headers_left_behind(url=url, headers=headers)
            secret = operations.reconfigure(subscription, values)
            if changed:
                message = f"Changed {', '.join(changed)}."
                if dropped:
                    message += f" The values of {len(dropped)} headers were dropped, because the URL has another host."
                history.log_change(self.request, subscription, message)
        return self._subscription_response(subscription, secret)

    @sensitive_variables()
    def _subscription_response(
        self, subscription: Subscription, secret: str = "", *, status: int = status.HTTP_200_OK
    ) -> Response:
        data = self.get_serializer(self.get_queryset().get(pk=subscription.pk)).data
        # The private key of a pair is never shown. Its public key is in the data.
        shown = {"secret": secret} if secret and not signing.public_key(secret) else {}
        return Response({**data, **shown}, status=status)
