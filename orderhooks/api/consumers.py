"""Consumers of the feed in the API: programs that poll under a name, for which the API keeps what they acknowledged."""

import re
from http import HTTPStatus
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from rest_framework import mixins, serializers
from rest_framework.exceptions import APIException, NotFound
from rest_framework.request import Request

from orderhooks import permissions, stores
from orderhooks.api import access
from orderhooks.api.fields import (
    MODEL_FIELD_MAPPING,
    RowIdField,
    StrictBooleanField,
    StrictCharField,
    StrictDateTimeField,
)
from orderhooks.api.members import PlainSerializer
from orderhooks.api.openapi.descriptions import ApiResponse, Operation, page_of
from orderhooks.api.protocol import history
from orderhooks.api.protocol.problems import ConflictError, ParameterError
from orderhooks.api.resources import ResourceViewSet
from orderhooks.models import FeedConsumer, Subscription
from orderhooks.models.feed_consumers import NAME_PATTERN
from orderhooks.reporting.feed_lag import BOUND, feed_lags

__all__ = [
    "AcknowledgementSerializer",
    "ConsumerSerializer",
    "ConsumerViewSet",
    "acknowledge",
    "consumer_of",
    "require_nothing_missed",
    "visible_subscription",
]

# Of one user. A program that makes up a name for each request would fill the table.
MOST_CONSUMERS = 100
NAME_REMEDY = "Send 1 to 64 lower-case letters, digits, dots, hyphens and underscores, such as erp."
UNKNOWN_SUBSCRIPTION = "There is no subscription with this id, or you may not see it."


class EventsMissedError(APIException):
    """410: events were deleted before the consumer acknowledged them."""

    status_code = HTTPStatus.GONE
    default_code = "events_missed"


class ConsumerNameField(StrictCharField):
    """The name of a consumer."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> str:
        name = super().to_internal_value(data)
        if not is_name(name):
            raise serializers.ValidationError(NAME_REMEDY, code="invalid")
        return name


class AcknowledgementSerializer(PlainSerializer):
    """What a consumer has acted on."""

    consumer = ConsumerNameField(help_text="The name of the consumer.")
    subscription = StrictCharField(
        required=False, max_length=64, help_text="The id of the subscription whose feed the consumer reads, if any."
    )
    after = RowIdField(
        min_value=0, help_text="The sequence up to which all is done: `after` of the page that was acted on."
    )
    rewind = StrictBooleanField(
        required=False, default=False, help_text="Also move the place backwards, to read events again."
    )
    missed = RowIdField(
        required=False,
        min_value=0,
        help_text="Accept that this many events were deleted before they were acknowledged, as the 410 says.",
    )
    field_schemas = {"consumer": {"type": "string", "pattern": NAME_PATTERN}}


class ConsumerSerializer(serializers.ModelSerializer[FeedConsumer]):
    """A program that polls the feed, and how far behind it is."""

    serializer_field_mapping = MODEL_FIELD_MAPPING

    user = serializers.CharField(source="user.get_username", read_only=True, help_text="Whose consumer it is.")
    subscription = serializers.CharField(
        source="subscription.public_id",
        read_only=True,
        allow_null=True,
        default=None,
        help_text="Whose feed it reads; null: all events that the user may see.",
    )
    # Null if the function of STORES_FOR_USER raises.
    events_behind = serializers.IntegerField(
        source="lag.events",
        read_only=True,
        allow_null=True,
        default=None,
        help_text=f"How many events are after `acknowledged`, counted to {BOUND}; null if this is not known.",
    )
    events_behind_is_exact = serializers.BooleanField(
        source="lag.is_exact", read_only=True, allow_null=True, default=None
    )
    behind_since = StrictDateTimeField(
        source="lag.since",
        read_only=True,
        allow_null=True,
        default=None,
        help_text="When the oldest of these events was published.",
    )
    field_schemas = {
        "acknowledged": {"type": "integer", "description": "The sequence up to which it has acknowledged."},
        "read_up_to": {"type": "integer", "description": "The sequence up to which it was shown events."},
        "missed": {"type": "integer", "description": "How many events were deleted before they were acknowledged."},
    }

    class Meta:
        model = FeedConsumer
        fields = [
            "public_id",
            "name",
            "user",
            "subscription",
            "acknowledged",
            "read_up_to",
            "missed",
            "events_behind",
            "events_behind_is_exact",
            "behind_since",
            "last_read_at",
            "acknowledged_at",
            "created_at",
        ]
        read_only_fields = fields


class ConsumerViewSet(
    mixins.RetrieveModelMixin, mixins.DestroyModelMixin, mixins.ListModelMixin, ResourceViewSet[FeedConsumer]
):
    """The user's consumers of the feed; all of them for users who manage all subscriptions."""

    queryset = FeedConsumer.objects.all()
    serializer_class = ConsumerSerializer
    public_id_prefix = "csm_"
    required_permissions = dict.fromkeys(("list", "retrieve", "destroy"), (permissions.VIEW_EVENT,))
    inherited_operations = {
        "list": Operation(
            "listConsumers",
            "List consumers of the feed",
            {200: ApiResponse("A page of consumers, newest first.", page_of(ConsumerSerializer))},
        ),
        "retrieve": Operation(
            "getConsumer", "Read a consumer", {200: ApiResponse("The consumer.", ConsumerSerializer)}
        ),
        "destroy": Operation(
            "deleteConsumer",
            "Delete a consumer",
            {204: ApiResponse("The consumer is deleted.")},
            description="The next request with its name begins a new one, with the oldest event that is kept.",
        ),
    }

    def get_queryset(self) -> QuerySet[FeedConsumer]:
        return access.consumers_of(self.request.user).select_related("user", "subscription")

    def get_object(self) -> FeedConsumer:
        [consumer] = with_lags([super().get_object()])
        return consumer

    def paginate_queryset(self, queryset: Any) -> Any:
        return with_lags(super().paginate_queryset(queryset) or [])

    def perform_destroy(self, instance: FeedConsumer) -> None:
        history.log_deletion(self.request, instance)
        instance.delete()


