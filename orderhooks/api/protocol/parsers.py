"""Parses JSON request bodies. Every invalid body is a 400."""

from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from orderhooks.api.protocol.storable_text import require_storable


class StrictJSONParser(JSONParser):
    """Refuses NaN and Infinity, bodies nested too deeply, and text that no database can store."""

    strict = True

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        try:
            data = super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise ParseError("The JSON is nested too deeply to be parsed. Send fewer levels.") from None
        require_storable(data)
        return data
