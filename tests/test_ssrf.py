"""Where requests may not go: the table in ssrf_cases.json, row by row, with an oracle that hears every connect.

The oracle judges addresses by a rule of its own, not by the transport's, and lets nothing leave the machine.
"""

import contextlib
import json
import random
import re
import socket
import ssl
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orderhooks.transport import Outcome, UrlRefusedError, check_url, connections, post, sockets
from tests.receivers import Answer, RecordingReceiver

Row = dict[str, Any]

ROWS: list[Row] = json.loads(Path(__file__).with_name("ssrf_cases.json").read_text(encoding="utf-8"))
# What the table leaves out.
MORE_ROWS: list[Row] = [
    {"url": "http://[3fff::1]/", "verdict": "block", "why": "documentation (RFC 9637)"},
    {"url": "http://[2001:0:a9fe:a9fe::1]/", "verdict": "block", "why": "Teredo"},
    {"url": "http://８.８.８.８/", "verdict": "block", "why": "full-width digits of a public address", "policy": True},
    {
        "url": "https://wrocław.example/",
        "verdict": "allow",
        "why": "IDN in Unicode",
        "dns": {"xn--wrocaw-6db.example": [["93.184.216.34"]]},
    },
    {
        "url": "https://six.example/",
        "verdict": "allow",
        "why": "IPv6 first, then IPv4",
        "dns": {"six.example": [["2606:2800:21f::1", "93.184.216.34"]]},
    },
    {"url": "http://empty.example/", "verdict": "block", "why": "does not resolve", "dns": {"empty.example": [[]]}},
    *(
        {"url": "http://in.example/", "verdict": "block", "why": f"answer {why}", "dns": {"in.example": [answer]}}
        for why, answer in (
            ("with a zone", ["fe80::1%lo"]),
            ("with a zone, behind a public one", ["2606:2800:21f::1", "fe80::1%lo"]),
            ("mapped", ["::ffff:10.0.0.1"]),
            ("third of three", ["93.184.216.34", "93.184.216.35", "10.0.0.1"]),
        )
    ),
]
LITERAL_URL = re.compile(r"https?://(?:\[([\da-f:.]+)\]|([\d.]+))/\w*")
PRODUCTION = {"REQUIRE_HTTPS": False}
PUBLIC_NAME = "example.com"
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")

# What Python's `is_global` lets through though it is not, or not in all versions, an address of somebody out there.
NOT_PUBLIC = tuple(
    map(
        ip_network,
        (
            "168.63.129.16/32",  # Azure's metadata
            "192.0.0.0/24",
            "192.88.99.0/24",
            "64:ff9b::/96",  # the next three hide an IPv4 address
            "2001::/23",
            "2002::/16",
            "3fff::/20",
            "5f00::/16",
            "fec0::/10",
        ),
    )
)
ALLOCATED_IPV6 = ip_network("2000::/3")


def title(row: Row) -> str:
    return f"{row['url']} {row['why']}"


def is_forbidden(text: str) -> bool:
    """Whether nothing may be sent to what was dialled. A path or a name in an address's place may not be dialled."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return True
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(_is_inner(one) for one in (address, *_hidden_in(address)))


def _is_inner(address: IPv4Address | IPv6Address) -> bool:
    return (
        not address.is_global
        or address.is_multicast
        or any(address in network for network in NOT_PUBLIC)
        or (address.version == 6 and address not in ALLOCATED_IPV6)
    )


def _hidden_in(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address]:
    if isinstance(address, IPv6Address):
        if address.sixtofour:
            yield address.sixtofour
        if address.teredo:
            yield from address.teredo
        if address in ip_network("64:ff9b::/96") or address in ip_network("::/96"):
            yield IPv4Address(address.packed[-4:])


def name_to_look_up(host: str) -> str:
    """The name as Python hands it to the system's resolver. Raises UnicodeError."""
    return host.encode("idna").decode("ascii").lower().removesuffix(".")


class Oracle:
    """Sees every connect and every datagram of this process, and refuses it; resolves names from a table."""

    def __init__(self) -> None:
        self.begin({})

    def begin(self, dns: dict[str, list[list[str]]], *, relay: tuple[str, int] | None = None) -> None:
        """Forget the last row. `relay`: the server on loopback that takes the connections in place of a refusal."""
        self.dns = dns
        self.relay = relay
        self.dialled: list[str] = []
        self.looked_up: list[str] = []

    @property
    def forbidden(self) -> list[str]:
        return [address for address in self.dialled if is_forbidden(address)]

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            address = arguments[1]
            if address is not None and address != self.relay:
                self.dialled.append(str(address[0]) if isinstance(address, tuple) else str(address))
                raise ConnectionRefusedError("The oracle lets nothing out.")
        elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"):
            self.dialled.append(f"the resolver of this machine, for {arguments[0]}")
            raise socket.gaierror(socket.EAI_NONAME, "The oracle lets nothing out.")

    def getaddrinfo(
        self, host: str | bytes, port: int, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[tuple]:
        name = name_to_look_up(host.decode() if isinstance(host, bytes) else host)
        self.looked_up.append(name)
        rows = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in self._addresses(name)
        ]
        return [row for row in rows if family in (0, row[0])]

    def _addresses(self, name: str) -> list[str]:
        if name in self.dns:
            answers = self.dns[name]
            return answers[min(self.looked_up.count(name), len(answers)) - 1]
        try:
            return [socket.inet_ntoa(socket.inet_aton(name))]  # in all the spellings that a real resolver takes
        except OSError:
            pass
        try:
            return [str(IPv6Address(name.partition("%")[0]))]
        except ValueError:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None


