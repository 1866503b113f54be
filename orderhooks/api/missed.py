"""Events that a subscription should have received and has not, for a receiver that was down."""

import re
from collections.abc import Mapping
from datetime import timedelta
from itertools import islice
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from orderhooks import matching, reporting
from orderhooks.api.events import EventSerializer
from orderhooks.api.fields import StrictDateTimeField
from orderhooks.api.filters import require_known
from orderhooks.api.openapi.descriptions import Body, Envelope
from orderhooks.api.openapi.parameters import DATE_TIME, in_query, page_size
from orderhooks.api.protocol.pagination import page_size_of
from orderhooks.api.protocol.problems import ParameterError
from orderhooks.db import DatabaseClock
from orderhooks.models import Delivery, Event, Replay, Subscription

__all__ = ["MISSED", "PARAMETERS", "missed_of"]

DAY = timedelta(days=1)
# How many events one page examines at most, however few of them were missed.
MAX_EXAMINED = 20_000
# Of a subscription that chooses by what events hold: each is read.
MAX_READ = 300


class MissedSerializer(EventSerializer):
    """An event, why it has not arrived, and its delivery if there is one."""

    reason = serializers.SerializerMethodField()
    delivery = serializers.SerializerMethodField(help_text="The delivery's id; null if there is none.")

    field_schemas: Mapping[str, Body] = {
        **EventSerializer.field_schemas,
        "reason": {"type": "string", "enum": list(reporting.Reason.values)},
    }

    class Meta(EventSerializer.Meta):
        fields = [*EventSerializer.Meta.fields, "reason", "delivery"]
        read_only_fields = fields

    def get_reason(self, event: Event) -> str:
        return reporting.explain(event, self.context["subscription"], self._delivery(event)).value

    def get_delivery(self, event: Event) -> str | None:
        delivery = self._delivery(event)
        return delivery.public_id if delivery else None

    def _delivery(self, event: Event) -> Delivery | None:
        found: Delivery | None = self.context["deliveries"].get(event.pk)
        return found


MISSED = Envelope(
    MissedSerializer,
    {
        "next": {
            "type": ["string", "null"],
            "description": "The URL of the next page; null if this is the last. A page may be empty although there is a"
            " next one.",
        },
    },
)
PARAMETERS = [
    in_query("since", DATE_TIME, "Events from this time on. The default is 24 hours ago."),
    in_query("cursor", {"type": "string", "pattern": "^evt_[0-9A-Z]{26}$"}, "From `next` of another page."),
    page_size(),
]


def missed_of(request: Request, subscription: Subscription) -> Response:
    """A page of missed events, oldest first. A page may be empty although `next` is not null.

    Raises ParameterError.
    """
    require_known(request, ["since", "cursor", "page_size"])
    now = DatabaseClock().now()
    since, size = max(_since(request) or now - DAY, subscription.created_at), page_size_of(request)
    if since >= now:
        return Response({"next": None, "results": []})
    # A replay that is not saved selects the same events.
    unsaved = Replay(subscription=subscription, since=since, until=now)
    most = MAX_READ if subscription.is_selective else MAX_EXAMINED
    event_range = unsaved.next_range(_cursor(request) or unsaved.start(), most)
    missed = unsaved.missed(event_range).order_by("public_id")
    if subscription.is_selective:
        rows = list(islice(matching.wanted(missed.iterator(chunk_size=size), subscription), size + 1))
    else:
        rows = list(missed[: size + 1])
    page = rows[:size]
    reached = "" if event_range.is_last else event_range.up_to
    cursor = page[-1].public_id if len(rows) > size else reached
    deliveries = Delivery.objects.filter(subscription=subscription, event__in=[event.pk for event in page])
    context: dict[str, Any] = {
        "request": request,
        "subscription": subscription,
        "deliveries": {delivery.event_id: delivery for delivery in deliveries},
    }
    # All pages start at the same time.
    url = replace_query_param(request.build_absolute_uri(), "since", since.isoformat())
    return Response(
        {
            "next": replace_query_param(url, "cursor", cursor) if cursor else None,
            "results": MissedSerializer(page, many=True, context=context).data,
        }
    )


def _since(request: Request) -> Any:
    if "since" not in request.query_params:
        return None
    try:
        return StrictDateTimeField().run_validation(request.query_params["since"])
    except serializers.ValidationError as error:
        raise ParameterError({"since": error.detail}) from None


def _cursor(request: Request) -> str:
    cursor: str = request.query_params.get("cursor", "")
    if "cursor" in request.query_params and not re.fullmatch("evt_[0-9A-Z]{26}", cursor):
        text = "This is not a valid cursor. Start again without one."
        raise ParameterError({"cursor": [text]}, code="cursor")
    return cursor
