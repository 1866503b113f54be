"""Serves the OpenAPI document as JSON or YAML, and two pages that show it. All need a login.

The pages' scripts and styles come from the store's own static files.
"""

from collections.abc import Sequence

from django.conf import settings
from django.urls import URLPattern
from drf_spectacular.renderers import (
    OpenApiJsonRenderer,
    OpenApiJsonRenderer2,
    OpenApiYamlRenderer,
    OpenApiYamlRenderer2,
)
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from orderhooks.api.openapi.generator import document
from orderhooks.api.protocol import drf
from orderhooks.api.resources import ProblemDetailsView

__all__ = ["DocumentView", "RedocView", "SwaggerView"]

SCHEMA = "schema/"


class DocumentView(ProblemDetailsView):
    """The OpenAPI 3.1 document of `patterns`, as JSON, or as YAML if `Accept` names it."""

    permission_classes = [IsAuthenticated]
    renderer_classes = [OpenApiJsonRenderer2, OpenApiJsonRenderer, OpenApiYamlRenderer2, OpenApiYamlRenderer]
    schema = None
    patterns: Sequence[URLPattern] = ()

    def get(self, request: Request) -> Response:
        # The path at which the store has mounted the API.
        return Response(document(self.patterns, server=request.path.removesuffix(SCHEMA).rstrip("/") or "/"))


class _Page(APIView):
    permission_classes = [IsAuthenticated]
    renderer_classes = [TemplateHTMLRenderer]
    content_negotiation_class = drf.ApiContentNegotiation
    versioning_class = None
    schema = None
    # Added to the Content-Security-Policy `default-src 'self'`, because the page's own script needs it.
    allows: str

    def get(self, request: Request) -> Response:
        header = settings.CSRF_HEADER_NAME.removeprefix("HTTP_").replace("_", "-")
        response = Response({"document": f"../{SCHEMA}", "csrf_header": header})
        response["Content-Security-Policy"] = f"default-src 'self'; {self.allows}; frame-ancestors 'none'"
        # It may hold the user's CSRF token.
        response["Cache-Control"] = "private, no-store"
        return response


class SwaggerView(_Page):
    """Swagger UI: shows the document and can send requests."""

    template_name = "orderhooks/api/docs.html"
    # Its style sheet has icons as data URLs.
    allows = "img-src 'self' data:"


class RedocView(_Page):
    """Redoc: shows the document."""

    template_name = "orderhooks/api/redoc.html"
    # It writes inline styles, has icons as data URLs, and searches in a worker that it creates from a blob.
    allows = "style-src 'self' 'unsafe-inline'; img-src 'self' data:; worker-src blob:"
