"""What all resources are: viewsets that speak the protocol, know their rows by public id and keep access."""

import re
from collections.abc import Collection, Mapping
from typing import Any, Generic, TypeVar

from django.db import transaction
from django.db.models import Model
from rest_framework import viewsets
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from orderhooks.api.access import Permitted
from orderhooks.api.filters import StrictFilters
from orderhooks.api.members import require_no_members
from orderhooks.api.protocol import idempotency, problems
from orderhooks.api.protocol.pagination import Pages
from orderhooks.api.protocol.parsers import StrictJSONParser
from orderhooks.api.protocol.rates import Rate
from orderhooks.api.protocol.texts import require_storable_address

__all__ = ["Nowhere", "Problems", "Protocol", "Resource"]

Row = TypeVar("Row", bound=Model)


class Problems(APIView):
    """Answers errors as problem details, whatever the format."""

    def get_exception_handler(self) -> Any:
        return problems.answer

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if response.status_code >= 400 and response.accepted_renderer.format == "json":
            response.content_type = problems.MEDIA_TYPE
        return response


class Nowhere(Problems):
    """An address among the API's own that leads nowhere: a problem, where Django would answer with a page."""

    permission_classes = []

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFound("There is nothing at this address.")


class Protocol(Problems, viewsets.ViewSet):
    """Problem details, rates and repeated requests, for every viewset of the API."""

    permission_classes = [Permitted]
    parser_classes = [StrictJSONParser]
    # The permissions that an action needs; those of its method on the view's model, if it is not among them.
    needs: Mapping[str, Collection[str]] = {}
    # The rate of API_RATES that an action falls under.
    rates: Mapping[str, str] = {}
    # Actions that take no body.
    without_body: Collection[str] = ()
    # Actions that wait for somebody else's answer, which no transaction may.
    outside_transactions: Collection[str] = ()

    @classmethod
    def as_view(cls, actions: Any = None, **options: Any) -> Any:
        view = super().as_view(actions, **options)
        waits = set(cls.outside_transactions) & set((actions or {}).values())
        # Also where the setting ATOMIC_REQUESTS puts every request into one.
        return transaction.non_atomic_requests(view) if waits else view

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        require_storable_address(request, kwargs)
        if request.method == "POST" and idempotency.HEADER in request.headers:
            # What `dispatch` is about to call, now that the user is known and allowed to.
            in_transaction = self.action not in self.outside_transactions
            handler = getattr(self, self.action)
            setattr(self, "post", idempotency.answered_once(handler, request, in_transaction=in_transaction))  # noqa: B010
        if self.action in self.without_body:
            require_no_members(request.data)

    def get_throttles(self) -> list[BaseThrottle]:
        throttles = super().get_throttles()
        return [*throttles, Rate(self.rates[self.action])] if self.action in self.rates else throttles


class Resource(Protocol, viewsets.GenericViewSet[Row], Generic[Row]):
    """Rows with public ids that begin with `ids`, in pages."""

    ids: str
    ordered_by = "created_at"
    pagination_class = Pages
    filter_backends = [StrictFilters]
    lookup_field = "public_id"

    def get_object(self) -> Row:
        """The row of the address. One that there is not and one of somebody else's are the same 404."""
        public_id = self.kwargs["public_id"]
        row = None
        if re.fullmatch(self.ids + "[0-9A-Z]{26}", public_id):
            row = self.get_queryset().filter(public_id=public_id).first()
        if row is None:
            raise NotFound("There is nothing of this id that you may see.")
        self.check_object_permissions(self.request, row)
        return row

    def answer_list(self, rows: Any, serializer: Any) -> Response:
        """A page of rows that are not the resource's own."""
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(serializer(page, many=True, context=self.get_serializer_context()).data)
