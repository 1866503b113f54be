"""The addresses of the document and its pages; none without the extra `openapi`."""

from importlib.util import find_spec

from django.apps import apps
from django.urls import URLPattern, path

__all__ = ["found"]


def found() -> list[URLPattern]:
    """`schema/`, if drf-spectacular is installed; `docs/` and `redoc/` if the store serves their scripts."""
    if find_spec("drf_spectacular") is None:
        return []
    from orderhooks.api.openapi import pages

    addresses = [path("schema/", pages.DocumentView.as_view(), name="schema")]
    if apps.is_installed("drf_spectacular_sidecar"):
        addresses += [
            path("docs/", pages.SwaggerView.as_view(), name="docs"),
            path("redoc/", pages.RedocView.as_view(), name="redoc"),
        ]
    return addresses
