"""Addresses and ports where requests may not go, whatever a store has opened, and those that it can open."""

import random
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from orderhooks.transport import UrlRefusedError, check_url
from tests.ssrf_oracle import ALLOCATED_IPV6, NOT_PUBLIC, PRODUCTION, Oracle, is_forbidden, listening, send


@pytest.fixture
def oracle(monkeypatch, settings) -> Iterator[Oracle]:
    with listening(monkeypatch, settings) as oracle:
        yield oracle


def addresses_at_edges() -> Iterator[IPv4Address | IPv6Address]:
    """The first and the last address of each special network, and their neighbours outside."""
    special = (
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.2.0/24 192.168.0.0/16 "
        "198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 ::/128 ::1/128 ::ffff:0:0/96 "
        "64:ff9b:1::/48 100::/64 2001:db8::/32 fc00::/7 fd00:ec2::/32 fe80::/10 ff00::/8"
    )
    for network in (*map(ip_network, special.split()), *NOT_PUBLIC, ALLOCATED_IPV6):
        edges = (network[0], network[-1])
        for number in {int(edge) + step for edge in edges for step in (-1, 0, 1)}:
            if 0 <= number < 1 << network.max_prefixlen:
                yield type(edges[0])(number)


def addresses_at_random() -> Iterator[IPv4Address | IPv6Address]:
    dice = random.Random(1918)
    for _ in range(2000):
        yield IPv4Address(dice.getrandbits(32))
        yield IPv6Address(dice.getrandbits(128))
        yield IPv6Address(0x2 << 124 | dice.getrandbits(124))


@pytest.mark.parametrize("addresses", [addresses_at_edges, addresses_at_random])
def test_the_oracle_and_the_transport_agree_on_addresses(settings, addresses) -> None:
    settings.ORDERHOOKS = PRODUCTION
    wrong = [
        address
        for address in addresses()
        if can_be_saved(f"http://[{address}]/" if address.version == 6 else f"http://{address}/")
        == is_forbidden(str(address))
    ]
    assert wrong == []


def can_be_saved(url: str) -> bool:
    try:
        check_url(url)
    except UrlRefusedError:
        return False
    return True


def test_each_post_is_judged_anew(oracle: Oracle) -> None:
    oracle.begin({"shop.example": [["93.184.216.34"], ["10.0.0.1"], ["93.184.216.35"]]})
    assert [send("http://shop.example/").error for _ in range(3)] == ["refused", "blocked", "refused"]
    assert oracle.dialled == ["93.184.216.34", "93.184.216.35"]


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",  # most clouds
        "169.254.170.2",  # AWS, containers
        "169.254.255.255",
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google
        "fe80::a9fe:a9fe",
        "febf:ffff::1",  # the end of what is link-local
        "::ffff:169.254.169.254",
        "::ffff:6464:64c8",
        "::169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::a83f:8110",
        "64:ff9b:1::a9fe:a9fe",  # local-use NAT64
        "::ffff:0:a9fe:a9fe",
        "2001::5601:5601",  # Teredo
        "2002:a9fe:a9fe::1",
    ],
)
@pytest.mark.parametrize("networks", [["0.0.0.0/0", "::/0"], []])
def test_metadata_stays_shut_whatever_is_opened(oracle: Oracle, settings, address: str, networks: list[str]) -> None:
    settings.ORDERHOOKS = {**PRODUCTION, "ALLOWED_NETWORKS": networks}
    literal = f"http://[{address}]/" if ":" in address else f"http://{address}/"
    oracle.begin({"shop.example": [[address]]})
    assert [send(literal).error, send("http://shop.example/").error] == ["blocked", "blocked"]
    assert oracle.dialled == []
    with pytest.raises(UrlRefusedError, match="which no setting opens") as refused:
        check_url(literal)
    # A remedy that would be in vain is not offered.
    assert "ALLOWED_NETWORKS" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "setting"),
    [
        ("http://shop.example/", 'ORDERHOOKS["REQUIRE_HTTPS"]'),
        ("https://10.1.2.3/", 'ORDERHOOKS["ALLOWED_NETWORKS"]'),
        ("https://[fd12:3456::1]/", 'ORDERHOOKS["ALLOWED_NETWORKS"]'),
    ],
)
def test_a_refused_url_names_the_setting_that_would_allow_it(settings, url: str, setting: str) -> None:
    settings.ORDERHOOKS = {}
    with pytest.raises(UrlRefusedError) as refused:
        check_url(url)
    assert setting in str(refused.value)


def test_an_opened_network_is_open_and_no_other(oracle: Oracle, settings) -> None:
    settings.ORDERHOOKS = {**PRODUCTION, "ALLOWED_NETWORKS": ["10.0.0.0/8", "fd12:3456::/32"]}
    oracle.begin({"in.example": [["10.4.5.6", "::ffff:10.4.5.7"]], "both.example": [["10.4.5.6", "192.168.0.1"]]})
    opened = ["10.1.2.3", "[::ffff:a01:204]", "in.example", "[fd12:3456::1]"]
    shut = ["192.168.0.1", "both.example", "[64:ff9b::a01:203]", "[fd12:3457::1]", "127.0.0.1"]
    assert [send(f"http://{host}/").error for host in opened] == ["refused"] * len(opened)
    assert [host for host in shut if send(f"http://{host}/").error not in ("blocked", "dns")] == []
    dialled = ["10.1.2.3", "::ffff:a01:204", "10.4.5.6", "::ffff:a04:507", "fd12:3456::1"]
    assert list(map(ip_address, oracle.dialled)) == list(map(ip_address, dialled))


# https://fetch.spec.whatwg.org/#port-blocking, and 0.
BAD_PORTS = [
    *(0, 1, 7, 9, 11, 13, 15, 17, *range(19, 24), 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, *range(101, 105)),
    *(109, 110, 111, *range(113, 120, 2), 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, *range(512, 516)),
    *(526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659),
    *(4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080),
]


def test_ports_of_other_protocols_are_refused(oracle: Oracle) -> None:
    oracle.begin({"shop.example": [["93.184.216.34"]]})
    assert len(set(BAD_PORTS)) == 83
    urls = [f"http://{host}:{port}/" for port in BAD_PORTS for host in ("shop.example", "93.184.216.34")]
    assert [url for url in urls if send(url).error != "blocked"] == []
    assert oracle.dialled == []
