"""Text from elsewhere, made harmless: for databases, terminals, logs and pages."""

import re

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Controls but tab and newline (terminal escapes begin with one), lone surrogates, and marks that turn text round.
HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def safe_text(value: bytes | str) -> str:
    """The text with U+FFFD for what is no UTF-8 and for characters that do harm. Markup is left to whoever shows it."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return HARMFUL.sub(REPLACEMENT, text.replace("\r\n", "\n"))


def header_text(value: str) -> str:
    """A header's value as http.client gives it, in Latin-1, read as the UTF-8 that most senders mean."""
    return safe_text(value.encode("latin-1", "replace"))
