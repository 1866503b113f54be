"""Subscriptions in the API. A signing secret is in the answer to the request that made it, and nowhere else.

What handles secrets hides its variables from error reports, and hands DRF nothing that would show them.
"""

from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from rest_framework import serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import publishing, signing
from orderhooks.api.fields import Choice, Moment
from orderhooks.api.pagination import NewestFirst
from orderhooks.api.parsers import StrictJSONParser
from orderhooks.api.permissions import MayChange, ModelPermissions
from orderhooks.models import Subscription
from orderhooks.models.fields import seal
from orderhooks.models.subscriptions import LONGEST_OVERLAP, OVERLAP, validate_topics
from orderhooks.secrets import HIDDEN, Sealed

State = Subscription.State
MOST_TOPICS = 200
HOUR = timedelta(hours=1)


class SealedHeaders(serializers.DictField):
    """Header names with their values: written as text, read as `(hidden)`. `(hidden)` keeps the value that is there."""

    child = serializers.CharField(trim_whitespace=False)

    @sensitive_variables()
    def run_validation(self, data: Any = serializers.empty) -> Any:
        headers = super().run_validation(data)
        instance: Subscription | None = getattr(self.parent, "instance", None)
        try:
            return seal(headers, former=instance.headers if instance else None)
        except ValidationError as error:
            raise serializers.ValidationError(error.messages) from None

    def to_representation(self, value: dict[str, Sealed]) -> dict[str, str]:
        return dict.fromkeys(value, HIDDEN)


class SubscriptionSerializer(serializers.ModelSerializer[Subscription]):
    serializer_field_mapping = {**serializers.ModelSerializer.serializer_field_mapping, models.DateTimeField: Moment}

    topics = serializers.ListField(
        child=serializers.CharField(max_length=128),
        allow_empty=False,
        max_length=MOST_TOPICS,
        validators=[validate_topics],
        error_messages={"empty": 'Name at least one topic: ["order.paid"], ["order.*"] or ["*"].'},
    )
    headers = SealedHeaders(required=False)
    signature = Choice(choices=Subscription.Signature.choices, required=False)
    public_keys = serializers.SerializerMethodField(help_text="What `v1a` signatures are checked with, newest first.")
    # Only orderhooks disables.
    state = Choice(choices=[State.ACTIVE.value, State.PAUSED.value], required=False)

    class Meta:
        model = Subscription
        fields = [
            "public_id",
            "name",
            "store",
            "url",
            "topics",
            "headers",
            "signature",
            "public_keys",
            "ordered",
            "max_in_flight",
            "max_per_second",
            "timeout_seconds",
            "contact_email",
            "mail_failing",
            "mail_disabled",
            "mail_recovered",
            "state",
            "state_reason",
            "failing_since",
            "consecutive_failures",
            "last_success_at",
            "cooling_until",
            "created_at",
            "updated_at",
        ]
        read_only_fields = [
            "public_id",
            "state_reason",
            "failing_since",
            "consecutive_failures",
            "last_success_at",
            "cooling_until",
            "created_at",
            "updated_at",
        ]

    def get_public_keys(self, subscription: Subscription) -> list[str]:
        rows = sorted(subscription.secrets.all(), key=lambda row: row.pk, reverse=True)
        return [row.public_key for row in rows if row.public_key]


class RotationSerializer(serializers.Serializer[Any]):
    overlap_hours = serializers.FloatField(
        required=False,
        default=OVERLAP / HOUR,
        min_value=0,
        max_value=LONGEST_OVERLAP / HOUR,
        help_text="How long the former secrets go on signing beside the new one; 0 revokes them now.",
    )


class ResumptionSerializer(serializers.Serializer[Any]):
    skip_before = serializers.DateTimeField(
        required=False, default=None, help_text="Skip what is held from before; else all of it goes out."
    )


class SubscriptionViewSet(viewsets.ModelViewSet[Subscription]):
    queryset = Subscription.objects.prefetch_related("secrets")
    serializer_class = SubscriptionSerializer
    permission_classes = [ModelPermissions]
    pagination_class = NewestFirst
    parser_classes = [StrictJSONParser]
    filter_backends = []
    lookup_field = "public_id"
    lookup_value_regex = "sub_[0-9A-Z]{26}"

    @sensitive_variables()
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """201 and the subscription, with its `secret`, shown this once."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        subscription, secret = Subscription.create_with_secret(**serializer.validated_data)
        return self._answer(subscription, secret, status=status.HTTP_201_CREATED)

    @sensitive_variables()
    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The subscription; with a new `secret` if the `signature` asked for needs one of another kind."""
        subscription = self.get_object()
        serializer = self.get_serializer(subscription, data=request.data, partial=kwargs.get("partial", False))
        serializer.is_valid(raise_exception=True)
        given = dict(serializer.validated_data)
        state = given.pop("state", subscription.state)
        for name, value in given.items():
            setattr(subscription, name, value)
        with transaction.atomic():
            # No more than what was given: workers write the health of the same row meanwhile.
            subscription.save(update_fields=[*given, "updated_at"])
            secret = subscription.fit_secret(now=timezone.now())
            if state != subscription.state:
                change_state = publishing.resume if state == State.ACTIVE else publishing.pause
                change_state(Subscription.objects.filter(pk=subscription.pk))
        return self._answer(subscription, secret)

    @action(detail=True, methods=["post"], url_path="rotate-secret", permission_classes=[MayChange])
    @sensitive_variables()
    def rotate_secret(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The subscription with a new `secret`. `overlap_hours` (24): how long the former ones sign beside it."""
        serializer = RotationSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        subscription = self.get_object()
        overlap = serializer.validated_data["overlap_hours"] * HOUR
        return self._answer(subscription, subscription.rotate_secret(now=timezone.now(), overlap=overlap))

    @action(detail=True, methods=["post"], permission_classes=[MayChange])
    def pause(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The subscription, paused: its deliveries are held."""
        subscription = self.get_object()
        publishing.pause(Subscription.objects.filter(pk=subscription.pk))
        return self._answer(subscription, "")

    @action(detail=True, methods=["post"], permission_classes=[MayChange])
    def resume(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The subscription, active again. What was held goes out, but for what is older than `skip_before`."""
        serializer = ResumptionSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        subscription = self.get_object()
        publishing.resume(
            Subscription.objects.filter(pk=subscription.pk), skip_before=serializer.validated_data["skip_before"]
        )
        return self._answer(subscription, "")

    @action(detail=True, methods=["post"], url_path="revoke-former-secrets", permission_classes=[MayChange])
    def revoke_former_secrets(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """`revoked`: how many secrets signed beside the newest until now."""
        return Response({"revoked": self.get_object().revoke_former_secrets(now=timezone.now())})

    @sensitive_variables()
    def _answer(self, subscription: Subscription, secret: str, *, status: int = status.HTTP_200_OK) -> Response:
        data = self.get_serializer(self.get_queryset().get(pk=subscription.pk)).data
        # Of a key pair only the public half is anybody else's business, and that is in the data.
        shown = {"secret": secret} if secret and not signing.public_key(secret) else {}
        return Response({**data, **shown}, status=status)
