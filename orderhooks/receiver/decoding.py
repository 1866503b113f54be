"""Decoding: the envelope in a request of any built-in format, by its content type. For `verification`."""

import json
from collections.abc import Mapping
from typing import Any

from orderhooks import formats
from orderhooks.formats import cloud_events

__all__ = ["UnsignedHeadersError", "decode"]


class UnsignedHeadersError(Exception):
    """It is a CloudEvent in binary mode, whose headers are not signed, and nobody has asked for one."""


def decode(body: bytes, headers: Mapping[str, str], *, webhook_id: str, binary_mode: bool) -> dict[str, Any]:
    """The envelope as a dict. `headers`: names in lower case.

    Of a CloudEvent in binary mode only the id and the data are signed; the rest comes from headers that are not. So it
    is read with `binary_mode` alone, and never in place of an envelope that is signed.

    Raises UnsignedHeadersError, or LookupError, RecursionError, TypeError or ValueError if it is no envelope.
    """
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == formats.FORM:
        form = formats.decode_form(body)
        return {**form, "sequence": int(form["sequence"])}
    content = json.loads(body)
    if content_type == cloud_events.CONTENT_TYPE:
        return cloud_events.envelope_of(content)
    if not isinstance(content, dict):
        raise TypeError("not an object")
    if f"{cloud_events.BINARY_PREFIX}specversion" not in headers or _is_envelope(content, webhook_id):
        return content
    if not binary_mode:
        raise UnsignedHeadersError
    event = cloud_events.from_headers(headers, content)
    if event["id"] != webhook_id:
        raise ValueError("the event's id is not the one that is signed")
    return cloud_events.envelope_of(event)


def _is_envelope(content: Mapping[str, Any], webhook_id: str) -> bool:
    """Whether it is the body of another format, standard, thin or structured, and no event's data."""
    return content.get("id") == webhook_id and "type" in content and "data" in content