def with_lags(consumers: list[FeedConsumer]) -> list[FeedConsumer]:
    """The consumers, each with its `lag` for ConsumerSerializer."""
    lags = feed_lags(consumers, stores.feeds_of(consumers))
    for consumer in consumers:
        setattr(consumer, "lag", lags[consumer.pk])  # noqa: B010
    return consumers


def is_name(text: str) -> bool:
    return re.fullmatch(NAME_PATTERN.removesuffix("$"), text) is not None


def visible_subscription(request: Request, public_id: str) -> Subscription | None:
    """The subscription with this id; None if there is none that the user may see."""
    return access.subscriptions_of(request.user).filter(public_id=public_id).first()


def consumer_of(request: Request, subscription: Subscription | None) -> FeedConsumer:
    """The user's consumer that the parameter `consumer` names; a new one begins with the oldest event.

    Raises ParameterError; ConflictError if it reads another feed, or if the user has too many.
    """
    name = request.query_params["consumer"]
    if not is_name(name):
        raise ParameterError({"consumer": [NAME_REMEDY]})
    found = access.own_consumers(request.user).filter(name=name).select_related("subscription").first()
    found = found or _begin(request, name, subscription)
    _require_feed(found, subscription)
    return found


def require_nothing_missed(consumer: FeedConsumer) -> None:
    """Raises EventsMissedError if events were deleted that the consumer has not acknowledged."""
    if consumer.missed:
        raise EventsMissedError(
            f"{consumer.missed} events of this feed were deleted, by RETENTION_DAYS, before the consumer "
            f"{consumer.name} acknowledged them. Find out which orders you lack (orders/digests/). Then send "
            f'events/acknowledge/ with "missed": {consumer.missed} and "after": {consumer.acknowledged}, and read on.'
        )


def acknowledge(request: Request, values: dict[str, Any]) -> FeedConsumer:
    """Move the place of the user's consumer, or begin one there.

    Raises ValidationError if the subscription is unknown; ConflictError if the consumer reads another feed, was not
    shown the events up to there, or has missed another number of events.
    """
    subscription = None
    if "subscription" in values:
        subscription = visible_subscription(request, values["subscription"])
        if subscription is None:
            raise serializers.ValidationError({"subscription": [UNKNOWN_SUBSCRIPTION]}, code="unknown")
    own = access.own_consumers(request.user).select_related("user", "subscription")
    consumer = own.filter(name=values["consumer"]).first()
    if consumer is None:
        consumer = _begin(request, values["consumer"], subscription, after=_existing(request, values["after"]))
    if "subscription" in values:
        _require_feed(consumer, subscription)
    FeedConsumer.objects.filter(pk=consumer.pk).acknowledge(
        values["after"], rewind=values["rewind"], missed=values.get("missed"), now=timezone.now()
    )
    found: FeedConsumer | None = own.filter(pk=consumer.pk).first()
    if found is None:
        raise NotFound("The consumer was deleted meanwhile.")
    _require_effect(found, values)
    return with_lags([found])[0]


def _begin(request: Request, name: str, subscription: Subscription | None, after: int = 0) -> FeedConsumer:
    if access.own_consumers(request.user).count() >= MOST_CONSUMERS:
        raise ConflictError(
            f"You have {MOST_CONSUMERS} consumers, which is the most. Use one name for each program, and delete those "
            "that are no longer used: DELETE consumers/<id>/.",
            code="too_many_consumers",
        )
    return FeedConsumer.objects.begin(user=request.user, name=name, subscription=subscription, after=after)


def _require_feed(consumer: FeedConsumer, subscription: Subscription | None) -> None:
    if consumer.subscription_id != (subscription and subscription.pk):
        own = f"subscription={consumer.subscription.public_id}" if consumer.subscription else "no subscription"
        raise ConflictError(
            f"The consumer {consumer.name} reads another feed. Send {own}, or use another name.", code="other_feed"
        )


def _existing(request: Request, after: int) -> int:
    """The sequence, if it is not beyond the newest event that the user may see. Raises ConflictError."""
    newest = access.events_of(request.user).order_by("-sequence").values_list("sequence", flat=True).first() or 0
    if after > newest:
        raise ConflictError(f"The newest event has the sequence {newest}. Send that or a lower one.", code="not_shown")
    return after


def _require_effect(consumer: FeedConsumer, values: dict[str, Any]) -> None:
    """Raises ConflictError if the acknowledgement did not apply to the consumer as it is now."""
    if values["after"] > consumer.read_up_to:
        raise ConflictError(
            f"The consumer {consumer.name} has read up to {consumer.read_up_to}. Send that or a lower sequence: what "
            "it was not shown can't be acknowledged.",
            code="not_shown",
        )
    if values.get("missed") is not None and consumer.missed:
        raise ConflictError(
            f"The consumer {consumer.name} has missed {consumer.missed} events, not {values['missed']}. Read the feed "
            "again.",
            code="events_missed",
        )
