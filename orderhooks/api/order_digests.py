"""Digests of orders in the API: with them a receiver finds out what it lacks, without reading every order."""

from django.db import OperationalError
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from orderhooks import digests, logs, permissions, sources
from orderhooks.api import access
from orderhooks.api.filters import require_known
from orderhooks.api.openapi import parameters
from orderhooks.api.openapi.descriptions import ApiResponse, Envelope, describe
from orderhooks.api.protocol.pagination import page_size_of
from orderhooks.api.protocol.query_parameters import sequence_parameter
from orderhooks.api.resources import ApiViewSet
from orderhooks.db import DatabaseClock
from orderhooks.db.transient_errors import is_transient
from orderhooks.models import OrderDigest

logger = logs.get_logger(__name__)

# A request brings the digests up to date for no longer than this; the next one goes on.
CATCH_UP_SECONDS = 2.0


class OrderDigestSerializer(serializers.ModelSerializer[OrderDigest]):
    """What was last published of an order."""

    id = serializers.CharField(source="order_id", help_text="`id` of the order, as text. Blank if it has none.")
    number = serializers.CharField(source="order_number")
    digest = serializers.SerializerMethodField()
    field_schemas = {
        "digest": {
            "type": ["string", "null"],
            "description": "SHA-256, as 64 hexadecimal digits, of the order's canonical JSON (RFC 8785), without the "
            "keys in `not_in_digest`. Null: the order was deleted.",
        }
    }

    class Meta:
        model = OrderDigest
        fields = ["source", "id", "number", "store", "sequence", "digest"]
        read_only_fields = fields

    def get_digest(self, row: OrderDigest) -> str | None:
        return row.digest or None


DIGESTS = Envelope(
    OrderDigestSerializer,
    {
        "next": {"type": ["string", "null"], "description": "The URL of the next page; null if this is the last."},
        "after": {"type": "integer", "description": "The last sequence of this page: `after` of the next request."},
        "not_in_digest": {
            "type": "object",
            "description": "For each order source, the keys of an order that its digest leaves out.",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
    },
    "OrderDigests",
)


class OrderDigestViewSet(ApiViewSet):
    """Digests of the orders of the stores that the user may subscribe to."""

    queryset = OrderDigest.objects.none()
    required_permissions = {"list": [permissions.VIEW_EVENT, permissions.VIEW_PAYLOAD]}

    @describe(
        "listOrderDigests",
        "List the digests of orders",
        {200: ApiResponse("A page of digests, by the sequence of each order's newest event.", DIGESTS)},
        description="One for each order with an event, also for one that was deleted in the last days of retention. An "
        "order that changes moves to the end, so that `after` of the last page reads only what is new. The list is ten "
        "seconds behind.",
        parameters=[
            parameters.after(
                "`after` of another page. The default is 0, which starts with the order that has not changed longest."
            ),
            parameters.page_size(),
        ],
    )
    def list(self, request: Request) -> Response:
        """A page of digests, by the sequence of each order's newest event."""
        require_known(request, ["after", "page_size"])
        after = sequence_parameter(request, "Send `after` of another page, or 0 to start with the first one.")
        size = page_size_of(request)
        try:
            digests.catch_up(now=DatabaseClock().now(), seconds=CATCH_UP_SECONDS)
        except OperationalError as error:
            if not is_transient(error):
                raise
            logger.info("the digests are shown as they are: another process keeps them locked")
        rows = list(access.digests_of(request.user).filter(sequence__gt=after).order_by("sequence")[: size + 1])
        page = rows[:size]
        last = page[-1].sequence if page else after
        url = replace_query_param(request.build_absolute_uri(), "after", str(last))
        return Response(
            {
                "next": url if len(rows) > size else None,
                "after": last,
                "not_in_digest": {name: list(one.not_in_digest) for name, one in sources.configured().items()},
                "results": OrderDigestSerializer(page, many=True).data,
            }
        )
