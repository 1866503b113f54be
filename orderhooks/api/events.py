"""Events and topics in the API: read the log, pull the feed, publish an event again, read the topic catalogue."""

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from orderhooks import catalogue, permissions, publishing, shaping, topics, versions
from orderhooks.api import access
from orderhooks.api.consumers import AcknowledgementSerializer, ConsumerSerializer, acknowledge
from orderhooks.api.feed import is_feed, read_feed
from orderhooks.api.fields import MODEL_FIELD_MAPPING, JsonObjectField
from orderhooks.api.filters import EventFilters, require_known
from orderhooks.api.openapi.descriptions import ApiResponse, Body, Envelope, ListOf, OneOf, Operation, describe, page_of
from orderhooks.api.openapi.parameters import TEXT, after, in_query
from orderhooks.api.protocol import history
from orderhooks.api.protocol.problems import ConflictError
from orderhooks.api.protocol.query_parameters import version_of
from orderhooks.api.resources import ApiViewSet, ResourceViewSet
from orderhooks.api.waiting import LONGEST_WAIT_SECONDS
from orderhooks.db.encrypted_records import UnreadableRecord
from orderhooks.models import Event, Subscription
from orderhooks.models.feed_consumers import NAME_PATTERN


class EventSerializer(serializers.ModelSerializer[Event]):
    """What happened to an order in one transaction."""

    # Require the permission `view_payload`. An error may quote the order.
    confidential_fields = ("payload", "changes", "error")
    field_schemas: Mapping[str, Body] = {
        "payload": {"type": ["object", "null"], "description": "`data` of the body that receivers get."},
        "changes": {"type": "object", "description": "[old, new] of each field that the transaction changed."},
    }
    serializer_field_mapping = MODEL_FIELD_MAPPING

    class Meta:
        model = Event
        fields = [
            "public_id",
            "sequence",
            "topic",
            "source",
            "order_number",
            "store",
            "api_version",
            "payload",
            "changes",
            "error",
            "occurred_at",
            "published_at",
        ]
        read_only_fields = fields

    def to_representation(self, event: Event) -> dict[str, Any]:
        """For a subscription of the context, the body is in its version, or `error` says why not."""
        shown: dict[str, Any] = super().to_representation(event)
        subscription: Subscription | None = self.context.get("subscription")
        for value in (event.payload, event.changes):
            if isinstance(value, UnreadableRecord) and "payload" in shown:
                return shown | _without_body(value.reason)
        if subscription is not None and shown.get("payload") is not None:
            shown |= _in_version(event, subscription.api_version)
        return shown

    def get_fields(self) -> dict[str, Any]:
        return access.visible_fields(super().get_fields(), self.context["request"], hidden=self.confidential_fields)


def _in_version(event: Event, version: str) -> dict[str, Any]:
    try:
        body = shaping.envelope(event, version)
    except shaping.ShapingError as error:
        # A receiver can't read another version, and would not see from a 200 that it is one.
        return _without_body(str(error))
    found: dict[str, Any] = {"payload": body["data"], "api_version": body["api_version"]}
    if body["api_version"] != event.api_version:
        # A conversion may have renamed fields in them.
        found["changes"] = body["data"].get("changes", {})
    return found


def _without_body(reason: str) -> dict[str, Any]:
    return {"payload": None, "changes": {}, "error": reason}


FEED = Envelope(
    EventSerializer,
    {
        "next": {"type": ["string", "null"], "description": "The URL of the next page; null if this is the last."},
        "after": {
            "type": "integer",
            "description": "The last sequence that was examined: `after` of the next request.",
        },
    },
    "EventFeed",
)


