"""Redaction: what must not be stored of an exchange, also where a receiver echoes it.

Called before anything is cut to length, so that no half of a secret is left at the cut.
"""

import base64
import binascii
import functools
import html
import json
import re
from collections.abc import Collection, Iterator
from urllib.parse import quote, quote_plus

from orderhooks.transport.text import safe_text

REDACTED = "(redacted)"
# Shorter texts stand in every other answer and guard nothing.
SHORTEST = 4
SHORTEST_WORD = 8
# Headers whose values are credentials, whoever sends them.
CREDENTIALS = re.compile(r"(proxy-)?authorization|(set-)?cookie2?|.*signature.*|x-shopify-hmac-sha256", re.IGNORECASE)


@functools.lru_cache(maxsize=256)
def is_credential(header: str) -> bool:
    """Whether the values of headers of this name are never stored."""
    return CREDENTIALS.fullmatch(header) is not None


class Redactor:
    """Takes the given texts out of others, in the spellings in which a receiver would echo them."""

    def __init__(self, texts: Collection[str]) -> None:
        parts = {part for text in texts for part in _parts(text)}
        # Longest first, so that no word of a longer text is taken out before it. With each, what no spelling alters.
        self._parts = [(part, _core(part)) for part in sorted(parts, key=len, reverse=True)]

    def __call__(self, text: str, *, cut: bool = False) -> str:
        """The text without them. `cut`: it may end in the middle of one."""
        for part, core in self._parts:
            if core in text:
                for form in _forms(part):
                    text = text.replace(form, REDACTED)
        return self._without_beginning(text) if cut else text

    def _without_beginning(self, text: str) -> str:
        for part, _core in self._parts:
            for form in _forms(part):
                for length in range(min(len(form) - 1, len(text)), SHORTEST - 1, -1):
                    if text.endswith(form[:length]):
                        return text[:-length] + REDACTED
        return text


def _core(text: str) -> str:
    return max(re.findall("[A-Za-z0-9]+", text), key=len, default="")


def _forms(text: str) -> list[str]:
    forms = {
        text,
        safe_text(text.encode("latin-1", "replace")),  # echoed as the bytes that were sent
        json.dumps(text)[1:-1],
        json.dumps(text)[1:-1].replace("/", "\\/"),
        html.escape(text),
        quote(text, safe=""),
        quote_plus(text),
    }
    return sorted(forms, key=len, reverse=True)


def _parts(text: str) -> Iterator[str]:
    """The text, its longer words (`Bearer …`, signatures side by side), and the password that Basic only encodes."""
    words = re.split(r"[\s,;=]+", text)
    yield from (part for part in (text,) if len(part) >= SHORTEST)
    yield from (word for word in words if len(word) >= SHORTEST_WORD)
    scheme, _space, credentials = text.partition(" ")
    if scheme.lower() == "basic":
        try:
            login = base64.b64decode(credentials).decode()
        except (binascii.Error, ValueError):
            return
        yield from (part for part in (login, login.partition(":")[2]) if len(part) >= SHORTEST)
