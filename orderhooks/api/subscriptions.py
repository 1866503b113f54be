"""Subscriptions in the API. A signing secret is in the answer to the request that made it, and nowhere else."""

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

from orderhooks import operations, signing
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
from orderhooks.rehearsing import PreviewError
from orderhooks.topics import UnknownTopicError

HOUR = timedelta(hours=1)
VIEW, CHANGE = "orderhooks.view_subscription", "orderhooks.change_subscription"


class RotationSerializer(PlainSerializer):
    overlap_hours = StrictFloatField(
        required=False,
        default=OVERLAP / HOUR,
        min_value=0,
        max_value=LONGEST_OVERLAP / HOUR,
        help_text="How long the former secrets go on signing beside the new one; 0 revokes them now.",
    )


class ResumptionSerializer(PlainSerializer):
    skip_before = StrictDateTimeField(
        required=False, default=None, help_text="Skip what is held from before; else all of it goes out."
    )


class SubscriptionViewSet(
    mixins.RetrieveModelMixin, mixins.DestroyModelMixin, mixins.ListModelMixin, ResourceViewSet[Subscription]
):
    queryset = Subscription.objects.select_related("owner").prefetch_related("secrets")
    serializer_class = SubscriptionSerializer
    public_id_prefix = "sub_"
    filterset_class = SubscriptionFilters
    required_permissions = {
        **dict.fromkeys(("test", "pause", "resume", "rotate_secret", "revoke_former_secrets"), (CHANGE,)),
        "replay": [access.REDELIVER, VIEW],
        "stats": [VIEW, "orderhooks.view_delivery"],
        "missed": [VIEW, "orderhooks.view_event"],
        "preview": [VIEW, access.VIEW_PAYLOAD],
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
        """201 and the subscription, with its `secret`, shown this once."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return self._create(serializer.validated_data)

    @sensitive_variables()
    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The subscription; with a new `secret` if the `signature` asked for needs one of another kind."""
        return self._update(self.get_object(), request.data, partial=kwargs.get("partial", False))

    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """What is not given stays as it is."""
        return self.update(request, *args, partial=True, **kwargs)

    def perform_destroy(self, instance: Subscription) -> None:
        history.log_deletion(self.request, instance)
        instance.delete()

    @action(detail=True, methods=["post"])
    def test(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Sends an example order as `webhook.test` now, waits for the answer, and shows the delivery with it."""
        subscription = self.get_object()
        made = operations.send_test(subscription, by=request.user.get_username())
        history.log_change(request, subscription, f"Sent a test: {made.state}.")
        delivery = Delivery.objects.select_related("event", "subscription").get(pk=made.pk)
        return Response(DeliveryDetailSerializer(delivery, context=self.get_serializer_context()).data)

    @action(detail=True, methods=["post"], url_path="rotate-secret")
    @sensitive_variables()
    def rotate_secret(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The subscription with a new `secret`. `overlap_hours` (24): how long the former ones sign beside it."""
        serializer = RotationSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        subscription = self.get_object()
        overlap = serializer.validated_data["overlap_hours"] * HOUR
        secret = operations.rotate(subscription, overlap=overlap)
        history.log_change(request, subscription, "Rotated the signing secret.")
        return self._answer(subscription, secret)

    @action(detail=True, methods=["post"], url_path="revoke-former-secrets")
    def revoke_former_secrets(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """`revoked`: how many secrets signed beside the newest until now."""
        subscription = self.get_object()
        revoked = operations.revoke_former_secrets(subscription)
        history.log_change(request, subscription, "Revoked former signing secrets.")
        return Response({"revoked": revoked})

    @action(detail=True, methods=["post"])
    def pause(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The subscription, paused: its deliveries are held."""
        subscription = self.get_object()
        if operations.pause(Subscription.objects.filter(pk=subscription.pk)):
            history.log_change(request, subscription, "Paused.")
        return self._answer(subscription)

    @action(detail=True, methods=["post"])
    def resume(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The subscription, active again. What was held goes out, but for what is older than `skip_before`."""
        serializer = ResumptionSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        subscription = self.get_object()
        chosen = Subscription.objects.filter(pk=subscription.pk)
        resumed = operations.resume(chosen, skip_before=serializer.validated_data["skip_before"])
        if resumed.subscriptions:
            history.log_change(request, subscription, f"Resumed; {resumed.skipped} deliveries skipped.")
        return self._answer(subscription)

    @action(detail=True, methods=["post"])
    def replay(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """202 and the replay; with `dry_run` 200 and how many deliveries it would send."""
        serializer = replays.PlanSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return replays.begin(request, self._in_reach(), serializer.validated_data)

    @action(detail=True)
    def stats(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """How its deliveries have been going; `?hours=` 1 to 744 (24)."""
        return statistics_of(request, [self.get_object()])

    @action(detail=True)
    def missed(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """What it wanted and has not got, oldest first, with the reason; `?since=` a moment (24 hours ago)."""
        return missed_of(request, self._in_reach())

    @action(detail=True)
    def preview(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The signed request that the order numbered `?order=` would send if `?topic=` happened; it is not sent."""
        require_known(request, ["order", "topic"])
        given = {name: request.query_params.get(name, "") for name in ("order", "topic")}
        if wrong := [name for name, value in given.items() if not value]:
            raise ParameterError({name: ["Give an order's number and a topic."] for name in wrong})
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

    def _in_reach(self) -> Subscription:
        """The subscription; 404 if its store has been withdrawn from its owner since."""
        subscription = self.get_object()
        if not access.is_in_reach(self.request.user, subscription.store):
            raise NotFound("You may not see the orders of this subscription's store. Ask whoever sets STORES_FOR_USER.")
        return subscription

    @sensitive_variables()
    def _create(self, values: dict[str, Any]) -> Response:
        with transaction.atomic(using=Subscription.objects.db):
            subscription, secret = Subscription.create_with_secret(**values, owner=self.request.user)
            history.log_addition(self.request, subscription)
        return self._answer(subscription, secret, status=status.HTTP_201_CREATED)

    @sensitive_variables()
    def _update(self, subscription: Subscription, data: Any, *, partial: bool) -> Response:
        serializer = self.get_serializer(subscription, data=data, partial=partial)
        serializer.is_valid(raise_exception=True)
        values = serializer.validated_data
        changed = [name for name, value in values.items() if getattr(subscription, name) != value]
        with transaction.atomic(using=Subscription.objects.db):
            url, headers = values.get("url", subscription.url), values.get("headers", subscription.headers)
            left = subscription.headers_left_behind(url=url, headers=headers)
            secret = operations.reconfigure(subscription, values)
            if changed:
                told = f"Changed {', '.join(changed)}."
                if left:
                    told += f" The values of {len(left)} headers were dropped: the URL has another host."
                history.log_change(self.request, subscription, told)
        return self._answer(subscription, secret)

    @sensitive_variables()
    def _answer(self, subscription: Subscription, secret: str = "", *, status: int = status.HTTP_200_OK) -> Response:
        data = self.get_serializer(self.get_queryset().get(pk=subscription.pk)).data
        # Of a key pair only the public half is anybody else's business, and that is in the data.
        shown = {"secret": secret} if secret and not signing.public_key(secret) else {}
        return Response({**data, **shown}, status=status)
