"""Bodies, payloads and changes, in JSON or as a form: laid out to be read, and as they were, to be copied."""

import json

from django.template.loader import render_to_string
from django.utils.functional import Promise
from django.utils.safestring import SafeString

from orderhooks import formats

__all__ = ["draw", "laid_out"]

# Indented, a body of a few kilobytes that nests deeply would fill the page: beyond this it is shown as it is.
MOST_TIMES_LONGER = 10
MOST_MORE = 10_000
_ENCODER = json.JSONEncoder(indent=2, ensure_ascii=False)


def laid_out(text: str, *, content_type: str = "") -> str:
    """JSON with an indented line for each member, and a form with a line for each field.

    Other texts, and JSON that indenting would bloat, as they are.
    """
    if content_type.partition(";")[0].strip().lower() == formats.FORM:
        return formats.readable_form(text)
    most = MOST_TIMES_LONGER * len(text) + MOST_MORE
    parts, length = [], 0
    try:
        for part in _ENCODER.iterencode(json.loads(text)):
            length += len(part)
            if length > most:
                return text
            parts.append(part)
        indented = "".join(parts)
        # A lone surrogate, written as "\ud800", cannot be sent to a browser.
        indented.encode()
    except (ValueError, RecursionError):
        return text
    return indented


def draw(body: str, *, label: str | Promise, content_type: str = "") -> SafeString:
    """The body to be read, and a read-only field to copy it from, which needs no script. `label` names the field."""
    context = {"laid_out": laid_out(body, content_type=content_type), "body": body, "label": label}
    return SafeString(render_to_string("admin/orderhooks/body.html", context))
