"""Text from receivers, made safe for databases, terminals, logs and pages."""

import re

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# What changes the direction of the text that follows. Source: Unicode Standard Annex 9, 2.
BIDI_CONTROLS = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
# Control characters except tab and newline (terminal escapes begin with one), marks that change the direction of text,
# and lone surrogates.
HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# After these, a blank ends a link: a full stop before a letter, in each form that domains take, the @ of an address,
# and the colon of a scheme.
MAIL_LINKS = re.compile(r"(?<=\S)[.\u3002\uff0e\uff61](?=[^\W\d_])|@(?=\S)|(?<=[^\W\d_]):(?=\S)")


def safe_text(value: bytes | str) -> str:
    """The text with U+FFFD in place of invalid UTF-8 and of harmful characters. Markup is not escaped."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return HARMFUL.sub(REPLACEMENT, text.replace("\r\n", "\n"))


def header_text(value: str) -> str:
    """A header's value, which http.client decodes as Latin-1, decoded as UTF-8 and made safe."""
    return safe_text(value.encode("latin-1", "replace"))


def without_links(text: str) -> str:
    """The text without what chat programs turn into links. For e-mails: `without_mail_links`."""
    return re.sub(r"://|www\.", " ", text, flags=re.IGNORECASE)


def without_mail_links(text: str) -> str:
    """The text without what mail programs turn into links: also bare domains, addresses, and schemes such as `mailto:`.

    It stays readable: `evil.example/pay` becomes `evil. example/pay`.
    """
    return MAIL_LINKS.sub(r"\g<0> ", without_links(text))
