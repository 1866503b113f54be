"""Headers: which may be sent. Checked when a subscription's own headers are saved, and again for each request.

Source: RFC 9110, 5.1 and 5.5 (field names and values).
"""

import re
from collections.abc import Collection, Mapping

MOST = 20
LONGEST_NAME = 100
LONGEST_VALUE = 4096
NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
# Headers that frame the request or belong to its format, the signature headers of all profiles included.
RESERVED = frozenset(
    "accept-encoding connection content-encoding content-length content-type deprecation expect host keep-alive link "
    "proxy-authorization proxy-connection sunset te traceparent trailer transfer-encoding upgrade user-agent "
    "stripe-signature x-hub-signature x-hub-signature-256 x-github-event x-github-delivery x-shopify-hmac-sha256 "
    "x-shopify-topic x-shopify-webhook-id x-wc-webhook-signature x-wc-webhook-topic x-wc-webhook-delivery-id".split()
)
RESERVED_PREFIX = "webhook-"


class InvalidHeaderError(ValueError):
    """The header can't be sent. The message says why and never holds the value."""


def check_header(name: str, value: str) -> None:
    """Raises InvalidHeaderError if the name is not a token (RFC 9110), or the value has controls or is not Latin-1."""
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise InvalidHeaderError(
            f"{name!r} is not a valid header name. Use letters, digits and hyphens, at most {LONGEST_NAME} characters."
        )
    if CONTROL.search(value):
        raise InvalidHeaderError(f"The value of {name} holds a line break or another control character. Remove it.")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        raise InvalidHeaderError(f"The value of {name} holds characters outside Latin-1. Encode it first.") from None


def check_header_count(headers: Collection[str]) -> None:
    """Raises InvalidHeaderError if a subscription has more headers of its own than it may have."""
    if len(headers) > MOST:
        raise InvalidHeaderError(f"A subscription has at most {MOST} headers of its own.")


def check_own_headers(headers: Mapping[str, str]) -> None:
    """Raises InvalidHeaderError if a subscription may not add these headers to its requests.

    At most 20; none twice, empty, too long or reserved, and none that `check_header` refuses.
    """
    check_header_count(headers)
    seen: set[str] = set()
    for name, value in headers.items():
        check_header(name, value)
        lower = name.lower()
        if lower in RESERVED or lower.startswith(RESERVED_PREFIX):
            raise InvalidHeaderError(f"The header {name} is set by orderhooks itself. Leave it out.")
        if lower in seen:
            raise InvalidHeaderError(f"The header {name} is given twice. Keep one.")
        seen.add(lower)
        if not value or value != value.strip():
            raise InvalidHeaderError(
                f"The value of {name} is empty or has spaces around it. Correct it or leave it out."
            )
        if len(value) > LONGEST_VALUE:
            raise InvalidHeaderError(f"The value of {name} is longer than {LONGEST_VALUE} characters.")
