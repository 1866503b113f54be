"""What is served of the document: itself, as JSON or YAML, and the two pages that show it. To who is logged in.

The pages' scripts and styles come from the store's own static files.
"""

from django.conf import settings
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

from orderhooks.api.openapi.document import document
from orderhooks.api.protocol import drf
from orderhooks.api.resources import ProblemDetailsView

__all__ = ["DocumentView", "RedocView", "SwaggerView"]

SCHEMA = "schema/"


class DocumentView(ProblemDetailsView):
    """The OpenAPI 3.1 document: JSON, or YAML if `Accept` asks for it."""

    permission_classes = [IsAuthenticated]
    renderer_classes = [OpenApiJsonRenderer2, OpenApiJsonRenderer, OpenApiYamlRenderer2, OpenApiYamlRenderer]
    schema = None

    def get(self, request: Request) -> Response:
        # Wherever the store has mounted it.
        return Response(document(server=request.path.removesuffix(SCHEMA).rstrip("/") or "/"))


class _Page(APIView):
    permission_classes = [IsAuthenticated]
    renderer_classes = [TemplateHTMLRenderer]
    content_negotiation_class = drf.ApiContentNegotiation
    versioning_class = None
    schema = None
    # Beside `default-src 'self'`: what the page's own script can't do without.
    allows: str

    def get(self, request: Request) -> Response:
        header = settings.CSRF_HEADER_NAME.removeprefix("HTTP_").replace("_", "-")
        response = Response({"document": f"../{SCHEMA}", "csrf_header": header})
        response["Content-Security-Policy"] = f"default-src 'self'; {self.allows}; frame-ancestors 'none'"
        return response


class SwaggerView(_Page):
    """Swagger UI, from which requests can be sent."""

    template_name = "orderhooks/api/docs.html"
    # Icons in its style sheet.
    allows = "img-src 'self' data:"


class RedocView(_Page):
    """Redoc, to be read."""

    template_name = "orderhooks/api/redoc.html"
    # It writes its style sheet as it runs, draws icons as data, and searches in a worker that it makes of a blob.
    allows = "style-src 'self' 'unsafe-inline'; img-src 'self' data:; worker-src blob:"
