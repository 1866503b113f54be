"""Client certificates: what can be presented to an endpoint, and how OpenSSL gets the private key.

Source: RFC 8446, 4.4.2 (the client's own certificate comes first); RFC 5280, 4.1.2.5 (validity).
"""

import base64
import contextlib
import functools
import math
import os
import re
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from django.views.decorators.debug import sensitive_variables

__all__ = ["CertificateFacts", "ClientCertificate", "InvalidCertificateError", "facts_of", "load_into", "normalized"]

LONGEST_CHAIN = 10
LONGEST_TEXT = 64 * 1024


class InvalidCertificateError(ValueError):
    """The certificate or its key can't be used. `member` is the one that is wrong. The message says what to do."""

    def __init__(self, text: str, *, member: str = "certificate") -> None:
        super().__init__(text)
        self.member = member


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A chain and its private key, in PEM. `owner` is the subscription whose requests alone present it."""

    owner: str
    chain: str = field(repr=False)
    private_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What people read of a certificate. `fingerprint` is its SHA-256 in hex."""

    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    fingerprint: str


@functools.lru_cache(maxsize=256)
def facts_of(chain: str) -> CertificateFacts:
    """The facts of the first certificate of a chain that was stored."""
    first = x509.load_pem_x509_certificates(chain.encode())[0]
    return CertificateFacts(
        subject=_printable(first.subject.rfc4514_string()),
        issuer=_printable(first.issuer.rfc4514_string()),
        not_before=first.not_valid_before_utc,
        not_after=first.not_valid_after_utc,
        fingerprint=first.fingerprint(SHA256()).hex(),
    )


def _printable(text: str) -> str:
    """With line breaks, and what turns text round, escaped."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


@sensitive_variables()
def normalized(chain: str, private_key: str, passphrase: str = "") -> tuple[str, str]:
    """The certificates alone, and the private key without its passphrase, in PEM.

    Raises:
        InvalidCertificateError: one of them can't be read, they do not belong together, or OpenSSL refuses them.
    """
    if max(len(chain), len(private_key), len(passphrase)) > LONGEST_TEXT:
        raise InvalidCertificateError("The certificate or the key is longer than 64 KiB. Give one chain and one key.")
    certificates = _certificates(chain)
    key = _key(private_key, passphrase)
    if _public_bytes(key.public_key()) != _public_bytes(certificates[0].public_key()):
        raise InvalidCertificateError(
            "The private key does not belong to the first certificate. Put the client's own certificate first, or give"
            " the key that it was made with.",
            member="private_key",
        )
    pem = "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), pem, plain)
    return pem, plain


def _certificates(chain: str) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(chain.encode())
        # Their dates and names are read later.
        facts_of("".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in found[:1]))
    except ValueError:
        raise InvalidCertificateError(
            "This is not a certificate in PEM. It begins with -----BEGIN CERTIFICATE-----; convert other formats with"
            " openssl x509 or openssl pkcs12."
        ) from None
    if len(found) > LONGEST_CHAIN:
        raise InvalidCertificateError(f"A chain has at most {LONGEST_CHAIN} certificates.")
    return found


@sensitive_variables()
def _key(private_key: str, passphrase: str) -> PrivateKeyTypes:
    if passphrase and not _is_cheap(private_key):
        raise InvalidCertificateError(
            "Trying the passphrase of this private key would take too long. Decrypt it first, with openssl pkey, and"
            " give the key without a passphrase.",
            member="private_key",
        )
    try:
        return serialization.load_pem_private_key(private_key.encode(), passphrase.encode() or None)
    except TypeError:
        # cryptography's error for a passphrase that is missing, or given without need.
        text = (
            "The private key has no passphrase. Leave it out."
            if passphrase
            else "The private key is encrypted. Give its passphrase, which is not stored."
        )
        raise InvalidCertificateError(text, member="passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        if passphrase:
            text = "The private key can't be read with this passphrase. Check both."
            raise InvalidCertificateError(text, member="passphrase") from None
        raise InvalidCertificateError(
            "This is not a private key in PEM. It begins with -----BEGIN PRIVATE KEY----- or the like.",
            member="private_key",
        ) from None


# How often a passphrase may be hashed, or, for scrypt, its N times r times p.
MOST_ITERATIONS = 1_000_000
# The object identifier 1.3.6.1.4.1.11591.4.11 (RFC 7914, 7), encoded.
SCRYPT = bytes.fromhex("06092b06010401da47040b")
ENCRYPTED = re.compile(r"-----BEGIN ENCRYPTED PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END")


def _is_cheap(private_key: str) -> bool:
    """Whether a key's passphrase is tried in a short time. Other forms than PKCS #8 (RFC 5958) hash it once."""
    match = ENCRYPTED.search(private_key)
    if match is None:
        return "scrypt" not in private_key
    try:
        encoded = base64.b64decode("".join(match[1].split()), validate=True)
        numbers = list(_integers(encoded))
    except (ValueError, IndexError, RecursionError):
        return False
    return (math.prod(numbers) if SCRYPT in encoded else max(numbers, default=0)) <= MOST_ITERATIONS


def _integers(encoded: bytes) -> Iterator[int]:
    """The integers of a value in DER (X.690)."""
    at = 0
    while at < len(encoded):
        tag, length, start = encoded[at], encoded[at + 1], at + 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(encoded[at + 2 : start])
        content = encoded[start : start + length]
        if tag & 0x20:
            yield from _integers(content)
        elif tag == 2:
            yield int.from_bytes(content)
        at = start + length


def _public_bytes(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@sensitive_variables()
def load_into(context: ssl.SSLContext, chain: str, private_key: str) -> None:
    """Have the context present the chain. Raises InvalidCertificateError if OpenSSL refuses it."""
    try:
        with _file_of(f"{private_key}\n{chain}") as path:
            context.load_cert_chain(path)
    except ssl.SSLError as error:
        reason = (error.reason or "unknown error").replace("_", " ").lower()
        raise InvalidCertificateError(
            f"OpenSSL refuses the certificate or its key: {reason}. Ask for one that meets today's requirements."
        ) from None


@contextlib.contextmanager
@sensitive_variables()
def _file_of(text: str) -> Iterator[str]:
    """A path from which `ssl` reads the text, because it takes no key from memory.

    On Linux the file is in memory alone. Elsewhere it is a temporary one that only this user can read, removed at once.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("orderhooks", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    descriptor, path = tempfile.mkstemp()
    try:
        os.write(descriptor, text.encode())
        os.close(descriptor)
        yield path
    finally:
        os.unlink(path)
