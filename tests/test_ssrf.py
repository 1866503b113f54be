"""Where requests may not go: the table in ssrf_cases.json, row by row, with an oracle that hears every connect."""

import contextlib
import json
import re
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orderhooks.transport import Outcome, UrlRefusedError, check_url
from tests.receivers import Answer, RecordingReceiver
from tests.ssrf_oracle import PRODUCTION, Oracle, is_forbidden, listening, name_to_look_up, send

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


PUBLIC_NAME = "example.com"


@pytest.fixture
def oracle(monkeypatch, settings) -> Iterator[Oracle]:
    with listening(monkeypatch, settings) as oracle:
        yield oracle


def title(row: Row) -> str:
    return f"{row['url']} {row['why']}"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
def problems(
    oracle: Oracle,
    endpoint: RecordingReceiver,
    certificate: Path,
    settings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Callable[[Row], list[str]]:
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
            oracle.begin(row.get("dns", {}), relay=("127.0.0.1", endpoint.server.server_port) if relayed else None)
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
    return row.get("connect") or row["dns"][name_to_look_up(urlsplit(row["url"]).hostname or "")][0]


@pytest.mark.parametrize("mark", "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
@pytest.mark.parametrize("place", ["https://a.example/{}x", "https://a.example/?b={}", "https://a{}b.example/"])
def test_a_url_has_nothing_that_turns_the_direction_of_text(place: str, mark: str) -> None:
    with pytest.raises(UrlRefusedError, match=rf"U\+{ord(mark):04X}, .* at place {place.index('{') + 1}\. Remove it"):
        check_url(place.format(mark))
    assert check_url("https://a.example/שלום").startswith("https://a.example/%")


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
