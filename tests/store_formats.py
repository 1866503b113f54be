"""Formats of a store's own, good and bad, for tests of what is made of them."""

from collections.abc import Mapping
from typing import Any

from orderhooks.formats import Format, OutgoingEvent

ERP, BYTES = "tests.store_formats.Erp", "tests.store_formats.Bytes"


class Erp(Format):
    label = "ERP (XML)"
    content_type = "application/xml; charset=utf-8"

    def encode(self, event: OutgoingEvent) -> bytes:
        return f'<order number="{event.order_number}" topic="{event.envelope["type"]}"/>'.encode()

    def headers(self, event: OutgoingEvent) -> Mapping[str, str]:
        return {"x-erp-order": event.order_number}


class Bytes(Format):
    """Not text at all."""

    content_type = "application/octet-stream"

    def encode(self, event: OutgoingEvent) -> bytes:
        return b"\x00\xff\xfe'$(touch here)\n" + event.order_number.encode()


class Raises(Format):
    def encode(self, event: OutgoingEvent) -> bytes:
        raise KeyError("colour")


class Text(Format):
    def encode(self, event: OutgoingEvent) -> Any:
        return "a text"


class BadHeader(Erp):
    def headers(self, event: OutgoingEvent) -> Mapping[str, str]:
        return {"webhook-id": "forged"}


class BreaksLines(Erp):
    def headers(self, event: OutgoingEvent) -> Mapping[str, str]:
        return {"x-erp": "one\r\ntwo: 2"}


class NeedsArgument(Erp):
    def __init__(self, colour: str) -> None:
        self.colour = colour


class BadType(Erp):
    content_type = "xml"


class NoEncode(Format):
    pass
