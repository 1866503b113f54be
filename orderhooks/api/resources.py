"""The views that the API's views derive from: errors, permissions, rate limits, rows by public id."""

import re
from collections.abc import Collection, Mapping
from typing import Any, Generic, TypeVar

from django.db import transaction
from django.db.models import Model
from rest_framework import viewsets
from rest_framework.exceptions import NotFound
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import BrowsableAPIRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from orderhooks.api.access import ActionPermission, rights_of
from orderhooks.api.filters import StrictFilterBackend
from orderhooks.api.members import require_no_members
from orderhooks.api.openapi.descriptions import Operation
from orderhooks.api.protocol import drf, idempotency, problems
from orderhooks.api.protocol.pagination import KeysetPagination
from orderhooks.api.protocol.parsers import StrictJSONParser
from orderhooks.api.protocol.storable_text import require_storable_url
from orderhooks.api.protocol.throttling import ActionThrottle

__all__ = ["ApiViewSet", "NotFoundView", "ProblemDetailsView", "ResourceViewSet"]

Row = TypeVar("Row", bound=Model)


class ProblemDetailsView(APIView):
    """For every view of the API: errors are problem details, and formats do not depend on the project's DRF settings.

    Only authentication and throttling are the project's.
    """

    settings = drf.SETTINGS
    renderer_classes = [drf.ApiRenderer, BrowsableAPIRenderer]
    parser_classes = [StrictJSONParser]
    content_negotiation_class = drf.ApiContentNegotiation
    metadata_class = drf.ApiMetadata
    versioning_class = None
    permission_classes = [IsAuthenticated]

    def get_renderers(self) -> list[Any]:
        browsable = drf.has_browsable_api()
        return [one() for one in self.renderer_classes if browsable or not issubclass(one, BrowsableAPIRenderer)]

    def get_exception_handler(self) -> Any:
        return problems.exception_response

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if response.status_code >= 400 and response.accepted_renderer.format == "json":
            response.content_type = problems.MEDIA_TYPE
        # Personal data and secrets. An order may be kept by a client that sends its ETag each time.
        response.setdefault("Cache-Control", "private, no-cache" if "ETag" in response else "private, no-store")
        return response


class NotFoundView(ProblemDetailsView):
    """Responds 404 as problem details, where Django would respond with an HTML page."""

    permission_classes = []

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFound("Not found.")


class ApiViewSet(ProblemDetailsView, viewsets.ViewSet):
    """A viewset of the API: problem details, permissions by action, rate limits, `Idempotency-Key`."""

    permission_classes = [ActionPermission]
    # Permissions by action. Other actions require Django's model permission of the method, such as `add` for POST.
    required_permissions: Mapping[str, Collection[str]] = {}
    # Keys of the setting API_RATES by action. Other actions have no rate limit of their own.
    throttle_scopes: Mapping[str, str] = {}
    # Descriptions of actions that the viewset inherits. Its own actions have the decorator `describe`.
    inherited_operations: Mapping[str, Operation] = {}
    # Actions whose request body must be empty.
    actions_without_body: Collection[str] = ()
    # Whether a POST may carry an `Idempotency-Key`, which belongs to a user.
    takes_idempotency_keys = True
    # Actions that wait for the network, which must not happen inside a transaction.
    actions_outside_transactions: Collection[str] = ()

    @classmethod
    def is_offered(cls) -> bool:
        """Whether this project has the resource. Without it all its URLs are a 404, and no document names them."""
        return True

    @classmethod
    def as_view(cls, actions: Any = None, **options: Any) -> Any:
        view = super().as_view(actions, **options)
        is_outside = set(cls.actions_outside_transactions) & set((actions or {}).values())
        # The setting ATOMIC_REQUESTS would open a transaction for each request.
        return transaction.non_atomic_requests(view) if is_outside else view

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if not self.is_offered():
            raise NotFound("Not found.")
        super().initial(request, *args, **kwargs)
        require_storable_url(request, kwargs)
        if self.takes_idempotency_keys and request.method == "POST" and idempotency.HEADER in request.headers:
            # Wraps what `dispatch` calls next, after authentication and permissions have passed.
            in_transaction = self.action not in self.actions_outside_transactions
            handler = getattr(self, self.action)
            rights = rights_of(request.user)
            once = idempotency.run_once(handler, request, rights=rights, in_transaction=in_transaction)
            setattr(self, "post", once)  # noqa: B010
        if self.action in self.actions_without_body:
            require_no_members(request.data)

    def get_throttles(self) -> list[BaseThrottle]:
        throttles = super().get_throttles()
        if self.action in self.throttle_scopes:
            throttles.append(ActionThrottle(self.throttle_scopes[self.action]))
        return throttles


class ResourceViewSet(ApiViewSet, viewsets.GenericViewSet[Row], Generic[Row]):
    """A viewset of rows that have public ids, with pages and filters."""

    # What the rows' public ids begin with, such as "ord_".
    public_id_prefix: str
    # The field that `?ordering=` names. Rows are in the order of their primary keys.
    ordered_by = "created_at"
    pagination_class = KeysetPagination
    filter_backends = [StrictFilterBackend]
    lookup_field = "public_id"

    def get_object(self) -> Row:
        """The row with the id in the URL.

        Raises NotFound, in the same words whether the row does not exist or the user may not see it.
        """
        public_id = self.kwargs["public_id"]
        row = None
        if re.fullmatch(self.public_id_prefix + "[0-9A-Z]{26}", public_id):
            row = self.get_queryset().filter(public_id=public_id).first()
        if row is None:
            raise NotFound("Not found.")
        self.check_object_permissions(self.request, row)
        return row

    def list_response(self, rows: Any, serializer: Any) -> Response:
        """A page of rows of another model, such as the attempts of a delivery."""
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(serializer(page, many=True, context=self.get_serializer_context()).data)
