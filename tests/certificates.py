"""Throw-away certificates for receivers in tests: one that is right, and each way in which one is wrong."""

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)
NOW = datetime.now(UTC)


def make_contexts(folder: Path) -> tuple[str, Mapping[str, ssl.SSLContext]]:
    """The path of the CA to trust, and a server's context for each kind: good, expired, early, wrong_host, …"""
    key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("Test CA", key, None, key, authority=True)
    bundle = folder / "ca.pem"
    bundle.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    stranger = ec.generate_private_key(ec.SECP256R1())
    foreign = _certificate("Unknown CA", stranger, None, stranger, authority=True)

    def context(
        name: str, issuer: x509.Certificate | None, issuer_key: ec.EllipticCurvePrivateKey | None, **options: Any
    ) -> ssl.SSLContext:
        own = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(options.pop("host", "localhost"), own, issuer, issuer_key or own, **options)
        chain = folder / f"{name}.pem"
        chain.write_bytes(
            own.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(chain)
        return made

    return str(bundle), {
        "good": context("good", authority, key),
        "expired": context("expired", authority, key, starts=NOW - 9 * DAY, ends=NOW - DAY),
        "early": context("early", authority, key, starts=NOW + DAY, ends=NOW + 9 * DAY),
        "wrong_host": context("wrong_host", authority, key, host="elsewhere.example"),
        "self_signed": context("self_signed", None, None),
        "unknown_authority": context("unknown_authority", foreign, stranger),
    }


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    starts: datetime = NOW - DAY,
    ends: datetime = NOW + 9 * DAY,
    authority: bool = False,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(starts)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if authority:
        usage = dict.fromkeys(
            ("content_commitment", "data_encipherment", "decipher_only", "digital_signature", "encipher_only"), False
        ) | {"key_agreement": False, "key_encipherment": False, "key_cert_sign": True, "crl_sign": True}
        builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
    else:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
        builder = builder.add_extension(identifier, critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def client_pem(
    name: str = "orderhooks",
    *,
    passphrase: str = "",
    starts: datetime = NOW - DAY,
    ends: datetime = NOW + 90 * DAY,
    issuer: "Authority | None" = None,
) -> tuple[str, str]:
    """A client certificate and its private key, in PEM; self-signed without an issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(
        name,
        key,
        issuer.certificate if issuer else None,
        issuer.key if issuer else key,
        starts=starts,
        ends=ends,
    )
    closed = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, closed)
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


class Authority:
    """A CA that issues the certificates of an endpoint and of its clients."""

    def __init__(self, folder: Path) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = _certificate("Test CA", self.key, None, self.key, authority=True)
        self.bundle = folder / "authority.pem"
        self.bundle.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        self.folder = folder

    def server_context(self) -> ssl.SSLContext:
        """Of an endpoint at localhost that demands a client certificate of this CA."""
        chain, key = client_pem("localhost", issuer=self)
        path = self.folder / "endpoint.pem"
        path.write_text(key + chain)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        context.load_verify_locations(self.bundle)
        context.verify_mode = ssl.CERT_REQUIRED
        return context
