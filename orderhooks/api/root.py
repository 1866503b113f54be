"""The root of the API: the URLs of its resources."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from django.urls import NoReverseMatch
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from orderhooks.api.resources import ApiViewSet, ProblemDetailsView

__all__ = ["RootView"]


class RootView(ProblemDetailsView):
    """The URLs of the project's resources and of the OpenAPI document. Open to everybody: it shows no data."""

    permission_classes = []
    # Names of list routes by resource, such as {"orders": "order-list"}, and their views.
    lists: Mapping[str, tuple[str, type[ApiViewSet]]] = {}

    def get_view_name(self) -> str:
        return "orderhooks"

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        namespace = request.resolver_match.namespace if request.resolver_match else "orderhooks"
        found = {
            name: reverse(f"{namespace}:{route}", request=request, kwargs=kwargs)
            for name, (route, view) in self.lists.items()
            if view.is_offered()
        }
        # The route exists only with the extra `openapi`.
        with suppress(NoReverseMatch):
            found["schema"] = reverse(f"{namespace}:schema", request=request, kwargs=kwargs)
        return Response(found)
