"""Addresses: which may be connected to, by explicit tables. `ipaddress.is_global` accepts many special addresses.

Sources: the IANA special-purpose address registries for IPv4 and IPv6; the clouds' own documents for metadata.
"""

import functools
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# A cloud's metadata service gives out the machine's credentials, so no setting opens these networks. Most clouds have
# theirs in 169.254.0.0/16.
METADATA = tuple(
    map(
        ip_network,
        (
            "169.254.0.0/16",
            "100.100.100.200/32",  # Alibaba
            "168.63.129.16/32",  # Azure
            "192.0.0.192/32",  # Oracle
            "fd00:ec2::/32",  # AWS
            "fd20:ce::/32",  # Google
            "fe80::/10",
        ),
    )
)
CLOSED: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), why)
    for network, why in (
        ("0.0.0.0/8", "this host (RFC 1122)"),
        ("10.0.0.0/8", "a private network (RFC 1918)"),
        ("100.64.0.0/10", "a carrier's inner network (RFC 6598)"),
        ("127.0.0.0/8", "this machine (loopback)"),
        ("172.16.0.0/12", "a private network (RFC 1918)"),
        ("192.0.0.0/24", "reserved for protocols (RFC 6890)"),
        ("192.0.2.0/24", "for documentation (RFC 5737)"),
        ("192.88.99.0/24", "a 6to4 relay (RFC 7526)"),
        ("192.168.0.0/16", "a private network (RFC 1918)"),
        ("198.18.0.0/15", "for benchmarks (RFC 2544)"),
        ("198.51.100.0/24", "for documentation (RFC 5737)"),
        ("203.0.113.0/24", "for documentation (RFC 5737)"),
        ("224.0.0.0/4", "multicast (RFC 5771)"),
        ("240.0.0.0/4", "reserved or broadcast (RFC 1112)"),
        ("::1/128", "this machine (loopback)"),
        ("2001::/23", "reserved for protocols (RFC 2928)"),
        ("2001:db8::/32", "for documentation (RFC 3849)"),
        ("2002::/16", "6to4, which hides an IPv4 address (RFC 3056)"),
        ("3fff::/20", "for documentation (RFC 9637)"),
    )
)
PUBLIC_IPV6 = IPv6Network("2000::/3")
# Well-known NAT64 (RFC 6052), SIIT (RFC 2765) and IPv4-compatible (RFC 4291): the IPv4 address is in the last 32 bits.
TRANSLATED = tuple(map(ip_network, ("64:ff9b::/96", "::ffff:0:0:0/96", "::/96")))
# Local-use NAT64 (RFC 8215): somewhere in it, by the length of the translator's prefix (RFC 6052, 2.2).
LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
# ISATAP (RFC 5214, 6.1): any prefix, then one of these and the IPv4 address.
ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})
TEREDO = IPv6Network("2001::/32")
SIX_TO_FOUR = IPv6Network("2002::/16")


NEVER_OPEN = "a cloud's metadata service or link-local, which no setting opens"


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Parse networks in CIDR notation. Raises ValueError for a text that is not a network or has host bits set."""
    return _parse_networks(tuple(texts))


@functools.lru_cache(maxsize=8)
def _parse_networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


def judge(address: Address, *, allowed: Sequence[Network]) -> str:
    """The verdict on an address: why no connection may be opened to it, or "" if one may.

    `allowed`: networks that are open although they are not public.
    """
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    inner = list(_embedded(address))
    if any(_holds(METADATA, one) for one in (address, *inner)):
        return NEVER_OPEN
    for one in inner:
        # Opening a translator's network does not open the IPv4 addresses behind it.
        if verdict := judge(one, allowed=allowed):
            return f"a way to {one}, which is {verdict}"
    if _holds(allowed, address):
        return ""
    for network, why in CLOSED:
        if address.version == network.version and address in network:
            return why
    if isinstance(address, IPv6Address) and address not in PUBLIC_IPV6:
        return "not of the public internet (outside 2000::/3)"
    return ""


def without_zone(text: str) -> Address:
    """Parse an address from the resolver, without a zone such as %eth0. Raises ValueError."""
    return ip_address(text.partition("%")[0])


def _holds(networks: Sequence[Network], address: Address) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _embedded(address: Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that a translator or tunnel would extract from an IPv6 address."""
    if isinstance(address, IPv4Address):
        return
    number = int(address)
    last = number & 0xFFFFFFFF
    # In ::/96, the addresses :: and ::1 embed no IPv4 address.
    if _holds(TRANSLATED, address) and number > 1:
        yield IPv4Address(last)
    if address in LOCAL_NAT64:
        yield from _of_local_nat64(number)
    if address in TEREDO:
        yield IPv4Address(number >> 64 & 0xFFFFFFFF)
        yield IPv4Address(~last & 0xFFFFFFFF)
    if address in SIX_TO_FOUR:
        yield IPv4Address(number >> 80 & 0xFFFFFFFF)
    if number >> 32 & 0xFFFFFFFF in ISATAP:
        yield IPv4Address(last)


def _of_local_nat64(number: int) -> Iterator[IPv4Address]:
    """The IPv4 addresses that translators with prefixes of 96, 64, 56 and 48 bits would extract."""
    behind_prefix = number & (1 << 80) - 1
    # Bits 64 to 71 are not part of the address (RFC 6052, 2.2).
    together = (behind_prefix >> 64) << 56 | behind_prefix & (1 << 56) - 1
    readings = (number & 0xFFFFFFFF, *(together >> shift & 0xFFFFFFFF for shift in (24, 32, 40)))
    # An address that begins with 0 comes from a prefix length that does not apply.
    yield from (IPv4Address(one) for one in readings if one >> 24)
