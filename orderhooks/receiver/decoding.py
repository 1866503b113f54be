"""Decoding: the envelope in a request of any built-in format, by its content type. For `verification`."""

import json
from collections.abc import Mapping
from typing import Any

from orderhooks import formats
from orderhooks.formats import cloud_events

__all__ = ["decode"]


def decode(body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """The envelope as a dict. `headers`: names in lower case.

    Of a CloudEvent in binary mode only the id and the data are signed; the rest comes from headers that are not.

    Raises LookupError, RecursionError, TypeError or ValueError if it is none.
    """
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == formats.FORM:
        form = formats.decode_form(body)
        return {**form, "sequence": int(form["sequence"])}
    content = json.loads(body)
    if content_type == cloud_events.CONTENT_TYPE:
        return cloud_events.envelope_of(content)
    if f"{cloud_events.BINARY_PREFIX}specversion" in headers:
        return cloud_events.envelope_of(cloud_events.from_headers(headers, content))
    if not isinstance(content, dict):
        raise TypeError("not an object")
    return content
