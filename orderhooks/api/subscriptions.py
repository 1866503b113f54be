"""Subscriptions in the API. The signing secret is in the answer to the request that made it, and nowhere else."""

from typing import Any

from django.db import models
from rest_framework import serializers, status, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import publishing
from orderhooks.api.fields import Choice, Moment
from orderhooks.api.pagination import NewestFirst
from orderhooks.api.parsers import StrictJSONParser
from orderhooks.api.permissions import ModelPermissions
from orderhooks.models import Subscription
from orderhooks.models.subscriptions import validate_topics

State = Subscription.State
MOST_TOPICS = 200


class SubscriptionSerializer(serializers.ModelSerializer[Subscription]):
    serializer_field_mapping = {**serializers.ModelSerializer.serializer_field_mapping, models.DateTimeField: Moment}

    topics = serializers.ListField(
        child=serializers.CharField(max_length=128),
        allow_empty=False,
        max_length=MOST_TOPICS,
        validators=[validate_topics],
        error_messages={"empty": 'Name at least one topic: ["order.paid"], ["order.*"] or ["*"].'},
    )
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
            "state",
            "state_reason",
            "failing_since",
            "consecutive_failures",
            "last_success_at",
            "created_at",
            "updated_at",
        ]
        read_only_fields = [
            "public_id",
            "state_reason",
            "failing_since",
            "consecutive_failures",
            "last_success_at",
            "created_at",
            "updated_at",
        ]

    def create(self, validated_data: dict[str, Any]) -> Subscription:
        subscription, secret = Subscription.create_with_secret(**validated_data)
        self.secret = secret
        return subscription

    def update(self, instance: Subscription, validated_data: dict[str, Any]) -> Subscription:
        state = validated_data.pop("state", instance.state)
        for name, value in validated_data.items():
            setattr(instance, name, value)
        # No more than what was given: workers write the health of the same row meanwhile.
        instance.save(update_fields=[*validated_data, "updated_at"])
        if state != instance.state:
            change_state = publishing.resume if state == State.ACTIVE else publishing.pause
            change_state(Subscription.objects.filter(pk=instance.pk))
        instance.refresh_from_db()
        return instance


class SubscriptionViewSet(viewsets.ModelViewSet[Subscription]):
    queryset = Subscription.objects.all()
    serializer_class = SubscriptionSerializer
    permission_classes = [ModelPermissions]
    pagination_class = NewestFirst
    parser_classes = [StrictJSONParser]
    filter_backends = []
    lookup_field = "public_id"
    lookup_value_regex = "sub_[0-9A-Z]{26}"

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        serializer = SubscriptionSerializer(data=request.data, context=self.get_serializer_context())
        serializer.is_valid(raise_exception=True)
        serializer.save()
        return Response({**serializer.data, "secret": serializer.secret}, status=status.HTTP_201_CREATED)
