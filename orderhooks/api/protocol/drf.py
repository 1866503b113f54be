"""What the API needs of DRF's settings, whatever a project has set for views of its own.

Authentication and throttles are the project's: DEFAULT_AUTHENTICATION_CLASSES and DEFAULT_THROTTLE_CLASSES hold here
too. Everything else decides what requests and answers look like, which clients and the OpenAPI document rely on.
"""

from typing import Any

from rest_framework.metadata import SimpleMetadata
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.settings import APISettings, api_settings

__all__ = ["FORMAT", "SETTINGS", "Json", "Metadata", "Negotiation", "pages_for_browsers"]

# The query parameter that chooses a format.
FORMAT = "format"
# DRF's own defaults, for what views read from their `settings` (names of views, suffixes, formats).
SETTINGS = APISettings({"URL_FORMAT_OVERRIDE": FORMAT, "FORMAT_SUFFIX_KWARG": "format"})


class Json(JSONRenderer):
    """JSON as it has always been: compact, UTF-8, without NaN."""

    compact = True
    ensure_ascii = False
    strict = True


class Negotiation(DefaultContentNegotiation):
    """By `Accept`, or by `?format=`."""

    settings = SETTINGS  # type: ignore[assignment]


class Metadata(SimpleMetadata):
    """What OPTIONS answers."""


def pages_for_browsers() -> bool:
    """Whether the project has DRF's pages for browsers anywhere: then the API has them too."""
    classes: Any = api_settings.DEFAULT_RENDERER_CLASSES or []
    return any(issubclass(one, BrowsableAPIRenderer) for one in classes)