class EventViewSet(mixins.RetrieveModelMixin, mixins.ListModelMixin, ResourceViewSet[Event]):
    """Events of the stores that the user may subscribe to."""

    queryset = Event.objects.all()
    serializer_class = EventSerializer
    public_id_prefix = "evt_"
    ordered_by = "sequence"
    filterset_class = EventFilters
    required_permissions = {
        "republish": [permissions.REDELIVER_DELIVERY, permissions.VIEW_EVENT],
        "acknowledge": [permissions.VIEW_EVENT],
    }
    actions_without_body = ["republish"]
    # It may wait for an event.
    actions_outside_transactions = ["list"]
    inherited_operations = {
        "retrieve": Operation("getEvent", "Read an event", {200: ApiResponse("The event.", EventSerializer)}),
    }

    def get_queryset(self) -> QuerySet[Event]:
        return access.events_of(self.request.user)

    @describe(
        "listEvents",
        "List events, or read the feed",
        {
            200: ApiResponse(
                "A page of the log, newest first. With `after` or `consumer` a page of the feed, oldest first.",
                OneOf([page_of(EventSerializer), FEED]),
            )
        },
        description="Without `after` and `consumer`, the log. With `after`, the feed: events with a higher sequence,"
        " oldest first, each once. With `consumer`, the feed after what the consumer has acknowledged, also if it has"
        " been read before. The feed has no other parameters than `subscription`, `page_size` and `wait`. It is ten"
        " seconds behind, so that it misses no event.",
        parameters=[
            after("The sequence of the last event that you have. 0 starts with the oldest one."),
            in_query(
                "consumer",
                {"type": "string", "pattern": NAME_PATTERN},
                "A name that your program chooses. The API keeps what it acknowledged. With `after` it reads ahead.",
            ),
            in_query(
                "subscription",
                {"type": "string", "pattern": "^sub_[0-9A-Z]{26}$"},
                "Only with `after` or `consumer`: only events that this subscription receives. A page then has what is"
                " left of `page_size` events.",
            ),
            in_query(
                "wait",
                {"type": "integer", "minimum": 0, "maximum": LONGEST_WAIT_SECONDS, "default": 0},
                "Only with `after` or `consumer`: if there is nothing to read, wait up to this many seconds until there"
                " is. Then the page is empty.",
            ),
        ],
        problems={
            409: "The consumer reads the feed of another subscription, or you have too many consumers.",
            410: "Events were deleted before the consumer acknowledged them. `detail` says how to go on.",
            422: "For example, the cursor is not valid, or the subscription is unknown.",
            503: "Too many requests wait, or the store's database could not do this now. Try again after `Retry-After`,"
            " or without `wait`.",
        },
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """A page of the log, newest first. With `?after=` the feed: events with a higher sequence, oldest first."""
        return self._feed(request) if is_feed(request) else super().list(request, *args, **kwargs)

    @describe(
        "acknowledgeEvents",
        "Acknowledge events of the feed",
        {200: ApiResponse("The consumer with its place.", ConsumerSerializer)},
        description="Moves the consumer's place forward to `after`. A place beyond that stays where it is. A consumer"
        " that does not exist begins at `after`.",
        request=AcknowledgementSerializer,
        example={"consumer": "erp", "after": 812},
        problems={
            409: "The consumer was not shown the events up to there, reads another feed, or has missed another number"
            " of events; or the key came with another request.",
            422: "The subscription is unknown.",
        },
    )
    @action(detail=False, methods=["post"])
    def acknowledge(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Move the place of a consumer forward to `after`, or begin one there."""
        serializer = AcknowledgementSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        consumer = acknowledge(request, serializer.validated_data)
        return Response(ConsumerSerializer(consumer, context=self.get_serializer_context()).data)

    @describe(
        "republishEvent",
        "Publish an event again",
        {200: ApiResponse("The published event.", EventSerializer)},
        description="For an event whose payload could not be built. It gets the order as it is now.",
        problems={
            409: "The event is already published, or its payload still can't be built; or the key came with another"
            " request."
        },
    )
    @action(detail=True, methods=["post"])
    def republish(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Publish an event whose payload could not be built, with the order as it is now. 409 if it still can't be."""
        event = self.get_object()
        if event.published_at is not None:
            raise ConflictError(
                "The event is already published. Redeliver its deliveries, or replay it to a subscription."
            )
        if not publishing.republish(event):
            event.refresh_from_db()
            reason = f": {event.error.rstrip('.')}" if request.user.has_perm(permissions.VIEW_PAYLOAD) else ""
            raise ConflictError(f"The payload can't be built{reason}. Fix the order source, then try again.")
        history.log_change(request, event, "Published again.")
        return Response(self.get_serializer(self.get_object()).data, status=status.HTTP_200_OK)

    def _feed(self, request: Request) -> Response:
        page = read_feed(request)
        context = {**self.get_serializer_context(), "subscription": page.subscription}
        url = replace_query_param(request.build_absolute_uri(), "after", str(page.last))
        return Response(
            {
                "next": url if page.has_more else None,
                "after": page.last,
                "results": EventSerializer(page.events, many=True, context=context).data,
            }
        )


class TopicSerializer(serializers.Serializer[Any]):
    """A topic of the catalogue."""

    name = serializers.CharField()
    description = serializers.CharField()
    schema = JsonObjectField(help_text="The JSON Schema (draft 2020-12) of the whole body.")
    example = JsonObjectField(help_text="An example of a whole body.")


class TopicViewSet(ApiViewSet):
    """The topic catalogue, with the JSON Schema and an example of each topic's body. It needs only a login.

    Topics that no order source of the project makes are not listed, but can be read and subscribed to.
    """

    required_permissions = {"list": (), "retrieve": (), "json_schema": ()}
    queryset = Subscription.objects.none()
    lookup_field = "topic"
    lookup_value_regex = "[^/]+"

    @describe(
        "listTopics",
        "List the topics",
        {200: ApiResponse("The topics that this project can make.", ListOf(TopicSerializer))},
    )
    def list(self, request: Request) -> Response:
        """The topics that this project can make."""
        return Response(TopicSerializer(catalogue.entries(), many=True).data)

    @describe(
        "getTopic",
        "Read a topic",
        {200: ApiResponse("The topic.", TopicSerializer)},
        description="The schema is that of the newest version of the body.",
        parameters=[
            in_query("api_version", TEXT, "Show the example in this version of the body. The default is the newest.")
        ],
        problems={409: "The example can't be converted to that version.", 422: "The version is not registered."},
    )
    def retrieve(self, request: Request, topic: str) -> Response:
        """One topic, with an example in the version `?api_version=` of the body (the newest by default)."""
        require_known(request, ["api_version"])
        return Response(TopicSerializer(_entry(topic, version_of(request, "api_version"))).data)

    @describe(
        "getTopicSchema",
        "Read a topic's JSON Schema",
        {
            200: ApiResponse(
                "The JSON Schema (draft 2020-12) of the whole body.",
                {"type": "object"},
                media_type="application/schema+json",
            )
        },
    )
    @action(detail=True, url_path="schema", url_name="schema")
    def json_schema(self, request: Request, topic: str) -> Response:
        """The JSON Schema (draft 2020-12) of the whole body, as `application/schema+json`."""
        entry = _entry(topic)
        if request.accepted_renderer.format != "json":
            return Response(entry.schema)
        return Response(entry.schema, content_type="application/schema+json")


def _entry(name: str, version: str = "") -> catalogue.Entry:
    try:
        return catalogue.entry(name, version=version)
    except versions.VersionError as error:
        raise ConflictError(str(error), code="not_convertible") from None
    except topics.UnknownTopicError:
        raise NotFound("Unknown topic. The list of topics has those that this project can make.") from None
