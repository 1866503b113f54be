"""URLs: which URLs an endpoint may have. Checked when a subscription is saved, and again at each attempt.

Strict, so that two parsers can't read a URL differently. Sources: the WHATWG URL and Fetch standards (hosts that end in
a number, bad ports), UTS 46 (international names), RFC 3986.
"""

import functools
import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

import idna
from requests.utils import requote_uri

from orderhooks import conf
from orderhooks.transport import addresses
from orderhooks.transport.text import BIDI_CONTROLS

LONGEST = 2000
DEFAULT_PORTS = {"http": 80, "https": 443}
# https://fetch.spec.whatwg.org/#port-blocking
BAD_PORTS = frozenset(
    map(
        int,
        "1 7 9 11 13 15 17 19 20 21 22 23 25 37 42 43 53 69 77 79 87 95 101 102 103 104 109 110 111 113 115 117 119 "
        "123 135 137 139 143 161 179 389 427 465 512 513 514 515 526 530 531 532 540 548 554 556 563 587 601 636 989 "
        "990 993 995 1719 1720 1723 2049 3659 4045 4190 5060 5061 6000 6566 6665 6666 6667 6668 6669 6679 6697 "
        "10080".split(),
    )
)
EXAMPLE = "Write it like https://example.com/webhooks."
SHAPE = re.compile(r"(https?)://([^/?#]*)([/?][^#]*)?", re.IGNORECASE)
IPV6_AUTHORITY = re.compile(r"\[([0-9a-f:.]+)\](?::([0-9]{1,5}))?", re.IGNORECASE)
NAME_AUTHORITY = re.compile(r"([^:\[\]]+)(?::([0-9]{1,5}))?")
BIDI = re.compile(f"[{BIDI_CONTROLS}]")
UNWANTED = re.compile(r"[\x00-\x20\x7f-\xa0\\\s\ud800-\udfff]")
LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
QUAD = re.compile(r"(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}")


class UrlRefusedError(ValueError):
    """No webhook is sent to the URL. The message holds the reason and the remedy."""


def check_url(url: str) -> str:
    """The URL as it will be requested: the host in lower-case ASCII, the path percent-encoded.

    Host names are not resolved here: their addresses are judged when a connection is opened.

    Raises:
        UrlRefusedError: no webhook is sent to the URL.
    """
    settings = conf.current()
    return _check(url, settings.require_https, settings.allowed_networks)


def called_url(url: str) -> str:
    """The URL as it will be requested, or unchanged if it is refused. Raises nothing."""
    try:
        return check_url(url)
    except UrlRefusedError:
        return url


@functools.lru_cache(maxsize=1024)
def _check(url: str, require_https: bool, allowed_networks: Sequence[str]) -> str:
    if len(url) > LONGEST:
        raise UrlRefusedError(f"The URL is longer than {LONGEST} characters.")
    if UNWANTED.search(url):
        raise UrlRefusedError(
            "Leave spaces, backslashes and control characters out of the URL; write a space in a path as %20."
        )
    if found := BIDI.search(url):
        raise UrlRefusedError(
            f"The URL has the control character U+{ord(found[0]):04X}, which turns the direction of text, at place "
            f"{found.start() + 1}. Remove it."
        )
    if "#" in url:
        raise UrlRefusedError("Leave the #fragment out of the URL: it is never sent.")
    shape = SHAPE.fullmatch(url)
    if shape is None:
        raise UrlRefusedError(f"This is not an http or https URL. {EXAMPLE}")
    scheme, authority, rest = shape[1].lower(), shape[2], shape[3] or ""
    if require_https and scheme == "http":
        raise UrlRefusedError('Use https://, or set ORDERHOOKS["REQUIRE_HTTPS"] to False to allow http:// endpoints.')
    if "@" in authority:
        raise UrlRefusedError(
            "Leave user name and password out of the URL, where logs would show them. If the receiver asks for them, "
            'give them in the subscription\'s headers: "Authorization": "Basic …" (base64 of user:password).'
        )
    if "%" in authority:
        raise UrlRefusedError("Write the host without % signs.")
    host, port = _host_and_port(authority, scheme, allowed_networks)
    shown = "" if port == DEFAULT_PORTS[scheme] else f":{port}"
    return f"{scheme}://{host}{shown}{requote_uri(rest if rest.startswith('/') else '/' + rest)}"


def _host_and_port(authority: str, scheme: str, allowed_networks: Sequence[str]) -> tuple[str, int]:
    match = IPV6_AUTHORITY.fullmatch(authority)
    if match:
        host = f"[{_ipv6(match[1], allowed_networks)}]"
    else:
        match = NAME_AUTHORITY.fullmatch(authority)
        if match is None:
            raise UrlRefusedError(f"The host or the port can't be read. {EXAMPLE}")
        host = _name(match[1], allowed_networks)
    port = int(match[2]) if match[2] else DEFAULT_PORTS[scheme]
    if not 1 <= port <= 65535:
        raise UrlRefusedError("A port is a number from 1 to 65535.")
    if port in BAD_PORTS:
        raise UrlRefusedError(f"Port {port} belongs to another protocol than HTTP. Use another, such as 443 or 8443.")
    return host, port


def _ipv6(text: str, allowed_networks: Sequence[str]) -> str:
    try:
        address = IPv6Address(text)
    except ValueError:
        raise UrlRefusedError(f"[{text}] is not a valid IPv6 address. Write it like [2001:db8::1].") from None
    require_open(address, text, allowed_networks)
    return address.compressed


def _name(text: str, allowed_networks: Sequence[str]) -> str:
    name = _ascii(text)
    labels = name.removesuffix(".").split(".")
    if len(name) > 253 or not all(LABEL.fullmatch(label) for label in labels):
        raise UrlRefusedError(f"The host is not a valid name. {EXAMPLE}")
    if not NUMBER.fullmatch(labels[-1]):
        return name
    # A name that ends in a number is an IPv4 address in one of many forms, which programs read differently.
    if not QUAD.fullmatch(name) or any(int(label) > 255 for label in labels):
        raise UrlRefusedError("Write an IPv4 address as four decimal numbers, such as 198.41.0.4.")
    require_open(IPv4Address(name), name, allowed_networks)
    return name


def _ascii(text: str) -> str:
    if text.isascii():
        return text.lower()
    try:
        name = idna.encode(text, uts46=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        raise UrlRefusedError("The host is not a valid international name (UTS 46). Check its spelling.") from None
    if NUMBER.fullmatch(name.removesuffix(".").rpartition(".")[2]):
        raise UrlRefusedError("Write an IPv4 address in ASCII digits.")
    return name


def require_open(address: addresses.Address, host: str, allowed_networks: Sequence[str]) -> None:
    """Raises UrlRefusedError if no connection may be opened to the address of the host."""
    verdict = addresses.judge(address, allowed=addresses.parse_networks(allowed_networks))
    if verdict:
        where = host if host == str(address) else f"{host} ({address})"
        if verdict == addresses.NEVER_OPEN:
            raise UrlRefusedError(f"{where} is {verdict}. Use a public address.")
        raise UrlRefusedError(
            f"{where} is {verdict}. Use a public address, or open the network with "
            'ORDERHOOKS["ALLOWED_NETWORKS"] if the receiver is really there.'
        )
