"""Events and topics in the API: what happened, to be pulled as well as pushed, and what can happen."""

from typing import Any

from django.db.models import QuerySet
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from orderhooks import catalogue, publishing
from orderhooks.api import access
from orderhooks.api.fields import MODEL_FIELD_MAPPING
from orderhooks.api.filters import PAGING, EventFilters, require_known
from orderhooks.api.protocol import history
from orderhooks.api.protocol.drf import FORMAT_PARAMETER
from orderhooks.api.protocol.pagination import page_size_of
from orderhooks.api.protocol.problems import ConflictError, ParameterError
from orderhooks.api.protocol.query_parameters import int_parameter
from orderhooks.api.resources import ApiViewSet, ResourceViewSet
from orderhooks.db import DatabaseClock
from orderhooks.models import Event, Subscription

# Of events; shown to those who may see payloads. An error may quote the order.
CONFIDENTIAL = ("payload", "changes", "error")
LARGEST_SEQUENCE = 2**63 - 1
# What the feed takes.
FEED = ("after", "page_size", "subscription")


class EventSerializer(serializers.ModelSerializer[Event]):
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
            "payload",
            "changes",
            "error",
            "occurred_at",
            "published_at",
        ]
        read_only_fields = fields

    def get_fields(self) -> dict[str, Any]:
        return access.visible(super().get_fields(), self.context["request"], hidden=CONFIDENTIAL)


class EventViewSet(mixins.RetrieveModelMixin, mixins.ListModelMixin, ResourceViewSet[Event]):
    queryset = Event.objects.all()
    serializer_class = EventSerializer
    public_id_prefix = "evt_"
    ordered_by = "sequence"
    filterset_class = EventFilters
    required_permissions = {"republish": [access.REDELIVER, access.VIEW_EVENT]}
    actions_without_body = ["republish"]

    def get_queryset(self) -> QuerySet[Event]:
        return access.events_of(self.request.user)

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The log, newest first; with `?after=` the feed: what was published behind a sequence, oldest first."""
        if "after" in request.query_params:
            return self._feed(request)
        if "subscription" in request.query_params:
            raise ParameterError({"subscription": ["It goes with `after` alone."]}, code="clash")
        return super().list(request, *args, **kwargs)

    @action(detail=True, methods=["post"])
    def republish(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The event whose payload could not be built, with the order as it is now; 409 if it can't be built again."""
        event = self.get_object()
        if event.published_at is not None:
            raise ConflictError("It is published already. Redeliver its deliveries, or replay it to a subscription.")
        if not publishing.republish(event):
            event.refresh_from_db()
            why = f": {event.error.rstrip('.')}" if request.user.has_perm(access.VIEW_PAYLOAD) else ""
            raise ConflictError(f"Its payload can't be built{why}. Fix the order source, then try again.")
        history.log_change(request, event, "Published again.")
        return Response(self.get_serializer(self.get_object()).data, status=status.HTTP_200_OK)

    def _feed(self, request: Request) -> Response:
        require_known(request, {*FEED, *EventFilters.base_filters, *PAGING})
        if clashing := request.query_params.keys() - {*FEED, FORMAT_PARAMETER}:
            text = f"The feed is not filtered by it. It takes: {', '.join(FEED)}."
            raise ParameterError({name: [text] for name in sorted(clashing)}, code="clash")
        after, size = _sequence(request), page_size_of(request)
        events = access.events_of(request.user).of_orders()
        if "subscription" in request.query_params:
            mine = access.subscriptions_of(request.user)
            wanted = mine.filter(public_id=request.query_params["subscription"]).first()
            if wanted is None:
                text = "There is no subscription of this id that you may see."
                raise ParameterError({"subscription": [text]}, code="unknown")
            events = events.wanted(wanted.topics, store=wanted.store)
        # One more tells whether there are more.
        rows = events.feed(after=after, at_most=size + 1, now=DatabaseClock().now())
        page = [event for event in rows[:size] if event.published_at is not None]
        last = rows[:size][-1].sequence if rows else after
        url = replace_query_param(request.build_absolute_uri(), "after", str(last))
        return Response(
            {
                "next": url if len(rows) > size else None,
                "after": last,
                "results": self.get_serializer(page, many=True).data,
            }
        )


def _sequence(request: Request) -> int:
    text = "Give the sequence of the last event that you have, or 0 to begin with the oldest that is kept."
    return int_parameter(request, "after", default=0, lowest=0, highest=LARGEST_SEQUENCE, remedy=text)


class TopicViewSet(ApiViewSet):
    """The catalogue, with the JSON Schema and an example of each topic's body; open to every user who is logged in."""

    required_permissions = {"list": (), "retrieve": (), "json_schema": ()}
    queryset = Subscription.objects.none()
    lookup_value_regex = "[^/]+"

    def list(self, request: Request) -> Response:
        return Response([_topic(entry) for entry in catalogue.entries()])

    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(_topic(_entry(pk)))

    @action(detail=True, url_path="schema", url_name="schema")
    def json_schema(self, request: Request, pk: str) -> Response:
        """The JSON Schema (draft 2020-12) of the whole body, as `application/schema+json`."""
        entry = _entry(pk)
        if request.accepted_renderer.format != "json":
            return Response(entry.schema)
        return Response(entry.schema, content_type="application/schema+json")


def _entry(name: str) -> catalogue.Entry:
    for entry in catalogue.entries():
        if entry.name == name:
            return entry
    raise NotFound("There is no such topic. The list of topics tells what there is.")


def _topic(entry: catalogue.Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "description": entry.description,
        "schema": entry.schema,
        "example": entry.example,
    }
