"""The API's own DRF settings, so that the project's settings for its other views do not change the API.

DEFAULT_AUTHENTICATION_CLASSES and DEFAULT_THROTTLE_CLASSES are the project's. Everything else decides the form of
requests and responses, on which clients and the OpenAPI document rely.
"""

from typing import Any

from rest_framework.metadata import SimpleMetadata
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.settings import APISettings, api_settings

__all__ = ["FORMAT_PARAMETER", "SETTINGS", "ApiContentNegotiation", "ApiMetadata", "ApiRenderer", "has_browsable_api"]

# The query parameter that chooses a format.
FORMAT_PARAMETER = "format"
# DRF's defaults, for what views read from their attribute `settings`: names of views, suffixes, formats.
SETTINGS = APISettings({"URL_FORMAT_OVERRIDE": FORMAT_PARAMETER, "FORMAT_SUFFIX_KWARG": "format"})


class ApiRenderer(JSONRenderer):
    """Compact JSON in UTF-8, without NaN, whatever COMPACT_JSON and UNICODE_JSON are."""

    compact = True
    ensure_ascii = False
    strict = True


class ApiContentNegotiation(DefaultContentNegotiation):
    """Chooses the format by `Accept`, or by `?format=`."""

    settings = SETTINGS  # type: ignore[assignment]


class ApiMetadata(SimpleMetadata):
    """The body of responses to OPTIONS."""


def has_browsable_api() -> bool:
    """Whether the project's DEFAULT_RENDERER_CLASSES include DRF's browsable API. Then this API is browsable too."""
    classes: Any = api_settings.DEFAULT_RENDERER_CLASSES or []
    return any(issubclass(one, BrowsableAPIRenderer) for one in classes)
