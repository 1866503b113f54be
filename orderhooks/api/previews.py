"""Previews in the API: the request that a subscription would get for an order."""

from rest_framework.request import Request
from rest_framework.response import Response

from orderhooks import operations
from orderhooks.api import access
from orderhooks.api.filters import require_known
from orderhooks.api.openapi.descriptions import ApiResponse, object_of
from orderhooks.api.openapi.parameters import TEXT, in_query
from orderhooks.api.protocol.problems import ConflictError, ParameterError
from orderhooks.db import DatabaseClock
from orderhooks.models import Subscription
from orderhooks.previews import PreviewError
from orderhooks.topics import UnknownTopicError

__all__ = ["PARAMETERS", "RESPONSES", "preview_of"]

PARAMETERS = [
    in_query("order", TEXT, "The order's number.", required=True),
    in_query("topic", TEXT, "A topic of the catalogue.", required=True),
]
RESPONSES = {
    200: ApiResponse(
        "The request with a valid signature. The values of the subscription's own headers are hidden.",
        object_of(
            wanted={"type": "boolean", "description": "Whether the subscription would receive the event."},
            reason={"type": "string", "description": "Why not, for programs. Blank if it would."},
            text={"type": "string", "description": "Why not, for people."},
            url={"type": "string"},
            headers={"type": "object", "additionalProperties": {"type": "string"}},
            body={"type": "string"},
        ),
    )
}


def preview_of(request: Request, subscription: Subscription) -> Response:
    """The request for the order `?order=` and the topic `?topic=`. Raises ParameterError or ConflictError."""
    require_known(request, ["order", "topic"])
    given = {name: request.query_params.get(name, "") for name in ("order", "topic")}
    if wrong := [name for name, value in given.items() if not value]:
        raise ParameterError({name: ["Send an order's number and a topic."] for name in wrong})
    stores = access.order_stores_of(request.user)
    try:
        now = DatabaseClock().now()
        shown = operations.preview(subscription, given["order"], topic=given["topic"], now=now, stores=stores)
    except UnknownTopicError as error:
        raise ParameterError({"topic": [str(error)]}, code="topic") from None
    except PreviewError as error:
        raise ConflictError(str(error), code="not_sendable") from None
    body = shown.body.decode(errors="replace")
    why = {"wanted": shown.wanted, "reason": shown.reason, "text": shown.text}
    return Response({**why, "url": shown.url, "headers": dict(shown.headers), "body": body})
