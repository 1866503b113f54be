"""Events and topics in the API: what happened, and what can."""

from typing import Any

from django.db import models
from django.db.models import QuerySet
from rest_framework import serializers, viewsets
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import topics
from orderhooks.api.fields import Moment
from orderhooks.api.filters import given
from orderhooks.api.pagination import NewestFirst
from orderhooks.api.parsers import StrictJSONParser
from orderhooks.api.permissions import ModelPermissions, visible
from orderhooks.models import Event


class EventSerializer(serializers.ModelSerializer[Event]):
    serializer_field_mapping = {**serializers.ModelSerializer.serializer_field_mapping, models.DateTimeField: Moment}

    class Meta:
        model = Event
        fields = [
            "public_id",
            "sequence",
            "topic",
            "source",
            "order_number",
            "store",
            "payload",
            "changes",
            "error",
            "occurred_at",
            "published_at",
        ]
        read_only_fields = fields

    def get_fields(self) -> dict[str, Any]:
        return visible(super().get_fields(), self.context["request"], hidden=("payload", "changes"))


class EventViewSet(viewsets.ReadOnlyModelViewSet[Event]):
    """Filters: `?topic=` and `?order_number=`."""

    queryset = Event.objects.all()
    serializer_class = EventSerializer
    permission_classes = [ModelPermissions]
    pagination_class = NewestFirst
    parser_classes = [StrictJSONParser]
    filter_backends = []
    lookup_field = "public_id"
    lookup_value_regex = "evt_[0-9A-Z]{26}"

    def get_queryset(self) -> QuerySet[Event]:
        rows = super().get_queryset()
        if self.action != "list":
            return rows
        for name in ("topic", "order_number"):
            if value := given(self.request, name):
                rows = rows.filter(**{name: value})
        return rows


class TopicViewSet(viewsets.ViewSet):
    """The catalogue; open to every user who is logged in."""

    permission_classes = [IsAuthenticated]

    def list(self, request: Request) -> Response:
        known: list[dict[str, Any]] = [
            {"name": topic.name, "description": topic.description} for topic in topics.catalogue().values()
        ]
        return Response(known)
