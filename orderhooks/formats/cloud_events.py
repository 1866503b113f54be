"""CloudEvents 1.0 in JSON over HTTP: the whole event in the body (structured mode), or attributes as headers (binary).

Sources: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md, formats/json-format.md,
bindings/http-protocol-binding.md and extensions/sequence.md in the same folder.
"""

import unicodedata
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from django.utils.translation import gettext_lazy as _

from orderhooks import payloads
from orderhooks.formats.outgoing import Format, OutgoingEvent

__all__ = ["BINARY_PREFIX", "CONTENT_TYPE", "BinaryCloudEvents", "StructuredCloudEvents", "envelope_of", "from_headers"]

CONTENT_TYPE = "application/cloudevents+json"
BINARY_PREFIX = "ce-"
# In the sequence extension texts are compared. As many digits as the largest sequence has.
SEQUENCE_DIGITS = 19
# Printable ASCII except the space, the double quote and the percent sign (HTTP binding, 3.1.3.2).
SAFE = "".join(map(chr, range(0x21, 0x7F))).replace('"', "").replace("%", "")
# The last part of `source` for an event of no order source: a test of an endpoint.
NO_SOURCE = "orderhooks"

ATTRIBUTES = "specversion id source type subject time sequence apiversion ordersource store".split()


def attributes(event: OutgoingEvent) -> dict[str, str]:
    """The context attributes. Optional ones without a value are left out, because none may be empty."""
    envelope = event.envelope
    found = {
        "specversion": "1.0",
        "id": envelope["id"],
        # A URI reference. Together with the id it is unique, because the id is.
        "source": f"{event.base_url}/{quote(envelope['source'] or NO_SOURCE, safe='')}",
        "type": envelope["type"],
        "subject": _text(event.order_number),
        "time": envelope["timestamp"],
        "datacontenttype": "application/json",
        "sequence": str(envelope["sequence"]).zfill(SEQUENCE_DIGITS),
        "apiversion": envelope["api_version"],
        "ordersource": _text(envelope["source"]),
        "store": _text(envelope["store"]),
    }
    return {name: value for name, value in found.items() if value}


def _text(value: str) -> str:
    """The text without characters that an attribute must not have: controls, surrogates and noncharacters."""
    return "".join(character for character in value if not _is_forbidden(character))


def _is_forbidden(character: str) -> bool:
    number = ord(character)
    is_noncharacter = 0xFDD0 <= number <= 0xFDEF or number & 0xFFFE == 0xFFFE
    return is_noncharacter or unicodedata.category(character) in ("Cc", "Cs")


class StructuredCloudEvents(Format):
    """Attributes and data in one JSON document."""

    label = _("CloudEvents 1.0, structured")
    content_type = CONTENT_TYPE
    asks_consent = True

    def encode(self, event: OutgoingEvent) -> bytes:
        return payloads.encode({**attributes(event), "data": event.envelope["data"]})


class BinaryCloudEvents(Format):
    """Attributes as headers, and the data as the body."""

    label = _("CloudEvents 1.0, binary")
    asks_consent = True
    header_names = frozenset(f"{BINARY_PREFIX}{name}" for name in (*ATTRIBUTES, "datacontenttype"))

    def encode(self, event: OutgoingEvent) -> bytes:
        return payloads.encode(event.envelope["data"])

    def headers(self, event: OutgoingEvent) -> Mapping[str, str]:
        return {
            f"{BINARY_PREFIX}{name}": quote(value, safe=SAFE)
            for name, value in attributes(event).items()
            # It is the content type.
            if name != "datacontenttype"
        }


def from_headers(headers: Mapping[str, str], data: Any) -> dict[str, Any]:
    """The attributes in a request's headers (names in lower case) and its data. Raises ValueError for invalid UTF-8."""
    found = {
        name.removeprefix(BINARY_PREFIX): unquote(value, errors="strict")
        for name, value in headers.items()
        if name.startswith(BINARY_PREFIX)
    }
    return {**found, "data": data}


def envelope_of(event: Mapping[str, Any]) -> dict[str, Any]:
    """The envelope of a CloudEvent that one of these formats made. Raises LookupError, TypeError or ValueError."""
    if event["specversion"] != "1.0":
        raise ValueError("not a CloudEvent of version 1.0")
    return {
        "id": event["id"],
        "type": event["type"],
        "timestamp": event["time"],
        "api_version": event["apiversion"],
        "sequence": int(event["sequence"]),
        "source": event.get("ordersource", ""),
        "store": event.get("store", ""),
        "data": event["data"],
    }
