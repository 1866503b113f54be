"""The URLs of the OpenAPI document and its views. There are none without the extra `openapi`."""

from collections.abc import Sequence
from importlib.util import find_spec

from django.apps import apps
from django.urls import URLPattern, path

__all__ = ["schema_urls"]


def schema_urls(documented: Sequence[URLPattern]) -> list[URLPattern]:
    """The document of these URLs at `schema/` if drf-spectacular is installed; also `docs/` and `redoc/` if the store
    serves their scripts, with the app `drf_spectacular_sidecar`.
    """
    if find_spec("drf_spectacular") is None:
        return []
    from orderhooks.api.openapi import views

    urls = [path("schema/", views.DocumentView.as_view(patterns=documented), name="schema")]
    if apps.is_installed("drf_spectacular_sidecar"):
        urls += [
            path("docs/", views.SwaggerView.as_view(), name="docs"),
            path("redoc/", views.RedocView.as_view(), name="redoc"),
        ]
    return urls
