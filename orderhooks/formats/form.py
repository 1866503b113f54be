"""The fields of a form (application/x-www-form-urlencoded), for receivers that read no JSON.

Keys lead to a value by names and numbers in brackets, as PHP and Rails read them: `data[order][lines][0][sku]=TEA-1`. A
form has texts alone: null, an empty list and an empty object are an empty text, true and false are those words.
"""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, quote_plus

from django.utils.translation import gettext_lazy as _

from orderhooks.formats.outgoing import Format, OutgoingEvent

__all__ = ["CONTENT_TYPE", "FormFormat", "FormText", "decode_form", "readable_form"]

CONTENT_TYPE = "application/x-www-form-urlencoded"
# In a name of an order's own data, brackets would look like further names.
LEADING_DIGIT = re.compile(r"^%3([0-9])")
ESCAPES = (("%", "%25"), ("[", "%5B"), ("]", "%5D"))


class FormText(str):
    """A text that came in a form, where it may stand for a number, a truth value or nothing."""

    __slots__ = ()


class FormFormat(Format):
    """The envelope as the fields of a form."""

    label = _("Form: application/x-www-form-urlencoded")
    content_type = CONTENT_TYPE

    def encode(self, event: OutgoingEvent) -> bytes:
        return "&".join(_fields(event.envelope, "")).encode()


def _fields(value: Any, key: str) -> Iterator[str]:
    """`key=value` of each field, encoded. `key` is encoded too: to quote it anew for each field would take longer."""
    members: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, list | tuple):
        members = list(enumerate(value))
    if members:
        for name, member in members:
            segment = quote_plus(_escaped(name) if isinstance(value, dict) else str(name))
            yield from _fields(member, f"{key}%5B{segment}%5D" if key else segment)
    else:
        yield f"{key}={quote_plus(_text(value))}"


def _escaped(name: object) -> str:
    text = str(name)
    for character, escape in ESCAPES:
        text = text.replace(character, escape)
    # Bare numbers are places in a list.
    return f"%3{text[0]}{text[1:]}" if text.isascii() and text.isdigit() else text


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    # An empty list or object, or null.
    return "" if value is None or value in ([], (), {}) else json.dumps(value)


def decode_form(body: bytes) -> dict[str, Any]:
    """The fields of such a form, nested again; every value is a FormText. Raises ValueError if it is another form."""
    if not body:
        raise ValueError("the form is empty")
    root: dict[str, Any] = {}
    for key, text in parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True, errors="strict"):
        path = _path(key)
        inner = root
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
            if not isinstance(inner, dict):
                raise ValueError("a field is a text and has fields")
        if path[-1] in inner:
            raise ValueError("a field is given twice")
        inner[path[-1]] = FormText(text)
    return {_unescaped(name): _with_lists(value) for name, value in root.items()}


def _path(key: str) -> list[str]:
    first, bracket, rest = key.partition("[")
    if bracket and not rest.endswith("]"):
        raise ValueError("a key does not end in a bracket")
    return [first, *(rest[:-1].split("][") if bracket else [])]


def _unescaped(name: str) -> str:
    name = LEADING_DIGIT.sub(r"\1", name)
    for character, escape in reversed(ESCAPES):
        name = name.replace(escape, character)
    return name


def _with_lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    members = [_with_lists(member) for member in value.values()]
    if list(value) == [str(number) for number in range(len(value))]:
        return members
    return dict(zip(map(_unescaped, value), members, strict=True))


def readable_form(body: str) -> str:
    """A form's fields for people: one in a line, without percent signs. A body that is not a form as it is."""
    try:
        return "\n".join(
            f"{key} = {text}" for key, text in parse_qsl(body, keep_blank_values=True, strict_parsing=True)
        )
    except ValueError:
        return body
