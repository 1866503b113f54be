"""Bodies, payloads and changes as JSON: laid out to be read, and beside it exactly as they were, to be copied."""

import json

from django.template.loader import render_to_string
from django.utils.functional import Promise
from django.utils.safestring import SafeString

__all__ = ["draw", "laid_out"]

# Indented, a body of a few kilobytes that nests deeply would fill the page: beyond this it is shown as it is.
MOST_TIMES_LONGER = 10
MOST_MORE = 10_000
_ENCODER = json.JSONEncoder(indent=2, ensure_ascii=False)


def laid_out(text: str) -> str:
    """JSON with an indented line for each member. Other texts, and JSON that indenting would bloat, as they are."""
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


def draw(body: str, *, label: str | Promise) -> SafeString:
    """The body to be read, and a read-only field to copy it from, which needs no script. `label` names the field."""
    context = {"laid_out": laid_out(body), "body": body, "label": label}
    return SafeString(render_to_string("admin/orderhooks/body.html", context))
