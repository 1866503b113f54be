"""JSON request bodies, and a 400 for every body that is none."""

from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from orderhooks.api.protocol.texts import require_storable


class StrictJSONParser(JSONParser):
    strict = True

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        try:
            data = super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise ParseError("The JSON is nested too deeply to be read. Send a flatter one.") from None
        require_storable(data)
        return data