_listening: list[Oracle] = []


def _tell_the_oracle(event: str, arguments: tuple[Any, ...]) -> None:
    if _listening and event.startswith("socket."):
        _listening[-1].hear(event, arguments)


# Hooks can't be taken away again. They run before the operating system is called, whichever socket it is.
sys.addaudithook(_tell_the_oracle)


@pytest.fixture
def oracle(monkeypatch, settings) -> Iterator[Oracle]:
    oracle = Oracle()
    settings.ORDERHOOKS = PRODUCTION
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    dial = socket.socket.connect

    def connect(self: socket.socket, address: tuple) -> None:
        if oracle.relay:
            oracle.dialled.append(str(address[0]))
            address = oracle.relay
        dial(self, address)

    monkeypatch.setattr(sockets.TimedSocket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", oracle.getaddrinfo)
    # The guard of all tests stands before the oracle and would raise where the oracle is to count.
    monkeypatch.setattr("tests.conftest._is_loopback", lambda host: True)
    _listening.append(oracle)
    yield oracle
    _listening.remove(oracle)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """Key and certificate of PUBLIC_NAME, signed by itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, PUBLIC_NAME)])
    public = key.public_key()
    unused = "content_commitment key_encipherment data_encipherment key_agreement crl_sign encipher_only decipher_only"
    usage = dict.fromkeys(unused.split(), False)
    signed = (
        x509.CertificateBuilder(name, name, public, x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(PUBLIC_NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=True, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "example.com.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture(scope="module")
def endpoint(certificate: Path) -> Iterator[RecordingReceiver]:
    """PUBLIC_NAME as it would be out there, with TLS, but on loopback."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    endpoint = RecordingReceiver()
    endpoint.server.socket = context.wrap_socket(endpoint.server.socket, server_side=True)
    with endpoint:
        yield endpoint


@pytest.fixture
def problems(oracle: Oracle, endpoint: RecordingReceiver, certificate: Path, settings, monkeypatch, tmp_path):
    """Post to a row's URL and return what went wrong, in sentences."""

    def judge(row: Row) -> list[str]:
        relayed = "kind" in row
        settings.ORDERHOOKS = {**PRODUCTION, "CA_BUNDLE": str(certificate)} if relayed else PRODUCTION
        endpoint.received.clear()
        location = row.get("location")
        endpoint.answer = lambda count: Answer(302, headers=(("Location", location),)) if location else Answer()
        with monkeypatch.context() as patch:
            for name, value in row.get("env", {}).items():
                if name == "NETRC":
                    (tmp_path / "netrc").write_text(value)
                    value = str(tmp_path / "netrc")
                patch.setenv(name, value)
                patch.setenv(name.lower(), value)
            oracle.begin(row.get("dns", {}), relay=endpoint.server.server_address if relayed else None)
            outcome = send(row["url"])
        found = [f"dialled {address}, which is forbidden" for address in oracle.forbidden]
        if len(oracle.looked_up) > 1:
            found.append(f"looked up {oracle.looked_up}, more than once")
        if row.get("rebind") and len(oracle.looked_up) != 1:
            found.append("did not look the name up")
        judge_kind = {"redirect": _redirect, "env": _environment}.get(row.get("kind", ""), _plain)
        found += judge_kind(row, outcome, oracle.dialled, endpoint)
        return [f"{row['url']!r} ({row['why']}): {one}; {outcome}" for one in found]

    return judge


def send(url: str) -> Outcome:
    try:
        return post(url, b"{}", {"webhook-id": "evt_1"}, timeout_seconds=10.0)
    finally:
        # No connection that is kept alive may serve the next row.
        connections.adapter().poolmanager.clear()


def _plain(row: Row, outcome: Outcome, dialled: list[str], _endpoint: RecordingReceiver) -> Iterator[str]:
    refused = outcome.error in ("blocked", "dns") and not dialled
    tried = outcome.error == "refused" and dialled == expected_addresses(row)
    if row["verdict"] == "block" and not refused:
        yield f"was not refused, dialled {dialled}"
    if row["verdict"] == "allow" and not tried and not (row.get("optional") and refused):
        yield f"dialled {dialled}, not {expected_addresses(row)}"


def _redirect(row: Row, outcome: Outcome, dialled: list[str], endpoint: RecordingReceiver) -> Iterator[str]:
    if (outcome.error, outcome.status_code) != ("status", 302) or len(endpoint.received) != 1:
        yield f"followed the redirect, {len(endpoint.received)} requests"
    if dialled != expected_addresses(row):
        yield f"dialled {dialled}"


def _environment(row: Row, outcome: Outcome, dialled: list[str], endpoint: RecordingReceiver) -> Iterator[str]:
    if not outcome.succeeded or len(endpoint.received) != 1:
        yield "did not reach the endpoint"
    elif {"authorization", "proxy-authorization"} & {name.lower() for name in endpoint.received[0].headers}:
        yield "sent a password of the environment's"
    if dialled != row["connect"]:
        yield f"dialled {dialled}, not {row['connect']}"


def literal_address(row: Row) -> str:
    """The address that stands in a row's URL as the standard library reads it, or ""."""
    url = LITERAL_URL.fullmatch(row["url"])
    try:
        return str(ip_address(url[1] or url[2])) if url else ""
    except ValueError:
        return ""


def expected_addresses(row: Row) -> list[str]:
    """What has to be dialled for a row that is allowed, in this order."""
    if literal_address(row):
        return [literal_address(row)]
    return row.get("connect") or row["dns"][name_to_look_up(urlsplit(row["url"]).hostname)][0]


@pytest.mark.parametrize("row", ROWS + MORE_ROWS, ids=title)
def test_requests_go_where_the_table_lets_them(problems, row: Row) -> None:
    assert problems(row) == []


def test_the_whole_table_in_one_go(problems, oracle: Oracle) -> None:
    wrong, forbidden = [], 0
    for row in ROWS:
        wrong += problems(row)[:1]
        forbidden += len(oracle.forbidden)
    summary = f"cases {len(ROWS)}, wrong {len(wrong)}, forbidden connects {forbidden}"
    print(summary)
    assert summary == "cases 235, wrong 0, forbidden connects 0", "\n".join(wrong)


def test_the_oracle_catches_requests_alone(oracle: Oracle, monkeypatch) -> None:
    forbidden: list[str] = []
    for row in ROWS:
        with monkeypatch.context() as patch, requests.Session() as session:
            for name, value in row.get("env", {}).items():
                patch.setenv(name, value)
            oracle.begin(row.get("dns", {}))
            with contextlib.suppress(requests.RequestException, ValueError):  # ValueError: what urllib3 can't read
                session.post(row["url"], data=b"{}", timeout=1)
            forbidden += oracle.forbidden
    assert len(forbidden) > 50
    # By a literal, by another spelling, by name, by the environment.
    assert {"10.0.0.1", "169.254.169.254", "172.18.0.2", "fec0::1", "127.0.0.1"} <= set(forbidden)


def test_the_oracle_and_the_table_agree_on_addresses() -> None:
    # Public ones in other spellings than four decimal numbers are no addresses here.
    rows = [row for row in ROWS if literal_address(row)]
    assert len(rows) > 90
    assert [row for row in rows if is_forbidden(literal_address(row)) != (row["verdict"] == "block")] == []


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


# A URL with nothing wrong in it but, perhaps, the addresses of its name.
PLAIN_URL = re.compile(r"https?://([^\s/?#@:\\%\[\]]+)(?::\d+)?(?:/\S*)?", re.IGNORECASE)


def is_wrong_by_itself(row: Row) -> bool:
    """Whether a row is refused for its URL, not for what a resolver says of its name."""
    url = PLAIN_URL.fullmatch(row["url"])
    if row["verdict"] == "allow" or "kind" in row or row["why"] == "does not resolve":
        return False
    try:
        answers = row.get("dns", {}).get(name_to_look_up(url[1]), []) if url else []
    except UnicodeError:
        answers = []
    return not any(is_forbidden(address) for answer in answers for address in answer)


@pytest.mark.parametrize("row", [row for row in ROWS + MORE_ROWS if is_wrong_by_itself(row)], ids=title)
def test_a_url_that_is_wrong_by_itself_is_refused_when_saved(settings, row: Row) -> None:
    settings.ORDERHOOKS = PRODUCTION
    with pytest.raises(UrlRefusedError):
        check_url(row["url"])


@pytest.mark.parametrize("row", [row for row in ROWS + MORE_ROWS if row["verdict"] == "allow"], ids=title)
def test_what_is_allowed_can_be_saved_and_saving_looks_nothing_up(oracle: Oracle, row: Row) -> None:
    checked = check_url(row["url"])
    assert check_url(checked) == checked
    assert oracle.looked_up == []


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
