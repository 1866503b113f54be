"""The root of the API: where its resources are."""

from contextlib import suppress
from typing import Any

from django.urls import NoReverseMatch
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from orderhooks.api.resources import Problems

__all__ = ["Root"]


class Root(Problems):
    """The addresses of the API's resources, and of its document. Open to everybody: it tells nothing of the store."""

    permission_classes = []
    # The names of the routes of lists, by the resource.
    lists: dict[str, str] = {}

    def get_view_name(self) -> str:
        return "orderhooks"

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        namespace = request.resolver_match.namespace if request.resolver_match else "orderhooks"
        found = {
            name: reverse(f"{namespace}:{route}", request=request, kwargs=kwargs) for name, route in self.lists.items()
        }
        # Without the extra `openapi` there is none.
        with suppress(NoReverseMatch):
            found["schema"] = reverse(f"{namespace}:schema", request=request, kwargs=kwargs)
        return Response(found)
