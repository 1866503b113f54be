"""Signatures of the Standard Webhooks specification: secrets and keys, signing and verifying.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hmac
import os
from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from django.views.decorators.debug import sensitive_variables

__all__ = [
    "PRIVATE",
    "PUBLIC",
    "SYMMETRIC",
    "InvalidSecretError",
    "base64_text",
    "check_secret",
    "keyed_hash",
    "new_secret",
    "public_key",
    "sign",
    "signature_header",
    "verify",
]

# Shared between both sides; signs with HMAC (v1).
SYMMETRIC = "whsec_"
SECRET_BYTES = range(24, 65)
# Ed25519: signs (v1a); the seed, then the public key.
PRIVATE = "whsk_"
# What a receiver checks v1a with.
PUBLIC = "whpk_"


class InvalidSecretError(ValueError):
    """A key that is not what it should be; the text never holds it."""


def new_secret(kind: str) -> str:
    """A new secret that begins with SYMMETRIC (48 random bytes, whose base64 needs no padding) or PRIVATE."""
    if kind == PRIVATE:
        key = Ed25519PrivateKey.generate()
        return base64_text(PRIVATE, key.private_bytes_raw() + key.public_key().public_bytes_raw())
    return base64_text(SYMMETRIC, os.urandom(48))


@sensitive_variables()
def check_secret(secret: str) -> None:
    """Raises InvalidSecretError unless requests can be signed with it."""
    if secret.startswith(PRIVATE):
        _private_key(secret)
    else:
        _shared_key(secret)


@sensitive_variables()
def public_key(secret: str) -> str:
    """The `whpk_…` that belongs to a `whsk_…`; "" for a shared secret, which has none. Raises InvalidSecretError."""
    if not secret.startswith(PRIVATE):
        return ""
    return base64_text(PUBLIC, _private_key(secret).public_key().public_bytes_raw())


@sensitive_variables()
def sign(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """One signature of `id.timestamp.body`: `v1,<base64>` by HMAC-SHA256, or `v1a,<base64>` if the secret is `whsk_…`.

    `timestamp` is in whole Unix seconds. Raises InvalidSecretError.
    """
    content = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
    if secret.startswith(PRIVATE):
        return base64_text("v1a,", _private_key(secret).sign(content))
    return base64_text("v1,", hmac.digest(_shared_key(secret), content, "sha256"))


def signature_header(secrets: Iterable[str], webhook_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: a signature by each live secret, in the order given, one space between."""
    return " ".join(sign(secret, webhook_id, timestamp, body) for secret in secrets)


@sensitive_variables()
def verify(keys: Iterable[str], header: str, webhook_id: str, timestamp: int, body: bytes) -> bool:
    """Whether any signature in the header fits any of the keys: `whsec_…` or, for Ed25519, `whpk_…`.

    Compares in constant time. Raises InvalidSecretError.
    """
    found = False
    signatures = header.split(" ")
    content = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
    for key in keys:
        if key.startswith(PUBLIC):
            public = _public_key(key)
            found |= any([_fits(public, one[4:], content) for one in signatures if one.startswith("v1a,")])
        else:
            expected = sign(_require_shared(key), webhook_id, timestamp, body).encode()
            found |= any([hmac.compare_digest(one.encode(), expected) for one in signatures if one.startswith("v1,")])
    return found


def keyed_hash(secret: str, content: bytes) -> bytes:
    """The HMAC-SHA256 of other senders than Standard Webhooks. Raises InvalidSecretError."""
    # These senders' keys are the secret's own characters, the prefix included.
    return hmac.digest(_require_shared(secret).encode(), content, "sha256")


def _require_shared(secret: str) -> str:
    if not secret.startswith(SYMMETRIC):
        raise InvalidSecretError(
            f"A shared secret begins with {SYMMETRIC!r}, and a receiver's public key with {PUBLIC!r}; copy it whole."
        )
    return secret


def _shared_key(secret: str) -> bytes:
    key = _bytes(_require_shared(secret), SYMMETRIC)
    if len(key) not in SECRET_BYTES:
        raise InvalidSecretError(f"A signing secret holds 24 to 64 bytes; this one holds {len(key)}.")
    return key


def _private_key(secret: str) -> Ed25519PrivateKey:
    raw = _bytes(secret, PRIVATE)
    key = Ed25519PrivateKey.from_private_bytes(raw[:32]) if len(raw) == 64 else None
    if key is None or key.public_key().public_bytes_raw() != raw[32:]:
        raise InvalidSecretError(f"The part behind {PRIVATE!r} is not an Ed25519 key of 64 bytes; copy it whole.")
    return key


def _public_key(text: str) -> Ed25519PublicKey:
    raw = _bytes(text, PUBLIC)
    if len(raw) != 32:
        raise InvalidSecretError(f"The part behind {PUBLIC!r} is not an Ed25519 public key of 32 bytes; copy it whole.")
    return Ed25519PublicKey.from_public_bytes(raw)


def _fits(key: Ed25519PublicKey, signature: str, content: bytes) -> bool:
    try:
        key.verify(base64.b64decode(signature, validate=True), content)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def _bytes(text: str, prefix: str) -> bytes:
    try:
        return base64.b64decode(text.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidSecretError(f"The part behind {prefix!r} is not base64; copy it whole.") from None


def base64_text(prefix: str, raw: bytes) -> str:
    """The bytes in base64, behind the prefix."""
    return prefix + base64.b64encode(raw).decode()
